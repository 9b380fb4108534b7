//! The process dies at each fail point; another one goes on.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use change::{Topic, Verdict};

use crate::world::{
    ENV, World, begin, changes, chart, delete, edit, end, everything, id, put, resent, term, txn,
};

const FOLDER: &str = "AUDITOR_CRASH_FOLDER";
const POINT: &str = "AUDITOR_CRASH_POINT";
const LIKELY: &str = "AUDITOR_CRASH_LIKELY";

/// Runs only as a child of the test below: records in the parent's folder and dies on the way.
#[tokio::test]
async fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let told = |name| std::env::var(name).expect("the parent says it");
    let (point, likely) = (told(POINT), told(LIKELY));
    let mut world = World::of(folder.as_ref()).await;
    world.config.batch_records = 2;
    world.config.fail_point = Some((point.parse().expect("a fail point"), likely.parse().expect("a number")));
    world.record().await;
}

#[tokio::test]
async fn after_any_crash_every_record_is_there_once() {
    for point in ["before-commit", "after-commit", "before-ack", "after-ack"] {
        let mut world = World::new().await;
        let document = chart(1, "A", 1);
        let mut records = vec![term(1, 1), edit(5, "ada", "begin", vec![put("a", 5, 0, &document)])];
        records.extend(
            (1..10).map(|n| txn(10 + n, vec![put("a", 5, i32::try_from(n).expect("small"), &document)])),
        );
        records.extend([begin(9, 50), resent(9, 51, put("a", 5, 9, &document)), end(9, 52, &[])]);
        records.push(txn(60, vec![delete("a", 5)]));
        world.watch(1, &records).await;
        for n in 0..10 {
            world.outcome(&id("a", 5, Some(n)), 100 + i64::from(n), Verdict::Applied).await;
        }
        let mut crashes = 0;
        // The first one surely dies, the others by chance.
        for likely in std::iter::once("1").chain(std::iter::repeat_n("0.5", 100)) {
            let me = std::env::current_exe().expect("this test's own program");
            let mut child = Command::new(me);
            child.args(["--exact", "crash::child"]).env(FOLDER, world.folder());
            let status = child.env(POINT, point).env(LIKELY, likely).output().expect("runs").status;
            if status.success() {
                break;
            }
            assert_eq!(status.signal(), Some(6), "{point}: aborts, does not fail");
            crashes += 1;
        }
        assert!(crashes > 0, "{point} was not reached");
        assert_eq!(counts(&world).await, "11 | 10\n", "{point} after {crashes} crashes");
        assert!(world.audit().verify(None).await.expect("reads").is_sound(), "{point}");
        let end = world.queue.end(&changes()).await.expect("a position");
        let status = world.audit().status().await.expect("reads");
        assert_eq!(status.changes, Some(end), "{point}");
        let before = everything(&world).await;
        world.record().await;
        assert_eq!(everything(&world).await, before, "{point}: nothing is left to do");
        assert_eq!(world.queue.end(&Topic::Outcomes.name(ENV)).await.ok(), status.outcomes, "{point}");
    }
}

async fn counts(world: &World) -> String {
    world.table("SELECT (SELECT count(*) FROM audit_change), (SELECT count(*) FROM audit_outcome)").await
}
