//! The statements, word for word.

use asset::Kind;
use expect_test::{ExpectFile, expect_file};
use serde_json::json;

use super::documents::{CHART, DASHBOARD, chart, dashboard, database, dataset, filled, with};
use super::world::{Change, World};
use crate::*;

/// Writes statements with their values, long texts cut.
fn text(statements: &[Statement]) -> String {
    let mut text = String::new();
    for statement in statements {
        text.push_str(&statement.sql);
        text.push('\n');
        for value in &statement.values.0 {
            let shown: String = format!("{value:?}").chars().take(70).collect();
            text.push_str(&format!("    {shown}\n"));
        }
    }
    text
}

fn check(world: &mut World, changes: &[Change], want: ExpectFile) {
    let (results, ops) = world.apply(changes);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    want.assert_eq(&text(&render(&ops, &world.schema)));
}

fn puts() -> [Change; 4] {
    [database(), dataset(), chart(CHART, "Torte"), dashboard()].map(Change::Put)
}

#[test]
fn inserts_on_sqlite() {
    check(&mut World::new(Dialect::Sqlite), &puts(), expect_file!["golden/inserts.sqlite.txt"]);
}

#[test]
fn inserts_on_postgresql() {
    check(&mut World::new(Dialect::Postgres), &puts(), expect_file!["golden/inserts.postgresql.txt"]);
}

#[test]
fn a_rename_and_a_delete_on_sqlite() {
    let changes = [
        Change::Put(with(&dataset(), json!({"table_name": "umsatz"}))),
        Change::Remove(Kind::Dashboard, DASHBOARD),
    ];
    check(&mut filled(Dialect::Sqlite), &changes, expect_file!["golden/rename.sqlite.txt"]);
}

#[test]
fn a_rename_and_a_delete_on_postgresql() {
    let changes = [
        Change::Put(with(&dataset(), json!({"table_name": "umsatz"}))),
        Change::Remove(Kind::Dashboard, DASHBOARD),
    ];
    check(&mut filled(Dialect::Postgres), &changes, expect_file!["golden/rename.postgresql.txt"]);
}

fn check_queries(dialect: Dialect, want: ExpectFile) {
    let mut world = filled(dialect);
    let documents = [database(), dashboard()];
    let documents: Vec<_> = documents.iter().collect();
    let mut facts = world.facts(&[]);
    let first = ask(&documents, &[], &facts);
    let statements = |missing: &Ask| -> Vec<Statement> {
        queries(missing, &world.schema).into_iter().map(|query| query.statement).collect()
    };
    let mut shown = text(&statements(&first));
    facts.reserve(Table::Dbs, [7, 8]);
    let second = ask(&documents, &[], &facts);
    let new = Ask { lookups: second.lookups.difference(&first.lookups).cloned().collect(), ..Ask::default() };
    shown.push_str(&text(&statements(&new)));
    shown.push_str(&text(&probe(&world.schema)));
    want.assert_eq(&shown);
}

#[test]
fn queries_on_sqlite() {
    check_queries(Dialect::Sqlite, expect_file!["golden/queries.sqlite.txt"]);
}

#[test]
fn queries_on_postgresql() {
    check_queries(Dialect::Postgres, expect_file!["golden/queries.postgresql.txt"]);
}
