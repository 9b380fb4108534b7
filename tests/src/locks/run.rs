//! `setkeeper lock run`, `lock` and `fence`.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::{Line, World, line, lives};
use crate::until::until;

/// Writes the time again and again, and does not mind TERM.
fn stubborn(file: &std::path::Path) -> String {
    format!("trap '' TERM; while :; do date +%s%N >> {}; sleep 0.02; done", file.display())
}

/// The last whole line of what [`stubborn`] wrote.
fn last(file: &std::path::Path) -> u128 {
    let text = std::fs::read_to_string(file).expect("it has run");
    let whole = text.rsplit_once('\n').expect("a whole line").0;
    whole.lines().next_back().expect("a line").parse().expect("a time")
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn the_command_runs_under_the_lock_and_its_exit_code_is_its_own() {
    let world = World::start().await;
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("exit 75", 75)] {
        assert_eq!(world.lock_run(&["plain"], script).code().await, code, "{script}");
    }
    assert_eq!(world.code(&["lock", "run", "plain", "--", "/no/such/command"]).await, 127);
    assert_eq!(world.code(&["lock", "run", "plain", "--", "/etc/passwd"]).await, 126);
    assert_eq!(world.code(&["lock", "run", "a/b", "--", "true"]).await, 64);
    assert_eq!(world.code(&["lock", "run", "plain"]).await, 64);
    let shares = ["lock", "run", "plain", "--shared", "--pause-applier", "--", "true"];
    assert_eq!(world.code(&shares).await, 64);
    let away = world.configuration_by("127.0.0.1:1");
    assert_eq!(world.lock_run_by(&away, &["plain"], "true").code().await, 69);
    // Arguments and environment arrive as they are.
    let told = world.file("told");
    let script =
        format!("printf '%s|' \"$SETKEEPER_LOCK_TOKEN\" \"$SETKEEPER_LOCK_KEY\" \"$@\" > {}", told.display());
    let output = world
        .setkeeper(&["lock", "run", "plain", "--", "sh", "-c", &script, "-", "a b", "--wait", "$HOME"])
        .await;
    assert!(output.status.success(), "{}", said(&output));
    let text = std::fs::read_to_string(&told).expect("told");
    let parts: Vec<&str> = text.split('|').collect();
    let token: zk::Token = parts[0].parse().expect("a token");
    assert!(token.0.generation == 1 && parts[1].starts_with("/superset/test/locks/plain/_c_"), "{text}");
    assert_eq!(parts[2..], ["a b", "--wait", "$HOME", ""]);
    // What a holder is given counts while it holds, and not a moment longer.
    let key = parts[1];
    assert_eq!(world.code(&["fence", "check", "--token", parts[0], "--key", key]).await, 76);
    assert_eq!(world.code(&["fence", "check", "--token", "7", "--key", key]).await, 64);
    assert_eq!(world.code(&["fence", "check", "--token", parts[0], "--key", "/nowhere"]).await, 64);
    assert_eq!(world.code(&["fence", "check"]).await, 64);
    let program = std::fs::canonicalize(crate::pipeline::program::path()).expect("the program");
    let check = format!("{} fence check", program.display());
    let output = world.lock_run(&["plain"], &check).end().await;
    assert!(output.status.success(), "{}", said(&output));
    // It reads the configuration that we read.
    let script = "test \"$SETKEEPER__LOCK__GRACE\" = 2s && cd / && test -f \"$SETKEEPER_CONFIG\"";
    let output =
        world.setkeeper(&["--set", "lock.grace=2s", "lock", "run", "plain", "--", "sh", "-c", script]).await;
    assert!(output.status.success(), "{}", said(&output));
    world.queued("plain", 0).await;
}

#[tokio::test]
async fn one_waits_for_another_as_long_as_it_wants_to() {
    let world = World::start().await;
    let go = world.file("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.02; done", go.display());
    let first = world.lock_run(&["jobs", "--reason", "the nightly job"], &script);
    world.queued("jobs", 1).await;
    for options in [
        &["jobs", "--try"][..],
        &["jobs", "--wait", "0"],
        &["jobs", "--wait", "200ms"],
        &["jobs", "--try", "--shared"],
    ] {
        let output = world.lock_run(options, "touch /should/not/run").end().await;
        assert_eq!(output.status.code(), Some(75), "{}", said(&output));
        assert!(
            said(&output).contains("is held by") && said(&output).contains("has not run"),
            "{}",
            said(&output)
        );
    }
    // Of a free lock, the first look is enough.
    assert_eq!(world.lock_run(&["free", "--wait", "0"], "exit 3").code().await, 3);
    world.queued("jobs", 1).await;
    let patient = world.lock_run(&["jobs"], "exit 7");
    world.queued("jobs", 2).await;
    // Who asks is told.
    let shown =
        String::from_utf8(world.setkeeper(&["lock", "list", "-o", "json"]).await.stdout).expect("UTF-8");
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let queue = &shown[0]["queue"];
    assert_eq!(
        (&shown[0]["name"], &queue[0]["holder"]["reason"]),
        (&"jobs".into(), &"the nightly job".into())
    );
    assert_eq!(
        (&queue[0]["holds"], &queue[1]["holds"], &queue[0]["kind"]),
        (&true.into(), &false.into(), &"curator".into())
    );
    let table = String::from_utf8(world.setkeeper(&["lock", "show", "jobs"]).await.stdout).expect("UTF-8");
    assert!(
        table.contains("the nightly job") && table.contains("waits") && table.contains("-lock-"),
        "{table}"
    );
    // One that waits and is told to end leaves the queue.
    for (signal, name) in [
        (Signal::TERM, "SIGTERM"),
        (Signal::INT, "SIGINT"),
        (Signal::HUP, "SIGHUP"),
        (Signal::QUIT, "SIGQUIT"),
    ] {
        let waiting = world.lock_run(&["jobs"], "touch /should/not/run");
        world.queued("jobs", 3).await;
        waiting.signal(signal);
        let output = waiting.end().await;
        assert_eq!(output.status.code(), Some(75), "{}", said(&output));
        assert!(said(&output).contains(name), "{}", said(&output));
        world.queued("jobs", 2).await;
    }
    std::fs::write(&go, "").expect("writable");
    assert_eq!((first.code().await, patient.code().await), (0, 7));
    world.queued("jobs", 0).await;
}

#[tokio::test]
async fn signals_reach_the_whole_group_and_what_is_left_behind_is_ended() {
    let world = World::start().await;
    let log = world.file("log");
    // A child and a grandchild, both in the group.
    let script = format!(
        "log={}; trap 'echo usr1 >> $log' USR1; trap 'echo term >> $log; exit 9' TERM; \
         sh -c \"trap 'echo inner-usr1 >> {}' USR1; while :; do sleep 0.02; done\" & \
         echo $! >> $log; while :; do sleep 0.02; done",
        log.display(),
        log.display()
    );
    let running = world.lock_run(&["signals"], &script);
    let inner = line(&log).await;
    until("both are told of USR1", async || {
        running.signal(Signal::USR1);
        let text = std::fs::read_to_string(&log).expect("a log");
        if text.contains("\nusr1") && text.contains("\ninner-usr1") { Ok(()) } else { Err(text) }
    })
    .await;
    running.signal(Signal::TERM);
    let output = running.end().await;
    assert_eq!(output.status.code(), Some(9), "{}", said(&output));
    assert!(!lives(&inner), "the grandchild has outlived the lock");
    world.queued("signals", 0).await;
    // The command ends and leaves one that does not mind TERM.
    let left = world.file("left");
    let script =
        format!("(trap '' TERM; while :; do sleep 0.02; done) & echo $! > {}; exit 4", left.display());
    let output = world.lock_run(&["signals", "--grace", "300ms"], &script).end().await;
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("left processes behind"), "{}", said(&output));
    assert!(!lives(&line(&left).await), "it has outlived the lock");
}

#[tokio::test]
async fn a_broken_lock_ends_the_command_and_the_next_one_begins() {
    let world = World::start().await;
    let (first, second) = (world.file("first"), world.file("second"));
    let holder = world.lock_run(&["upgrade", "--grace", "200ms"], &stubborn(&first));
    line(&first).await;
    let next = world.lock_run(&["upgrade"], &format!("date +%s%N > {}", second.display()));
    world.queued("upgrade", 2).await;
    let queue = world.session.lock_state("upgrade").await.expect("the queue").queue;
    assert_eq!(world.code(&["lock", "break", "upgrade", "--holder", "_c_x-lock-0000000099"]).await, 1);
    let output = world.setkeeper(&["lock", "break", "upgrade", "--holder", &queue[0].znode]).await;
    assert!(output.status.success(), "{}", said(&output));
    let output = holder.end().await;
    assert_eq!(output.status.code(), Some(76), "{}", said(&output));
    assert!(said(&output).contains("the lock's znode was deleted"), "{}", said(&output));
    assert_eq!(next.code().await, 0);
    world.queued("upgrade", 0).await;
    assert_eq!(world.code(&["lock", "break", "upgrade"]).await, 1);
}

#[tokio::test]
async fn a_command_is_ended_though_nobody_reads_what_its_holder_says() {
    let world = World::start().await;
    for (name, closed) in [("closed", true), ("full", false)] {
        let file = world.file(name);
        let script =
            format!("echo $$ > {}; exec 2> /dev/null; {}", file.display(), stubborn(&world.file("log")));
        let (read, write) = std::io::pipe().expect("a pipe");
        let running = world.lock_run_deaf(&[name, "--grace", "100ms"], &script, &write);
        let pid = line(&file).await;
        let read = (!closed).then_some(read);
        if read.is_some() {
            fill(write).await;
        }
        let znode = world.session.lock_state(name).await.expect("the queue").queue[0].znode.clone();
        assert!(world.session.break_lock(name, &znode).await.expect("broken"));
        assert_eq!(running.code().await, 76, "{name}");
        assert!(!lives(&pid), "{name}");
        drop(read);
    }
}

/// Writes until nothing more goes in.
async fn fill(mut pipe: std::io::PipeWriter) {
    use std::io::Write as _;
    let (told, mut progress) = tokio::sync::watch::channel(0);
    std::thread::spawn(move || {
        while let Ok(count) = pipe.write(&[b'x'; 1]) {
            told.send_modify(|written| *written += count);
        }
    });
    // A pipe of Linux holds 64 KiB.
    progress.wait_for(|written| *written >= 65_536).await.expect("it is filled");
}

#[tokio::test]
async fn a_command_cut_off_from_zookeeper_is_dead_before_the_next_one_begins() {
    let world = World::start().await;
    let way = Line::to(world.zookeeper.connect()).await;
    let (first, second) = (world.file("first"), world.file("second"));
    let by_line = world.configuration_by(&way.connect);
    let holder = world.lock_run_by(&by_line, &["upgrade", "--grace", "30s"], &stubborn(&first));
    line(&first).await;
    let next = world.lock_run(&["upgrade"], &format!("date +%s%N > {}", second.display()));
    world.queued("upgrade", 2).await;
    way.hold_up(true);
    let output = holder.end().await;
    assert_eq!(output.status.code(), Some(76), "{}", said(&output));
    assert!(said(&output).contains("not 30s") && said(&output).contains("KILL in"), "{}", said(&output));
    assert_eq!(next.code().await, 0);
    assert!(
        last(&first) < last(&second),
        "the first wrote {} ns into the second's time",
        last(&first) - last(&second)
    );
}

#[tokio::test]
async fn a_holder_that_is_killed_takes_its_command_along() {
    let world = World::start().await;
    let (first, pid) = (world.file("first"), world.file("pid"));
    let script = format!("echo $$ > {}; {}", pid.display(), stubborn(&first));
    let holder = world.lock_run(&["upgrade"], &script);
    line(&first).await;
    holder.signal(Signal::KILL);
    holder.end().await;
    let pid = line(&pid).await;
    until("the command's end", async || if lives(&pid) { Err(()) } else { Ok(()) }).await;
    // Its session expires, and the next one begins.
    assert_eq!(world.lock_run(&["upgrade"], "exit 5").code().await, 5);
}

#[tokio::test]
async fn two_holders_never_both_pass_the_fence_even_if_one_was_stopped() {
    let world = World::start().await;
    let program = std::fs::canonicalize(crate::pipeline::program::path()).expect("the program");
    let configuration = world.configuration();
    let (checks, go) = (world.file("checks"), world.file("go"));
    let check = format!(
        "if {} -c {} fence check >/dev/null 2>&1; then echo $NAME passes; else echo $NAME $?; fi >> {}",
        program.display(),
        configuration.display(),
        checks.display()
    );
    let first = world.lock_run(
        &["upgrade"],
        &format!(
            "NAME=first; {check}; trap '' TERM; while [ ! -e {} ]; do sleep 0.02; done; {check}; sleep 60",
            go.display()
        ),
    );
    assert_eq!(line(&checks).await, "first passes");
    let second = world.lock_run(
        &["upgrade"],
        &format!(
            "NAME=second; {check}; while [ ! -e {} ]; do sleep 0.02; done; sleep 3; {check}",
            go.display()
        ),
    );
    world.queued("upgrade", 2).await;
    // Stopped, the holder can neither keep its session nor end its command.
    first.signal(Signal::STOP);
    until("the second holds", async || {
        let text = std::fs::read_to_string(&checks).expect("checks");
        if text.contains("second passes") { Ok(()) } else { Err(text) }
    })
    .await;
    std::fs::write(&go, "").expect("writable");
    until("the first is refused", async || {
        let text = std::fs::read_to_string(&checks).expect("checks");
        if text.contains("first 76") { Ok(()) } else { Err(text) }
    })
    .await;
    first.signal(Signal::CONT);
    let output = first.end().await;
    assert_eq!(output.status.code(), Some(76), "{}", said(&output));
    assert_eq!(second.code().await, 0);
    let text = std::fs::read_to_string(&checks).expect("checks");
    assert_eq!(text, "first passes\nsecond passes\nfirst 76\nsecond passes\n");
}

#[tokio::test]
async fn a_command_started_at_a_terminal_reads_nothing_and_is_interrupted_with_it() {
    let world = World::start().await;
    let program = std::fs::canonicalize(crate::pipeline::program::path()).expect("the program");
    // Not every shell that `script` may start becomes the program by itself; one that stays would die of Ctrl-C.
    let inside = format!("exec {} -c {} lock run tty", program.display(), world.configuration().display());
    let at_terminal = |script: &str| {
        let mut command = tokio::process::Command::new("script");
        command.args([
            "--quiet",
            "--return",
            "--command",
            &format!("{inside} -- sh -c '{script}'"),
            "/dev/null",
        ]);
        command
    };
    // It would be stopped at its first read if the terminal were passed on.
    let output = crate::pipeline::program::run(at_terminal("cat; exit 6"), &[], b"typed\n").await;
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    // Ctrl-Z is refused, Ctrl-C reaches the command.
    let told = world.file("told");
    let waits = format!("trap \"exit 8\" INT; echo runs > {}; while :; do sleep 0.02; done", told.display());
    let mut running = at_terminal(&waits);
    running.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut running = running.spawn().expect("script is there");
    line(&told).await;
    let mut keys = running.stdin.take().expect("a pipe");
    let mut shown = running.stdout.take().expect("a pipe");
    let mut heard = Vec::new();
    let ended = async {
        keys.write_all(b"\x1a").await.expect("typed");
        while !String::from_utf8_lossy(&heard).contains("not suspended") {
            let read = shown.read_buf(&mut heard).await.expect("a terminal");
            assert!(read > 0, "{}", String::from_utf8_lossy(&heard));
        }
        keys.write_all(b"\x03").await.expect("typed");
        shown.read_to_end(&mut heard).await.expect("a terminal");
        running.wait().await.expect("it ran")
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await.expect("it ends within a minute");
    assert_eq!(ended.code(), Some(8), "{}", String::from_utf8_lossy(&heard));
    world.queued("tty", 0).await;
}
