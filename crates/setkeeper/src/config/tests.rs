use std::path::Path;

use figment::providers::{Format as _, Serialized, Toml};
use figment::{Figment, Provider};

use super::{Config, EXAMPLE, Needs};

const GOOD: &str = r#"
env = "prod"
[zookeeper]
connect = "zk1:2181"
[[target]]
name = "superset"
url = "sqlite:///superset.db"
secret_key = "env:PATH"
"#;

fn read(text: &str, settings: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    read_for(Needs::Targets, text, settings)
}

fn read_for(needs: Needs, text: &str, settings: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    read_layers(needs, text, Figment::new(), settings)
}

fn read_layers(
    needs: Needs,
    text: &str,
    environment: impl Provider,
    settings: &[(&str, &str)],
) -> Result<Config, Vec<String>> {
    let settings: Vec<String> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let figment = super::layers(Toml::string(text), environment, &settings).expect("settings");
    let (base, state) = (Path::new("/etc/setkeeper"), Path::new("/var/lib/setkeeper"));
    super::understand(&figment, "setkeeper.toml", base, state, needs)
}

/// The faults, one a line.
fn faults(text: &str) -> String {
    read(text, &[]).expect_err("faults").join("\n")
}

#[test]
fn the_shortest_configuration_has_a_default_for_everything_else() {
    let config = read(GOOD, &[]).expect("a configuration");
    assert_eq!(config.queue.path, Path::new("/var/lib/setkeeper/queue.db"));
    assert_eq!(config.listen.to_string(), "127.0.0.1:8630");
    assert_eq!(config.targets[0].applier.target.policy.guard_count, 5);
}

#[test]
fn the_example_is_a_configuration() {
    let written: String = EXAMPLE.replace("file:/etc/superset/secret_key", "env:PATH");
    read(&written, &[]).expect("a configuration");
    let every_key: String = written
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.contains(" = ") && !key.contains('<') && !key.contains("env:") => {
                format!("{key}\n")
            }
            Some(table) if table.starts_with('[') => format!("{table}\n"),
            _ => format!("{line}\n"),
        })
        .filter(|line| !line.starts_with("sasl_user"))
        .collect();
    read(&every_key, &[]).expect("the commented keys are keys, and their values are right");
}

#[test]
fn a_later_layer_wins() {
    let config = read(GOOD, &[("zookeeper.connect", "zk9:2181")]).expect("a configuration");
    assert_eq!(config.zookeeper.connect, "zk9:2181");
}

#[test]
fn a_later_layer_changes_one_key_of_one_target() {
    let two = GOOD.to_owned()
        + &GOOD[GOOD.find("[[target]]").expect("a target")..].replace("\"superset\"", "\"other\"");
    let environment = Serialized::default("target.1.ledger_schema", "kept");
    let config = read_layers(Needs::Targets, &two, environment, &[("target.0.name", "first")]);
    let targets = config.expect("a configuration").targets;
    let told: Vec<_> = targets.iter().map(|each| (each.name.as_str(), each.ledger_schema())).collect();
    assert_eq!(told, [("first", None), ("other", Some("kept"))]);
    // Each fault with the layer that it comes from.
    let environment = Serialized::default("target.0.colour", "red");
    let told = read_layers(Needs::Targets, &two, environment, &[]).expect_err("a fault").join("\n");
    assert!(told.contains("target.0.colour: unknown field"), "{told}");
    let settings = [("target.0.timezone", "Mars"), ("target.1.name", "superset")];
    let told = read(&two.replace("env:PATH", "clear"), &settings).expect_err("faults").join("\n");
    for part in [
        "command line: target[0].timezone",
        "setkeeper.toml: target[0].secret_key",
        "command line: target[1].name",
        "setkeeper.toml: target[1].secret_key",
    ] {
        assert!(told.contains(part), "{part} in\n{told}");
    }
}

#[test]
fn a_target_that_is_not_there_is_told() {
    for key in ["target.1.name", "target.superset.name", "target.00.name"] {
        let told = read(GOOD, &[(key, "x")]).expect_err("a fault").join("\n");
        let (place, _) = key.rsplit_once('.').expect("a key");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.starts_with(&format!("command line: {place}: ")), "{told}");
    }
    let told = faults(&GOOD.replace("[[target]]", "[target]"));
    assert!(told.starts_with("setkeeper.toml: target.name: there is no such target"), "{told}");
    // One whose keys all come from elsewhere is one.
    let mut settings = vec![("target.0.name", "a"), ("target.0.url", "sqlite:///a.db")];
    settings.push(("target.0.secret_key", "env:PATH"));
    let (file, _) = GOOD.split_once("[[target]]").expect("a target");
    assert_eq!(read(file, &settings).expect("a configuration").targets[0].name, "a");
}

#[test]
fn what_is_configured_reaches_whom_it_is_meant_for() {
    let text = GOOD.replace("connect =", "edits_kept = 7\nreads_in_flight = 9\nconnect =");
    let config = read(&text, &[]).expect("a configuration");
    assert_eq!((config.watcher.edits_kept, config.watcher.reads_in_flight), (7, 9));
    assert_eq!(config.zookeeper.reads_in_flight, 9);
}

#[test]
fn a_value_of_the_wrong_type_is_not_printed_for_it_may_be_a_secret() {
    let told = faults(&GOOD.replace("url =", "password = 20261124\nurl ="));
    assert!(told.contains("password: invalid type: found a number, expected a string"), "{told}");
    let told = faults(&GOOD.replace("url =", "secret_folders = \"hunter2\"\nurl ="));
    assert!(told.contains("found a text") && !told.contains("hunter2"), "{told}");
}

#[test]
fn a_file_that_is_no_toml_is_told_once_with_its_line_and_without_its_text() {
    let told = faults(&GOOD.replace("url = \"sqlite:///superset.db\"", "url = \"postgres://u:hunter2@h/d"));
    assert_eq!(told, "setkeeper.toml: TOML parse error at line 7, column 32: invalid basic string");
}

#[test]
fn unknown_keys_are_refused_with_file_and_key_and_one_does_not_hide_another() {
    let text =
        GOOD.replace("[zookeeper]", "[zookeper]\na = 1\n[queue]\npth = 1\n[http]\nport = 1\n[zookeeper]");
    let told = faults(&text);
    for part in
        ["setkeeper.toml: zookeper: unknown key", "queue.pth: unknown field", "http.port: unknown field"]
    {
        assert!(told.contains(part), "{part} in\n{told}");
    }
}

#[test]
fn a_key_that_cannot_be_read_does_not_hide_a_value_that_means_nothing() {
    let told = faults(&(GOOD.to_owned() + "timezone = \"Mars\"\n[queue]\npth = 1\n"));
    for part in ["queue.pth: unknown field", "target[0].timezone: `Mars`"] {
        assert!(told.contains(part), "{part} in\n{told}");
    }
    assert_eq!(told.lines().count(), 2, "{told}");
}

#[test]
fn a_fault_names_the_layer_that_it_comes_from() {
    let told = read(GOOD, &[("run.stop_within", "soon")]).expect_err("a fault").join("\n");
    assert!(told.starts_with("command line: run.stop_within: `soon`"), "{told}");
}

#[test]
fn what_is_missing_is_named() {
    let told = faults("[queue]\n");
    assert!(told.contains("env: is missing") && told.contains("zookeeper: is missing"), "{told}");
    assert!(
        faults("env = \"prod\"\n[zookeeper]\nconnect = \"zk1\"").contains("target: no target is configured")
    );
}

#[test]
fn values_that_mean_nothing_are_told_all_at_once_with_the_mend() {
    let text = GOOD.replace("connect =", "session_timeout = \"soon\"\nconnect =")
        + "timezone = \"Mars\"\n[lock]\nstyle = \"consul\"\n[http]\nlisten = \"here\"\n[run]\nstop_within = \"0s\"\n";
    let told = faults(&text);
    for part in [
        "zookeeper.session_timeout: `soon` is no duration; write one like",
        "target[0].timezone: `Mars`",
        "lock.style: `consul` is no style of lock; there are `curator` and `kazoo`",
        "http.listen: `here` is no address",
        "run.stop_within: `0s`",
    ] {
        assert!(told.contains(part), "{part} in\n{told}");
    }
}

#[test]
fn a_clear_secret_is_refused_and_not_repeated() {
    let told = faults(&GOOD.replace("env:PATH", "hunter2-canary"));
    assert!(told.contains("target[0].secret_key: is no reference to a secret"), "{told}");
    assert!(!told.contains("canary"), "{told}");
}

#[test]
fn a_secret_that_is_empty_or_only_a_part_of_a_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "\n").expect("a file");
    let told = faults(&GOOD.replace("env:PATH", &format!("file:{}", empty.display())));
    assert!(told.contains("target[0].secret_key: ") && told.contains("is empty"), "{told}");
    let told = faults(&GOOD.replace("env:PATH", "file:/etc/hosts#key"));
    assert!(told.contains("target[0].secret_key: takes the whole file"), "{told}");
}

#[test]
fn a_clear_password_in_a_url_is_refused_and_not_repeated() {
    let told = faults(&GOOD.replace("sqlite:///superset.db", "postgres://superset:hunter2@db/superset"));
    assert!(told.contains("target[0].url: holds a clear password; rotate it"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn who_only_talks_to_zookeeper_needs_no_target_and_no_secret_of_one() {
    let absent = GOOD.replace("env:PATH", "env:SETKEEPER_TEST_NOT_SET");
    assert!(faults(&absent).contains("SETKEEPER_TEST_NOT_SET is not set"));
    assert!(read_for(Needs::Ensemble, &absent, &[]).is_ok());
    assert!(read_for(Needs::Ensemble, "env = \"prod\"\n[zookeeper]\nconnect = \"zk1\"", &[]).is_ok());
}

#[test]
fn the_faults_of_templates_are_told_all_at_once() {
    let text = format!(
        "{GOOD}\n[[template]]\nsource = \"builtin:apache\"\ntarget = \"/etc/x/\"\nmode = \"0999\"\nretry = \"soon\"\n\
         [[template]]\nsource = \"a.j2\"\ntarget = \"x\"\nreload = \"a 'b\"\nvalidate = []\nfuel = 0\n\
         [[template]]\nsource = \"a.j2\"\ntarget = \"x\"\n"
    );
    expect_test::expect![[r#"
        setkeeper.toml: template[0].target: is no file; write the path of the file that is to be made
        setkeeper.toml: template[0].source: `builtin:apache` is none of `builtin:nginx`, `builtin:haproxy`, `builtin:envoy`
        setkeeper.toml: template[0].mode: `0999` is no file mode; write one like "0644"
        setkeeper.toml: template[0].retry: `soon` is no duration; write one like 500ms, 6s or 10m
        setkeeper.toml: template[1].fuel: must be at least 1
        setkeeper.toml: template[1].validate: is no command; write a list like ["nginx", "-t"] or a text with its quotes closed; no shell runs it
        setkeeper.toml: template[1].reload: is no command; write a list like ["nginx", "-t"] or a text with its quotes closed; no shell runs it
        setkeeper.toml: template[2].target: another template writes that file; each has its own"#]].assert_eq(&faults(&text));
    let told = faults(&format!("{GOOD}\n[[template]]\nsource = \"a\"\ntarget = \"b\"\nreload = 7\n"));
    assert!(told.contains("a list of words or a text"), "{told}");
}

#[test]
fn a_template_has_defaults_for_all_but_source_and_target() {
    let text = format!(
        "{GOOD}\n[[template]]\nsource = \"a.j2\"\ntarget = \"x\"\nvars = {{ service = \"s\", n = 2 }}\n"
    );
    let template = read(&text, &[]).expect("a configuration").templates.remove(0);
    assert_eq!(template.target, Path::new("/etc/setkeeper/x"));
    assert_eq!(template.source.to_string(), "/etc/setkeeper/a.j2");
    assert_eq!((template.mode, template.min_interval.as_secs(), template.retry.as_secs()), (0o644, 1, 10));
    assert_eq!(template.vars, serde_json::json!({"service": "s", "n": 2}));
}

#[test]
fn a_node_has_defaults_for_everything_and_its_faults_are_told_all_at_once() {
    let agent = read(GOOD, &[]).expect("a configuration").agent;
    assert_eq!((agent.service.as_str(), agent.port, agent.max_unavailable.get()), ("superset", 8088, 1));
    assert_eq!(agent.live_file.as_deref(), Some(Path::new("/var/lib/setkeeper/live.json")));
    assert!(agent.restart_command.is_none() && !agent.instance.is_empty());
    let text = format!(
        "{GOOD}\n[agent]\nhealth_url = \"http://h:9000/x\"\nlive_file = \"\"\ndrain_grace = \"0s\"\n"
    );
    let agent = read(&text, &[]).expect("a configuration").agent;
    assert_eq!((agent.port, agent.live_file, agent.drain_grace), (9000, None, std::time::Duration::ZERO));
    let text = format!(
        "{GOOD}\n[agent]\ninstance = \"a/b\"\nservice = \"..\"\naddress = \"a b\"\nport = 0\n\
         health_url = \"https://h/\"\nhealth_every = \"soon\"\nfailures = 0\nrestart_command = []\n\
         drain_grace = \"later\"\nweight = 65536\n[agent.payload]\nweight = \"1\"\n"
    );
    expect_test::expect![[r#"
        setkeeper.toml: agent.health_url: `https://h/` is no plain HTTP address with a port; write one like http://127.0.0.1:8088/health
        setkeeper.toml: agent.service: `..` is no name; use 1 to 190 of A-Z a-z 0-9 . _ -
        setkeeper.toml: agent.instance: `a/b` is no name; use 1 to 190 of A-Z a-z 0-9 . _ -
        setkeeper.toml: agent.address: `a b` is no host name or IP address
        setkeeper.toml: agent.drain_grace: `later` is no duration; write one like 500ms, 6s or 10m
        setkeeper.toml: agent.restart_command: is empty; write the program and its arguments, for example ["systemctl", "restart", "superset"]
        setkeeper.toml: agent.health_every: `soon` is no duration; write one like 500ms, 6s or 10m
        setkeeper.toml: agent.failures: must be at least 1
        setkeeper.toml: agent.weight: is no weight; write 0 to 65535
        setkeeper.toml: agent.payload.weight: is no weight; write a whole number of 0 to 65535
        setkeeper.toml: agent.port: 0 is no port; write the one that clients reach superset at"#]].assert_eq(&faults(&text));
}
