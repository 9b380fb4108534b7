//! What people see.

use auditor::Filter;
use change::{Millis, Verdict, Waiting};
use expect_test::expect;
use uuid::Uuid;

use crate::world::{MIDNIGHT, World, chart, delete, edit, id, put, txn};

const HISTORY: &str = "SELECT effective_time, replace(path, 'assets/main/charts/', ''), name, op, author, message, \
    outcome, reason, document_before -> '$.params.row_limit', document_after -> '$.params.row_limit', delay_ms \
    FROM config_history ORDER BY seq, outcome_seq";
const NOW: &str = "SELECT replace(path, 'assets/main/charts/', ''), live, name, author, target, outcome, reason, \
    document -> '$.params.row_limit', applied_document -> '$.params.row_limit' FROM config_now ORDER BY path";

fn rejected(reason: &str) -> Verdict {
    Verdict::Rejected { reason: reason.to_owned(), place: Some("params".to_owned()) }
}

fn held() -> Verdict {
    Verdict::Held {
        waiting: vec![Waiting::Reference { kind: "dataset".to_owned(), uuid: Uuid::from_u128(99) }],
    }
}

/// A life of charts: created, held, applied, changed, rejected, moved, deleted.
async fn lived() -> World {
    let mut world = World::new().await;
    world.watch(1, &[edit(100, "ada", "begin", vec![put("a", 100, 0, &chart(1, "Sales", 10))])]).await;
    world.outcome(&id("a", 100, Some(0)), 110, held()).await;
    world.outcome(&id("a", 100, Some(0)), 150, Verdict::Applied).await;
    world.record().await;
    world.watch(1, &[edit(200, "bob", "more rows", vec![put("a", 100, 1, &chart(1, "Sales", 20))])]).await;
    world.outcome(&id("a", 100, Some(1)), 204, Verdict::Applied).await;
    world
        .watch(1, &[txn(300, vec![put("a", 100, 2, r#"{"slice_name":"Sales","params":{"row_limit":30}}"#)])])
        .await;
    world.outcome(&id("a", 100, Some(2)), 303, rejected("the key `uuid` is missing")).await;
    world.record().await;
    // Seen again by a resync: no news.
    world.outcome(&id("a", 100, Some(1)), 350, Verdict::Skipped).await;
    let moved = vec![put("b", 400, 0, &chart(1, "Sales", 40)), delete("a", 100)];
    world.watch(1, &[edit(400, "ada", "move", moved)]).await;
    world.outcome(&id("b", 400, Some(0)), 405, Verdict::Applied).await;
    world.outcome(&id("a", 100, None), 405, Verdict::Superseded).await;
    world.record().await;
    world.watch(1, &[edit(500, "eve", "away", vec![delete("b", 400)])]).await;
    world.outcome(&id("b", 400, None), 506, Verdict::Deleted).await;
    world.watch(1, &[txn(600, vec![put("c", 600, 0, &chart(2, "Costs", 1))])]).await;
    world.record().await;
    world
}

#[tokio::test]
async fn the_history_tells_before_and_after_who_why_and_how_long() {
    let world = lived().await;
    expect![[r#"
        2026-11-24T00:00:00.100Z | a | Sales | put | ada | begin | applied | - | - | 10 | 50
        2026-11-24T00:00:00.200Z | a | Sales | put | bob | more rows | applied | - | 10 | 20 | 4
        2026-11-24T00:00:00.300Z | a | Sales | put | - | - | rejected | the key `uuid` is missing | 20 | 30 | 3
        2026-11-24T00:00:00.400Z | b | Sales | put | ada | move | applied | - | 20 | 40 | 5
        2026-11-24T00:00:00.400Z | a | Sales | delete | ada | move | superseded | - | 40 | - | 5
        2026-11-24T00:00:00.500Z | b | Sales | delete | eve | away | deleted | - | 40 | - | 6
        2026-11-24T00:00:00.600Z | c | Costs | put | - | - | - | - | - | 1 | -
    "#]]
    .assert_eq(&world.table(HISTORY).await);
}

#[tokio::test]
async fn the_present_tells_what_is_wanted_and_what_is_applied() {
    let mut world = World::new().await;
    let first = vec![
        put("good", 1, 0, &chart(1, "Good", 1)),
        put("stale", 1, 0, &chart(2, "Stale", 1)),
        put("kept", 1, 0, &chart(3, "Kept", 1)),
        put("new", 1, 0, &chart(4, "New", 1)),
        put("held", 1, 0, &chart(5, "Held", 1)),
    ];
    world.watch(1, &[edit(10, "ada", "begin", first)]).await;
    for name in ["good", "stale", "kept"] {
        world.outcome(&id(name, 1, Some(0)), 12, Verdict::Applied).await;
    }
    world.outcome(&id("held", 1, Some(0)), 12, held()).await;
    world
        .watch(
            1,
            &[txn(20, vec![put("stale", 1, 1, &chart(2, "Stale", 0))]), txn(30, vec![delete("kept", 1)])],
        )
        .await;
    world.outcome(&id("stale", 1, Some(1)), 22, rejected("no")).await;
    let guard = Verdict::Held { waiting: vec![Waiting::Policy] };
    world.outcome(&id("kept", 1, None), 32, guard).await;
    world.record().await;
    expect![[r#"
        good | 1 | Good | ada | superset | applied | - | 1 | 1
        held | 1 | Held | ada | superset | held | dataset 00000000-0000-0000-0000-000000000063, which is not there yet | 1 | -
        kept | 0 | Kept | - | superset | held | an approval: this target holds deletes | - | 1
        new | 1 | New | ada | - | - | - | 1 | -
        stale | 1 | Stale | - | superset | rejected | no | 0 | 1
    "#]].assert_eq(&world.table(NOW).await);
    let counts = world.audit().status().await.expect("reads").counts;
    assert_eq!((counts.live, counts.held, counts.rejected, counts.waiting), (4, 2, 1, 1));
}

#[tokio::test]
async fn a_database_restored_and_caught_up_shows_both_writes() {
    let mut world = World::new().await;
    world.watch(1, &[txn(10, vec![put("a", 1, 0, &chart(1, "A", 1))])]).await;
    world.outcome(&id("a", 1, Some(0)), 12, Verdict::Applied).await;
    world.outcome(&id("a", 1, Some(0)), 90, Verdict::Applied).await;
    world.outcome(&id("a", 1, Some(0)), 95, Verdict::Unchanged).await;
    world.record().await;
    let told = world.table("SELECT outcome, delay_ms FROM config_history ORDER BY outcome_seq").await;
    assert_eq!(told, "applied | 2\napplied | 80\n");
}

#[tokio::test]
async fn what_had_drifted_is_the_before() {
    let mut world = World::new().await;
    world.watch(1, &[txn(10, vec![put("a", 1, 0, &chart(1, "A", 1))])]).await;
    let mut outcome = world.outcome(&id("a", 1, Some(0)), 12, Verdict::Skipped).await;
    outcome.key.sequence = 50;
    outcome.verdict = Verdict::Applied;
    outcome.before = Some(chart(1, "by hand", 7));
    world.relay(&outcome).await;
    world.record().await;
    let told =
        "SELECT outcome, document_before -> '$.params.row_limit' FROM config_history ORDER BY outcome_seq";
    assert_eq!(world.table(told).await, "skipped | -\napplied | 7\n");
}

async fn check(world: &World, filter: Filter, expected: &[&str]) {
    let rows = world.audit().history(&filter).await.expect("reads");
    let told: Vec<String> = rows
        .iter()
        .map(|row| {
            let fields: Vec<String> = row.differences.iter().map(ToString::to_string).collect();
            let outcome = row.outcome.as_deref().unwrap_or("on its way");
            format!("{} {} {outcome} [{}]", row.change.path.name(), row.op, fields.join(", "))
        })
        .collect();
    assert_eq!(told, expected, "{filter:?}");
}

#[tokio::test]
async fn the_history_answers_by_path_asset_author_and_time() {
    let world = lived().await;
    let uuid = Some(Uuid::from_u128(1));
    let path = |text: &str| Some(text.parse().expect("a path"));
    let edits = ["a put applied [params.row_limit: 10 → 20]"];
    check(&world, Filter { author: Some("bob".to_owned()), ..Filter::default() }, &edits).await;
    let since = Some(Millis(MIDNIGHT + 300));
    let until = Some(Millis(MIDNIGHT + 400));
    let in_time = ["a put rejected []"];
    check(&world, Filter { since, until, ..Filter::default() }, &in_time).await;
    let at_b = Filter { path: path("assets/main/charts/b"), ..Filter::default() };
    let rows = world.audit().history(&at_b).await.expect("reads");
    let ops: Vec<_> = rows.iter().map(|row| row.op.as_str()).collect();
    assert_eq!(ops, ["delete", "put"], "the newest first");
    let newest = world.audit().history(&Filter { limit: Some(1), ..at_b }).await.expect("reads");
    assert_eq!(newest, rows[..1]);
    let nobody = Filter { target: Some("other".to_owned()), ..Filter::default() };
    assert_eq!(world.audit().history(&nobody).await.expect("reads").len(), 1, "the one on its way");
    assert_eq!(world.audit().history(&Filter { uuid, ..Filter::default() }).await.expect("reads").len(), 6);
    let all = world.audit().history(&Filter::default()).await.expect("reads").len();
    let below = Filter { path: path("assets/main"), ..Filter::default() };
    assert_eq!(world.audit().history(&below).await.expect("reads").len(), all);
    let other = Filter { path: path("assets/mai"), ..Filter::default() };
    assert!(world.audit().history(&other).await.expect("reads").is_empty());
}

#[tokio::test]
async fn an_asset_that_moved_keeps_its_before() {
    let world = lived().await;
    let rows = world.audit().history(&Filter { author: Some("ada".to_owned()), ..Filter::default() }).await;
    let rows = rows.expect("reads");
    let moved = rows.iter().find(|row| row.path.ends_with("/b")).expect("the put at b");
    let told: Vec<String> = moved.differences.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["params.row_limit: 20 → 40"]);
    assert_eq!(moved.delay_ms, Some(5));
}

#[tokio::test]
async fn a_database_without_a_history_says_what_to_do() {
    let world = World::new().await;
    let bare = world.audit().history(&Filter::default()).await.expect_err("has no tables");
    world.record().await;
    assert!(world.audit().history(&Filter::default()).await.expect("reads").is_empty());
    world.tamper("DELETE FROM audit_stream").await;
    let empty = world.audit().status().await.expect_err("is empty");
    for error in [bare, empty] {
        assert!(error.to_string().contains("start `setkeeper run`"), "{error}");
    }
}

#[tokio::test]
async fn settings_and_endpoints_show_before_and_after() {
    let mut world = World::new().await;
    let chosen = |host: &str| format!(r#"{{"v":1,"endpoint":"hive","chosen":["{host}"]}}"#);
    world
        .watch(
            1,
            &[
                edit(
                    1,
                    "ada",
                    "begin",
                    vec![
                        put("settings/config/ROW_LIMIT", 1, 0, "100"),
                        put("settings/config/SMTP_PASSWORD", 1, 0, "\"first\""),
                        put("endpoints/hive", 1, 0, &chosen("hive1:10000")),
                    ],
                ),
                edit(
                    2,
                    "ada",
                    "more",
                    vec![
                        put("settings/config/ROW_LIMIT", 1, 1, " 200"),
                        put("settings/config/SMTP_PASSWORD", 1, 1, "\"second\""),
                        put("endpoints/hive", 1, 1, &chosen("hive2:10000")),
                    ],
                ),
                edit(3, "ada", "away", vec![delete("settings/config/ROW_LIMIT", 1)]),
            ],
        )
        .await;
    for (path, version) in [("settings/config/ROW_LIMIT", 0), ("endpoints/hive", 0), ("endpoints/hive", 1)] {
        world.outcome(&id(path, 1, Some(version)), 10, Verdict::Applied).await;
    }
    world.record().await;
    let rows = world.audit().history(&Filter::default()).await.expect("reads");
    let lines = rows.iter().rev().map(|row| {
        let fields: Vec<String> = row.differences.iter().map(ToString::to_string).collect();
        format!("{} {} | {}", row.op, row.path, fields.join("; "))
    });
    expect![[r#"
        put settings/config/ROW_LIMIT | (none) → 100
        put settings/config/SMTP_PASSWORD | (none) → "[redacted]"
        put endpoints/hive | (none) → {"v":1,"endpoint":"hive","chosen":["hive1:10000"]}
        put settings/config/ROW_LIMIT | 100 → 200
        put settings/config/SMTP_PASSWORD | 
        put endpoints/hive | chosen[0]: "hive1:10000" → "hive2:10000"
        delete settings/config/ROW_LIMIT | 200 → (none)"#]]
    .assert_eq(&lines.collect::<Vec<_>>().join("\n"));
}
