//! That the history shows what was done to it.

use auditor::Finding;
use change::Verdict;

use crate::world::{World, begin, chart, delete, edit, end, id, put, term, txn};

const TRIGGERS: &str = "DROP TRIGGER audit_change_kept; DROP TRIGGER audit_change_stays; \
    DROP TRIGGER audit_outcome_kept; DROP TRIGGER audit_outcome_stays; DROP TRIGGER audit_event_kept; \
    DROP TRIGGER audit_event_stays; DROP TRIGGER audit_chain_kept; DROP TRIGGER audit_chain_stays;";

/// 1 term, 2 and 3 changes, 4 delete, 5 to 7 outcomes; 8 and 9 events, 10 a delete by absence between them.
async fn recorded() -> World {
    let mut world = World::new().await;
    let changes = vec![put("a", 10, 0, &chart(1, "A", 1)), put("b", 10, 0, "{broken")];
    world.watch(1, &[term(1, 1), edit(10, "ada", "first", changes), txn(20, vec![delete("a", 10)])]).await;
    world.outcome(&id("a", 10, Some(0)), 15, Verdict::Applied).await;
    let reason = "not JSON".to_owned();
    world.outcome(&id("b", 10, Some(0)), 16, Verdict::Rejected { reason, place: Some("x".to_owned()) }).await;
    world.outcome(&id("a", 10, None), 25, Verdict::Deleted).await;
    world.record().await;
    world.watch(1, &[begin(5, 30), end(5, 31, &[])]).await;
    world.record().await;
    world
}

async fn check(tampering: &str, expected: &[&str]) {
    let world = recorded().await;
    world.tamper(&format!("{TRIGGERS} {tampering};")).await;
    let report = world.audit().verify(None).await.expect("reads");
    let found: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected, "{tampering}");
    assert_eq!(report.is_sound(), expected.is_empty(), "{tampering}");
}

#[tokio::test]
async fn an_untouched_history_is_sound() {
    check("SELECT 1", &[]).await;
    let world = recorded().await;
    let report = world.audit().verify(None).await.expect("reads");
    let status = world.audit().status().await.expect("reads");
    assert_eq!((report.rows, report.head), (10, status.head));
}

#[tokio::test]
async fn the_guard_refuses_changes_of_rows() {
    let world = recorded().await;
    for statement in ["UPDATE audit_change SET author = 'eve'", "DELETE FROM audit_chain WHERE seq = 1"] {
        let mut tx = world.database.begin(sql::Mode::Write).await.expect("begins");
        let refused = tx.execute(statement, sql::Values(vec![])).await.expect_err("is refused");
        assert!(refused.to_string().contains("rows of the audit are never"), "{refused}");
    }
}

#[tokio::test]
async fn any_column_that_is_altered_is_found() {
    for (table, seq) in [("audit_change", 2), ("audit_change", 4), ("audit_outcome", 6), ("audit_event", 1)] {
        let world = recorded().await;
        world.tamper(TRIGGERS).await;
        let columns = world.table(&format!("SELECT name, type FROM pragma_table_info('{table}')")).await;
        for line in columns.lines() {
            let (column, kind) = line.split_once(" | ").expect("two values");
            if column == "seq" {
                continue;
            }
            let other = if kind == "TEXT" { "coalesce(was, '') || 'x'" } else { "coalesce(was, 0) + 1" };
            let other = other.replace("was", column);
            world.tamper(&format!("CREATE TABLE kept AS SELECT * FROM {table} WHERE seq = {seq};")).await;
            world.tamper(&format!("UPDATE {table} SET {column} = {other} WHERE seq = {seq};")).await;
            let report = world.audit().verify(None).await.expect("reads");
            assert_eq!(report.first_bad(), Some(seq), "{table}.{column}: {report:?}");
            let restore =
                format!("UPDATE {table} SET {column} = (SELECT {column} FROM kept) WHERE seq = {seq};");
            world.tamper(&format!("{restore} DROP TABLE kept;")).await;
            assert!(world.audit().verify(None).await.expect("reads").is_sound(), "{table}.{column}");
        }
    }
}

#[tokio::test]
async fn a_text_that_became_empty_is_not_a_null() {
    check(
        "UPDATE audit_change SET rollback_of = '' WHERE seq = 2",
        &["row 2 of audit_change was altered or moved"],
    )
    .await;
}

#[tokio::test]
async fn removed_rows_are_found() {
    check("DELETE FROM audit_change WHERE seq = 3", &["row 3 of audit_change was removed"]).await;
    let both = "DELETE FROM audit_change WHERE seq = 3; DELETE FROM audit_chain WHERE seq = 3";
    check(both, &["rows 3 to 3 were removed from audit_chain"]).await;
    let link = "DELETE FROM audit_chain WHERE seq = 3";
    check(
        link,
        &["rows 3 to 3 were removed from audit_chain", "row 3 of audit_change was added outside the chain"],
    )
    .await;
}

#[tokio::test]
async fn a_removed_tail_is_found_by_where_the_auditor_left_the_chain() {
    let cut = "DELETE FROM audit_event WHERE seq = 10; DELETE FROM audit_chain WHERE seq = 10";
    check(cut, &["the chain ends at row 9, the auditor left it at row 10"]).await;
}

#[tokio::test]
async fn rows_that_changed_places_are_found() {
    let swap = "UPDATE audit_change SET seq = -2 WHERE seq = 2; UPDATE audit_change SET seq = 2 WHERE seq = 3; \
        UPDATE audit_change SET seq = 3 WHERE seq = -2";
    let expected =
        ["row 2 of audit_change was altered or moved", "row 3 of audit_change was altered or moved"];
    check(swap, &expected).await;
}

#[tokio::test]
async fn added_rows_and_altered_links_are_found() {
    let added = "INSERT INTO audit_event (seq, kind, effective, detail) VALUES (2, 'gap', 0, '{}')";
    check(added, &["row 2 of audit_event was added outside the chain"]).await;
    let hash = "UPDATE audit_chain SET hash = replace(hash, substr(hash, 1, 1), 'x') WHERE seq = 5";
    let expected =
        ["row 5 of audit_outcome was altered or moved", "row 6 of audit_outcome was altered or moved"];
    check(hash, &expected).await;
    let format = "UPDATE audit_chain SET format = 'change.9' WHERE seq = 2";
    let expected = [
        "row 2 of audit_chain has a format that this version of setkeeper does not know",
        "row 2 of audit_change was added outside the chain",
    ];
    check(format, &expected).await;
}

#[tokio::test]
async fn a_chain_that_was_cut_or_written_anew_does_not_hold_the_kept_head() {
    let world = recorded().await;
    let kept = world.audit().status().await.expect("reads").head;
    assert!(world.audit().verify(Some(&kept)).await.expect("reads").is_sound());
    // Another history of the same length, whole in itself.
    let other = recorded().await;
    let report = other.audit().verify(Some(&kept)).await.expect("reads");
    assert_eq!(report.findings, [Finding::NotKept { seq: 10 }]);
}

fn documentation() -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/audit.md");
    std::fs::read_to_string(file).expect("the documentation")
}

/// The code between the fences of one language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let parts = text.split("```");
    parts.skip(1).step_by(2).filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

#[tokio::test]
async fn the_documented_verifier_agrees() {
    let text = documentation();
    let script = blocks(&text, "python")[0];
    let run = |world: &World| {
        let database = world.folder().join("audit.db");
        let run = std::process::Command::new("python3").arg("-c").arg(script).arg(database).output();
        let output = run.expect("python3 runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned()
    };
    let world = recorded().await;
    let head = world.audit().status().await.expect("reads").head;
    assert_eq!(run(&world), head.to_string());
    world.tamper(&format!("{TRIGGERS} UPDATE audit_change SET message = 'nothing' WHERE seq = 2;")).await;
    assert_eq!(run(&world), "row 2 is not as it was recorded");
}

#[tokio::test]
async fn the_documented_questions_have_answers() {
    let world = recorded().await;
    let text = documentation();
    let questions = blocks(&text, "sql");
    assert_eq!(questions.len(), 6);
    for question in questions {
        world.table(question).await;
    }
}
