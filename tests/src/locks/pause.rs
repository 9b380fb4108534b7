//! `lock run --pause-applier`: an upgrade of Superset's schema, while nobody writes Superset's tables.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::world::{Running, line};
use crate::pipeline::documents::{database, with};
use crate::pipeline::{Metadata, Options, Pipeline, Role};

/// Sessions of the holder, long enough for a busy machine.
const SESSION: &str = "6s";

/// Nobody's session is to end because a machine is busy.
fn unhurried() -> Options {
    Options { tick: Duration::from_secs(1), ..Options::default() }
}

async fn status(pipeline: &Pipeline) -> Value {
    let output = pipeline.setkeeper(&["status", "-o", "json"]).await;
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

fn upgrade(pipeline: &Pipeline, options: &[&str], script: &str) -> Running {
    let mut command = pipeline.program(&pipeline.configuration());
    command.args(["--set", &format!("lock.session_timeout={SESSION}")]).args(options);
    command.args(["lock", "run", "superset-upgrade", "--pause-applier", "--", "sh", "-c", script]);
    Running::start(command)
}

/// Tells that it runs, waits until it is let go, and ends.
fn script(pipeline: &Pipeline, name: &str) -> String {
    let at = pipeline.folder().join(name);
    format!("echo runs > {0}; while [ ! -e {0}-go ]; do sleep 0.02; done; exit 7", at.display())
}

#[tokio::test]
async fn nothing_is_applied_while_an_upgrade_runs_and_everything_after_it() {
    let pipeline = Pipeline::start(Metadata::Sqlite, unhurried()).await;
    pipeline.put("assets/main/databases/wh", &database(1)).await;
    pipeline.await_equal().await;
    let running = upgrade(&pipeline, &[], &script(&pipeline, "first"));
    line(&pipeline.folder().join("first")).await;
    let told = status(&pipeline).await;
    let key = told["paused"]["lock"].as_str().unwrap_or_else(|| panic!("{told}"));
    assert!(key.starts_with("/superset/test/locks/superset-upgrade/_c_"), "{told}");
    let troubles = told["troubles"].to_string();
    assert!(!troubles.contains("stay paused"), "{told}");
    let held = pipeline.put("assets/main/databases/wh", &with(database(1), "cache_timeout", 61)).await;
    let recorded = format!("SELECT seq FROM audit_change WHERE change_id = '{held}'");
    pipeline
        .until("the change is on record", async || {
            if pipeline.audit(&recorded).await.is_empty() { Err("not recorded") } else { Ok(()) }
        })
        .await;
    assert!(pipeline.outcomes(&held).await.is_empty(), "it was applied during the upgrade");
    std::fs::write(pipeline.folder().join("first-go"), "").expect("writable");
    assert_eq!(running.code().await, 7);
    pipeline.await_outcome(&held, "applied").await;
    pipeline.await_equal().await;
}

#[tokio::test]
async fn a_holder_that_dies_leaves_the_applier_paused_until_somebody_has_looked() {
    let mut pipeline = Pipeline::start(Metadata::Sqlite, unhurried()).await;
    pipeline.put("assets/main/databases/wh", &database(1)).await;
    pipeline.await_equal().await;
    let running = upgrade(&pipeline, &[], &script(&pipeline, "dies"));
    line(&pipeline.folder().join("dies")).await;
    running.signal(Signal::KILL);
    running.end().await;
    let held = pipeline.put("assets/main/databases/wh", &with(database(1), "cache_timeout", 62)).await;
    pipeline
        .until("status tells of it", async || {
            let told = status(&pipeline).await;
            if told["troubles"].to_string().contains("stay paused") { Ok(()) } else { Err(told) }
        })
        .await;
    // Not even a new process of the applier begins.
    pipeline.start_worker(Role::All).await;
    // The next upgrade finds the pause and leaves it, for it is not its own.
    let next = upgrade(&pipeline, &[], "exit 0").end().await;
    assert_eq!(next.status.code(), Some(0), "{next:?}");
    assert!(String::from_utf8_lossy(&next.stderr).contains("paused already"), "{next:?}");
    assert!(!status(&pipeline).await["paused"].is_null());
    assert!(pipeline.outcomes(&held).await.is_empty(), "it was applied although nobody has resumed");
    pipeline.must(&["resume"]).await;
    pipeline.await_outcome(&held, "applied").await;
}

#[tokio::test]
async fn a_pause_ends_with_its_own_command_and_not_under_anothers() {
    let pipeline = Pipeline::start(Metadata::Sqlite, unhurried().idle()).await;
    let first = upgrade(&pipeline, &[], &script(&pipeline, "first"));
    line(&pipeline.folder().join("first")).await;
    // Under another lock it waits for the end of that pause, or does not run at all.
    let other = |options: &[&str], script: &str| {
        let mut command = pipeline.program(&pipeline.configuration());
        command.args(options).args(["lock", "run", "other", "--pause-applier", "--", "sh", "-c", script]);
        Running::start(command)
    };
    let output = other(&["--set", "lock.pause_within=300ms"], "exit 0").end().await;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{text}");
    assert!(text.contains("did not end: a command runs under the lock `superset-upgrade`"), "{text}");
    let second = other(&[], &script(&pipeline, "second"));
    pipeline
        .until("the second waits", async || match pipeline.session.lock_state("other").await {
            Ok(state) if state.queue.len() == 1 => Ok(()),
            state => Err(state),
        })
        .await;
    std::fs::write(pipeline.folder().join("first-go"), "").expect("writable");
    assert_eq!(first.code().await, 7);
    line(&pipeline.folder().join("second")).await;
    let pause = pipeline.session.paused().await.expect("readable").expect("paused for the second");
    assert!(pause.lock.as_deref().is_some_and(|lock| lock.contains("/locks/other/")), "{pause:?}");
    std::fs::write(pipeline.folder().join("second-go"), "").expect("writable");
    assert_eq!(second.code().await, 7);
    assert_eq!(pipeline.session.paused().await.expect("readable"), None);
}

#[tokio::test]
async fn a_command_that_a_signal_ended_leaves_the_appliers_paused() {
    let pipeline = Pipeline::start(Metadata::Sqlite, unhurried().idle()).await;
    let told = pipeline.folder().join("runs");
    let script = format!("trap 'exit 1' TERM; echo runs > {}; while :; do sleep 0.02; done", told.display());
    let running = upgrade(&pipeline, &[], &script);
    line(&told).await;
    running.signal(Signal::TERM);
    let output = running.end().await;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("stay paused, because a signal ended the command"), "{text}");
    assert!(pipeline.session.paused().await.expect("readable").is_some());
}

#[tokio::test]
async fn a_command_does_not_run_beside_an_applier_that_does_not_stand_still() {
    let pipeline = Pipeline::start(Metadata::Sqlite, unhurried().idle()).await;
    // No applier at all is as good as one that stands still.
    assert_eq!(upgrade(&pipeline, &[], "exit 3").code().await, 3);
    let (mut ghost, reporter) =
        pipeline.session.elect("applier-ghost", "elsewhere pid 7").await.expect("elected");
    reporter.doing("running");
    let told = pipeline.folder().join("ran");
    let running =
        upgrade(&pipeline, &["--set", "lock.pause_within=2s"], &format!("touch {}", told.display()));
    let output = tokio::select! {
        lost = ghost.lost() => panic!("{lost}"),
        output = running.end() => output,
    };
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{text}");
    assert!(text.contains("applier-ghost (elsewhere pid 7, running)"), "{text}");
    assert!(!told.exists());
    assert_eq!(pipeline.session.paused().await.expect("readable"), None, "its pause has outlived it");
    // Stopped while it waits for the applier, it takes its pause back.
    let running = upgrade(&pipeline, &[], &format!("touch {}", told.display()));
    pipeline
        .until("it is paused", async || match pipeline.session.paused().await {
            Ok(Some(_)) => Ok(()),
            other => Err(other),
        })
        .await;
    running.signal(Signal::TERM);
    assert_eq!(running.code().await, 75);
    assert_eq!(pipeline.session.paused().await.expect("readable"), None, "its pause has outlived it");
    assert!(pipeline.session.locks().await.expect("the locks").is_empty() && !told.exists());
}
