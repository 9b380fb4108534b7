//! The command line refuses before anything is written, and says what is wrong with what it was given.

use std::path::PathBuf;
use std::process::Output;

use serde_json::{Value, json};

use super::world::{CANARY, World, json as parse, shared};
use crate::pipeline::documents::{chart, database, with};
use crate::pipeline::{Metadata, path};

#[test]
fn bad_documents_never_reach_zookeeper() {
    shared(Metadata::Sqlite, bad_documents);
}

#[test]
fn a_put_tells_who_and_why_and_waits_for_the_outcome() {
    shared(Metadata::Sqlite, author_and_outcome);
}

#[test]
fn a_put_that_is_held_or_rejected_says_so_with_its_exit_code() {
    shared(Metadata::Sqlite, held_and_rejected);
}

#[test]
fn a_bundle_with_one_bad_file_is_refused_as_a_whole() {
    shared(Metadata::Sqlite, bad_bundle);
}

#[test]
fn a_stale_plan_is_no_reason_to_overwrite() {
    shared(Metadata::Sqlite, unchanged);
}

#[test]
fn the_configuration_has_layers_and_refuses_what_it_does_not_know() {
    shared(Metadata::Sqlite, configuration);
}

#[test]
fn check_lists_all_faults_at_once() {
    shared(Metadata::Sqlite, everything_wrong);
}

#[test]
fn commands_end_with_the_exit_codes_that_they_promise() {
    shared(Metadata::Sqlite, exit_codes);
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Ends with that code and says all of these words.
fn ends(output: &Output, code: i32, words: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in `{said}`");
    }
}

async fn bad_documents(w: World) {
    let db = database(w.n(0));
    let db_with = |key: &str, value: Value| with(db.clone(), key, value).to_string();
    let text = db.to_string();
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("databases/x", b"{\n  oops".to_vec(), &["line 2", "column 3"]),
        ("databases/x", text.replacen('{', "{\"uuid\":\"x\",", 1).into_bytes(), &["uuid"]),
        ("databases/x", db_with("colour", json!("red")).into_bytes(), &["colour"]),
        ("databases/x", db_with("database_name", json!("a\0b")).into_bytes(), &["database_name", "NUL"]),
        ("databases/x", [text.as_bytes(), b"\xff"].concat(), &["UTF-8"]),
        (
            "databases/x",
            db_with("sqlalchemy_uri", json!(format!("postgresql://u:{CANARY}@h/d"))).into_bytes(),
            &["sqlalchemy_uri"],
        ),
        ("databases/x", db_with("sqlalchemy_uri", json!("sqlite:////etc/passwd")).into_bytes(), &["sqlite"]),
        (
            "databases/x",
            db_with("setkeeper", json!({"secrets": {"password": CANARY}})).into_bytes(),
            &["env:NAME"],
        ),
        ("widgets/x", text.clone().into_bytes(), &["widgets"]),
        ("databases/two words", text.clone().into_bytes(), &["two words"]),
        ("databases/x/y", text.clone().into_bytes(), &["assets/"]),
        ("databases/x", db_with("external_url", json!("u".repeat(1 << 20))).into_bytes(), &["bytes"]),
    ];
    for (tail, bytes, words) in cases {
        let at = w.at(tail);
        let output = w.pipeline.setkeeper_with(&["put", &at, "-"], &bytes).await;
        ends(&output, 64, words);
        assert!(!said(&output).contains(CANARY), "{}", said(&output));
        let found = w.pipeline.session.read(&path(&at)).await.expect("an answer");
        assert!(found.is_none(), "{at} was written");
    }
    // Two znodes with one uuid.
    w.applied("databases/one", &db).await;
    let output = w.pipeline.setkeeper_with(&["put", &w.at("databases/two"), "-"], text.as_bytes()).await;
    ends(&output, 64, &[&w.at("databases/one")]);
}

async fn author_and_outcome(w: World) {
    w.ground().await;
    let put = ["put", &w.at("charts/a"), "-", "--author", "ana", "-m", "first", "--wait", "-o", "json"];
    let output = w.pipeline.setkeeper_with(&put, w.chart(1).to_string().as_bytes()).await;
    ends(&output, 0, &[]);
    let result = parse(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(result["outcomes"][0]["verdict"], "applied", "{result}");
    let output = w.pipeline.setkeeper_with(&put, w.chart(1).to_string().as_bytes()).await;
    let result = parse(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(result["outcomes"], json!([]), "the same once more writes nothing");
    let rm = ["rm", &w.at("charts/a"), "--author", "ben", "-m", "done", "--wait"];
    ends(&w.pipeline.setkeeper(&rm).await, 0, &["deleted"]);
    let history = w.history("charts/a").await;
    let who: Vec<_> = history.iter().map(|row| (row["author"].clone(), row["message"].clone())).collect();
    assert_eq!(who, [(json!("ben"), json!("done")), (json!("ana"), json!("first"))]);
    assert!(history[0]["delay_ms"].as_i64().is_some_and(|ms| ms < 60_000), "{}", history[0]);
    let listed = w.pipeline.must(&["ls", &format!("assets/p{}", w.n(0)), "-o", "json"]).await;
    assert_eq!(parse(&listed).as_array().map(Vec::len), Some(2), "{listed}");
    let shown = w.pipeline.must(&["get", &w.at("databases/wh")]).await;
    assert_eq!(parse(&shown)["database_name"], database(w.n(0))["database_name"]);
}

async fn held_and_rejected(w: World) {
    let put = |tail: &str| {
        vec![
            "put".to_owned(),
            w.at(tail),
            "-".to_owned(),
            "--wait".to_owned(),
            "--wait-max".to_owned(),
            "2".to_owned(),
        ]
    };
    let run = async |tail: &str, document: Value| {
        let arguments = put(tail);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        w.pipeline.setkeeper_with(&arguments, document.to_string().as_bytes()).await
    };
    ends(&run("charts/a", w.chart(1)).await, 2, &["held", "which ZooKeeper does not hold"]);
    w.applied("databases/one", &database(w.n(1))).await;
    let taken = with(database(w.n(2)), "database_name", format!("warehouse {}", w.n(1)));
    ends(&run("databases/two", taken).await, 1, &["rejected", &format!("warehouse {}", w.n(1))]);
}

async fn bad_bundle(w: World) {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |file: &str, text: &str| {
        let file: PathBuf = folder.path().join(file);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, text).expect("writable");
    };
    write("metadata.yaml", "version: 1.0.0\ntype: assets\ntimestamp: '2026-01-01T00:00:00+00:00'\n");
    let db = |n: u32, more: &str| {
        let document = database(n);
        let get = |key: &str| document[key].as_str().expect("text").to_owned();
        format!(
            "database_name: {}\nsqlalchemy_uri: {}\nuuid: {}\nversion: 1.0.0\n{more}",
            get("database_name"),
            get("sqlalchemy_uri"),
            get("uuid")
        )
    };
    let project = format!("p{}", w.n(0));
    write("databases/good.yaml", &db(w.n(0), ""));
    write("databases/bad.yaml", &db(w.n(1), "colour: red\n"));
    write("databases/worse.yaml", "database_name: [\n");
    let folder_text = folder.path().display().to_string();
    let push = ["push", &folder_text, "--project", &project, "--wait"];
    let output = w.pipeline.setkeeper(&push).await;
    ends(&output, 64, &["databases/bad.yaml", "colour", "databases/worse.yaml", "line "]);
    assert!(w.pipeline.session.read(&path(&w.at("databases/good"))).await.expect("an answer").is_none());
    write("databases/bad.yaml", &db(w.n(1), ""));
    std::fs::remove_file(folder.path().join("databases/worse.yaml")).expect("a file");
    let dry = ["push", &folder_text, "--project", &project, "--dry-run"];
    ends(&w.pipeline.setkeeper(&dry).await, 2, &["create", &w.at("databases/good")]);
    ends(&w.pipeline.setkeeper(&push).await, 0, &["applied"]);
    ends(&w.pipeline.setkeeper(&dry).await, 0, &["nothing to write"]);
    // A driver that no target allows.
    write("databases/bad.yaml", &db(w.n(1), "").replace("postgresql://reader@127.0.0.1:5432", "sqlite:///"));
    ends(&w.pipeline.setkeeper(&push).await, 64, &["sqlite"]);
}

async fn unchanged(w: World) {
    w.ground().await;
    let spaced = serde_json::to_vec_pretty(&chart(w.n(1), w.n(0))).expect("JSON");
    let at = w.at("charts/a");
    ends(&w.pipeline.setkeeper_with(&["put", &at, "-"], &spaced).await, 0, &["edit"]);
    let before = w.pipeline.session.read(&path(&at)).await.expect("an answer").expect("a document");
    let output =
        w.pipeline.setkeeper_with(&["put", &at, "-"], chart(w.n(1), w.n(0)).to_string().as_bytes()).await;
    ends(&output, 0, &["nothing to write"]);
    let after = w.pipeline.session.read(&path(&at)).await.expect("an answer").expect("a document");
    assert_eq!(before.version, after.version);
}

/// The shared pipeline's configuration with text at its end, in a file of its own.
fn copy(w: World, folder: &std::path::Path, change: impl FnOnce(String) -> String) -> String {
    let text = std::fs::read_to_string(w.pipeline.configuration()).expect("a configuration");
    let file = folder.join("mine.toml");
    std::fs::write(&file, change(text)).expect("writable");
    file.display().to_string()
}

async fn run(w: World, file: &str, env: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = w.pipeline.program(file.as_ref());
    command.args(arguments);
    command.envs(env.iter().copied()).output().await.expect("the program runs")
}

async fn configuration(w: World) {
    let folder = tempfile::tempdir().expect("a folder");
    let unknown = copy(w, folder.path(), |text| text.replace("[queue]", "[queue]\nbytes_maximum = 3"));
    ends(&run(w, &unknown, &[], &["status"]).await, 78, &["mine.toml", "queue", "bytes_maximum"]);
    let good = copy(w, folder.path(), |text| text);
    ends(&run(w, &good, &[], &["ls", "assets/none"]).await, 0, &[]);
    // The environment is over the file, and the command line over both.
    let nowhere =
        [("SETKEEPER__ZOOKEEPER__CONNECT", "127.0.0.1:1"), ("SETKEEPER__ZOOKEEPER__CONNECT_TIMEOUT", "1s")];
    ends(&run(w, &good, &nowhere, &["ls"]).await, 69, &["127.0.0.1:1"]);
    let there = format!("zookeeper.connect={}", w.pipeline.zookeeper.connect());
    ends(&run(w, &good, &nowhere, &["ls", "--set", &there]).await, 0, &[]);
    let odd = [("SETKEEPER__ZOOKEEPER__COLOUR", "red")];
    ends(&run(w, &good, &odd, &["ls"]).await, 78, &["environment", "colour"]);
    ends(
        &run(w, &good, &[], &["ls", "--set", "zookeeper.colour=red"]).await,
        78,
        &["command line", "colour"],
    );
    ends(&run(w, &good, &[], &["ls", "--set", "nonsense"]).await, 64, &["key=value"]);
    // Of a target, too.
    let elsewhere = [("SETKEEPER__TARGET__0__URL", "sqlite:///nowhere/superset.db")];
    ends(&run(w, &good, &elsewhere, &["check"]).await, 2, &["/nowhere/superset.db"]);
    let back = format!("target.0.url={}", w.pipeline.metadata.url());
    ends(&run(w, &good, &elsewhere, &["check", "--set", &back]).await, 0, &["SECRET_KEY proven"]);
    let second = ["check", "--set", "target.1.colour=red"];
    ends(&run(w, &good, &[], &second).await, 78, &["command line", "target.1"]);
    ends(&run(w, &good, &[], &["ls", "--set", "env=a/b"]).await, 78, &["command line: env", "`a/b`"]);
    ends(&run(w, "/nowhere/setkeeper.toml", &[], &["ls"]).await, 78, &["/nowhere/setkeeper.toml"]);
    let clear = copy(w, folder.path(), |text| {
        text.replace("secret_key = \"file:", &format!("password = \"{CANARY}\"\nsecret_key = \"file:"))
    });
    let output = run(w, &clear, &[], &["status"]).await;
    ends(&output, 78, &["password", "env:NAME"]);
    assert!(!said(&output).contains(CANARY));
}

async fn everything_wrong(w: World) {
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = copy(w, folder.path(), |text| {
        text.replace("[http]\nlisten = \"127.0.0.1:0\"", "[http]\nlisten = \"nowhere\"")
            .replace("restart_pause_max = \"500ms\"", "restart_pause_max = \"soon\"")
            .replace("secret_key = \"file:", "secret_key = \"file:/nowhere")
    });
    let output = run(w, &wrong, &[], &["check"]).await;
    ends(&output, 78, &["http.listen", "run.restart_pause_max", "target[0].secret_key"]);
    let dead = copy(w, folder.path(), |text| {
        let text = text.replace(&w.pipeline.zookeeper.connect(), "127.0.0.1:1");
        let text = text.replace("connect_timeout = \"5s\"", "connect_timeout = \"1s\"");
        let lines = text.lines().map(|line| match line.starts_with("url = \"sqlite://") {
            true if line.contains("superset.db") => "url = \"sqlite:///nowhere/superset.db\"",
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    let output = run(w, &dead, &[], &["check", "-o", "json"]).await;
    ends(&output, 2, &[]);
    let report = parse(&String::from_utf8_lossy(&output.stdout));
    let bad = report.as_array().expect("a list").iter().filter(|looked| looked["fine"] == false);
    let bad: Vec<&str> = bad.filter_map(|looked| looked["what"].as_str()).collect();
    assert_eq!(bad, ["zookeeper", "target superset"], "{report}");
    ends(&w.pipeline.setkeeper(&["check"]).await, 0, &["SECRET_KEY proven"]);
    // A machine with nothing but an agent needs no target, and none of what the workers keep.
    let alone = copy(w, folder.path(), |_| {
        let (connect, at) = (w.pipeline.zookeeper.connect(), folder.path().display());
        format!(
            "env = \"test\"\n[zookeeper]\nconnect = \"{connect}\"\n[queue]\npath = \"{at}/none.db\"\n\
             [audit]\nurl = \"sqlite://{at}/none.db\"\n[agent]\nhealth_url = \"http://127.0.0.1:1/health\"\n"
        )
    });
    ends(&run(w, &alone, &[], &["check"]).await, 0, &["none is configured", "nothing listens"]);
    ends(&run(w, &alone, &[], &["status"]).await, 0, &["generation"]);
    let key = folder.path().join("other_key");
    std::fs::write(&key, "another key, which opens nothing here").expect("writable");
    let other = format!("file:{}", key.display());
    let wrong_key = copy(w, folder.path(), |text| {
        let lines = text.lines().map(|line| match line.starts_with("secret_key") {
            true => format!("secret_key = \"{other}\""),
            false => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    let secrets = json!({"secrets": {"password": "env:SETKEEPER_SECRET_CANARY"}});
    w.applied("databases/a", &with(database(w.n(0)), "setkeeper", secrets)).await;
    ends(&run(w, &wrong_key, &[], &["check"]).await, 2, &["SECRET_KEY"]);
}

async fn exit_codes(w: World) {
    // The auditor has made its database by then.
    w.applied("databases/a", &database(w.n(0))).await;
    ends(&w.pipeline.setkeeper(&["put"]).await, 64, &["Usage"]);
    ends(&w.pipeline.setkeeper(&["nonsense"]).await, 64, &[]);
    ends(&w.pipeline.setkeeper(&["--help"]).await, 0, &["Examples"]);
    ends(&w.pipeline.setkeeper(&["get", &w.at("charts/none")]).await, 1, &["nothing stands at"]);
    let folder = w.at("databases");
    ends(
        &w.pipeline.setkeeper(&["get", &folder]).await,
        1,
        &["is a folder", &format!("setkeeper ls {folder}")],
    );
    ends(&w.pipeline.setkeeper(&["rm", &w.at("charts/none")]).await, 1, &["nothing stands at"]);
    ends(&w.pipeline.setkeeper(&["verify"]).await, 0, &["sound"]);
    ends(&w.pipeline.setkeeper(&["verify", "--head", "nonsense"]).await, 64, &[]);
    ends(&w.pipeline.setkeeper(&["approve", "deletes"]).await, 64, &["--all"]);
    ends(
        &w.pipeline.setkeeper(&["approve", "deletes", &w.at("charts/none")]).await,
        64,
        &["waits for an approval"],
    );
    // It would end whatever runs under a lock, and nothing asks for it.
    let needless = w.pipeline.setkeeper(&["approve", "generation"]).await;
    ends(&needless, 1, &["no watcher is frozen", "--force"]);
}
