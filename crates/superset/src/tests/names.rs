//! Names that change, and what follows from them elsewhere.

use asset::{Document, Kind};
use expect_test::{Expect, expect};
use serde_json::json;
use uuid::{Uuid, uuid};

use super::documents::{CHART, DASHBOARD, DATABASE, DATASET, dashboard, database, dataset, filled, with};
use super::world::{Change, World};
use crate::*;

const OTHER_DATABASE: Uuid = uuid!("00000000-0000-0000-0000-0000000000e1");
const OTHER_DATASET: Uuid = uuid!("00000000-0000-0000-0000-0000000000e2");
const OTHER_DASHBOARD: Uuid = uuid!("00000000-0000-0000-0000-0000000000e3");

/// The sample with a chart that somebody made by hand on the dataset, whose perms are stale.
fn with_unmanaged_chart() -> World {
    let mut world = filled(Dialect::Postgres);
    let dataset = world.rows.by_uuid(Table::Tables, DATASET).unwrap();
    let columns = [
        ("slice_name", "by hand".into()),
        ("datasource_id", dataset.into()),
        ("datasource_type", "table".into()),
        ("perm", "stale".into()),
    ];
    world.add(Table::Slices, 70, &columns);
    // A chart on a saved query that happens to have the same id.
    world.add(Table::Slices, 71, &[("datasource_id", dataset.into()), ("datasource_type", "query".into())]);
    world
}

fn check(document: &Document, want: Expect) {
    let mut world = with_unmanaged_chart();
    let grants_before = world.rights().lines().count();
    world.put(&[document]);
    let columns = ["perm", "schema_perm", "catalog_perm"];
    let slices =
        world.show(Table::Slices, &["slice_name", "datasource_name", "perm", "schema_perm", "catalog_perm"]);
    want.assert_eq(&format!("{}\n{slices}\n{}", world.show(Table::Tables, &columns), world.rights()));
    assert!(world.rights().lines().count() >= grants_before, "a right was lost");
    assert_eq!(world.put(&[document]), []);
}

#[test]
fn a_renamed_dataset_takes_its_right_and_all_its_charts_along() {
    check(
        &with(&dataset(), json!({"table_name": "umsatz"})),
        expect![[r#"
        "[ana].[umsatz](id:1)" "[ana].[public]" NULL

        "Torte" "umsatz" "[ana].[umsatz](id:1)" "[ana].[public]" NULL
        "Kuchen" "umsatz" "[ana].[umsatz](id:1)" "[ana].[public]" NULL
        "by hand" "umsatz" "[ana].[umsatz](id:1)" "[ana].[public]" NULL
        NULL NULL NULL NULL NULL

        1 database_access on [ana].(id:1)
        2 datasource_access on [ana].[umsatz](id:1)
        3 schema_access on [ana].[public]
    "#]],
    );
}

#[test]
fn a_dataset_in_another_schema_keeps_the_old_schemas_right_for_others() {
    check(
        &with(&dataset(), json!({"schema": "neu", "catalog": "kat"})),
        expect![[r#"
        "[ana].[sales](id:1)" "[ana].[kat].[neu]" "[ana].[kat]"

        "Torte" "sales" "[ana].[sales](id:1)" "[ana].[kat].[neu]" "[ana].[kat]"
        "Kuchen" "sales" "[ana].[sales](id:1)" "[ana].[kat].[neu]" "[ana].[kat]"
        "by hand" "sales" "[ana].[sales](id:1)" "[ana].[kat].[neu]" "[ana].[kat]"
        NULL NULL NULL NULL NULL

        1 database_access on [ana].(id:1)
        2 datasource_access on [ana].[sales](id:1)
        3 schema_access on [ana].[public]
        6 schema_access on [ana].[kat].[neu]
        7 catalog_access on [ana].[kat]
    "#]],
    );
}

#[test]
fn a_renamed_database_takes_all_rights_in_it_along() {
    check(
        &with(&database(), json!({"database_name": "Ana %_\\ ["})),
        expect![[r#"
        "[Ana %_\\ [].[sales](id:1)" "[Ana %_\\ [].[public]" NULL

        "Torte" "sales" "[Ana %_\\ [].[sales](id:1)" "[Ana %_\\ [].[public]" NULL
        "Kuchen" "sales" "[Ana %_\\ [].[sales](id:1)" "[Ana %_\\ [].[public]" NULL
        "by hand" "sales" "[Ana %_\\ [].[sales](id:1)" "[Ana %_\\ [].[public]" NULL
        NULL NULL NULL NULL NULL

        1 database_access on [Ana %_\ [].(id:1)
        2 datasource_access on [Ana %_\ [].[sales](id:1)
        3 schema_access on [Ana %_\ [].[public]
    "#]],
    );
}

#[test]
fn a_dataset_that_moves_to_another_database_keeps_its_grants() {
    let other = with(&database(), json!({"uuid": OTHER_DATABASE, "database_name": "other"}));
    let mut world = with_unmanaged_chart();
    let right = |world: &World| {
        let perm = world.rows.of(Table::Tables).next().unwrap().1["perm"].clone();
        world.rows.find(Table::AbViewMenu, "name", &perm).next().unwrap()
    };
    let before = right(&world);
    world.put(&[&other, &with(&dataset(), json!({"database_uuid": OTHER_DATABASE}))]);
    assert_eq!(right(&world), before);
    expect![[r#"
        "[other].[sales](id:1)" "[other].[public]"
        "[other].[sales](id:1)" "[other].[public]"
        "[other].[sales](id:1)" "[other].[public]"
        NULL NULL
    "#]]
    .assert_eq(&world.show(Table::Slices, &["perm", "schema_perm"]));
    // The empty database can go now, in any batch.
    let (results, _) = world.apply(&[Change::Remove(Kind::Database, DATABASE)]);
    assert!(results[0].is_ok(), "{results:?}");
}

#[test]
fn a_put_says_whose_rows_it_changed_besides() {
    let mut world = with_unmanaged_chart();
    let renamed = with(&dataset(), json!({"table_name": "umsatz"}));
    let (results, _) = world.apply(&[Change::Put(renamed)]);
    let touched: Vec<_> = results[0].as_ref().unwrap().iter().map(|(kind, _)| *kind).collect();
    assert_eq!(touched, [Kind::Chart, Kind::Chart]);
}

#[test]
fn another_uri_makes_cached_results_stale() {
    let mut world = filled(Dialect::Postgres);
    let before = world.show(Table::Tables, &["changed_on"]);
    let ops = world.put(&[&with(&database(), json!({"sqlalchemy_uri": "postgresql://u@elsewhere/d"}))]);
    assert_ne!(world.show(Table::Tables, &["changed_on"]), before);
    assert_eq!(ops.len(), 2);
}

#[test]
fn another_metric_makes_cached_results_stale() {
    let mut world = filled(Dialect::Postgres);
    let before = world.show(Table::Tables, &["changed_on"]);
    let columns = world.show(Table::TableColumns, &["id", "uuid", "changed_on"]);
    world.put(&[&with(&dataset(), json!({"metrics": [{"metric_name": "total", "expression": "1"}]}))]);
    assert_ne!(world.show(Table::Tables, &["changed_on"]), before);
    assert_eq!(world.show(Table::TableColumns, &["id", "uuid", "changed_on"]), columns);
}

fn check_swap(dialect: Dialect, a: &Document, b: &Document, keys: [&str; 2]) {
    let mut world = World::new(dialect);
    world.put(&[&database()]);
    world.put(&[a, b]);
    let swapped = |document: &Document, other: &Document| {
        let other: serde_json::Value = serde_json::from_str(&other.canonical()).unwrap();
        with(document, json!({keys[0]: other[keys[0]], keys[1]: other[keys[1]]}))
    };
    let (a_then, b_then) = (swapped(a, b), swapped(b, a));
    world.put(&[&a_then, &b_then]);
    for document in [a_then, b_then] {
        let facts = world.facts(&[Change::Put(document.clone())]);
        let lifted = lift(document.kind(), document.uuid(), &facts).unwrap();
        assert_eq!(portable(&lifted), portable(&document));
        assert_eq!(world.put(&[&document]), []);
    }
}

#[test]
fn two_assets_of_one_txn_can_swap_unique_names() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let other = with(&database(), json!({"uuid": OTHER_DATABASE, "database_name": "other"}));
        check_swap(dialect, &database(), &other, ["database_name", "version"]);
        let other = with(&dataset(), json!({"uuid": OTHER_DATASET, "table_name": "other", "schema": "s"}));
        check_swap(dialect, &dataset(), &other, ["table_name", "schema"]);
        let empty = with(&dashboard(), json!({"position": null, "metadata": null}));
        let other = with(&empty, json!({"uuid": OTHER_DASHBOARD, "slug": "other"}));
        check_swap(dialect, &empty, &other, ["slug", "version"]);
    }
    let other = with(&dataset(), json!({"uuid": OTHER_DATASET, "schema": "s"}));
    check_swap(Dialect::Postgres, &dataset(), &other, ["schema", "version"]);
}

#[test]
fn a_database_can_take_the_name_of_one_that_is_deleted_in_the_same_txn() {
    let mut world = World::new(Dialect::Postgres);
    world.put(&[&database()]);
    world.add(Table::AbViewMenu, 80, &[("name", "[ana].[secret]".into())]);
    let heir = with(&database(), json!({"uuid": OTHER_DATABASE}));
    let its = with(&dataset(), json!({"database_uuid": OTHER_DATABASE}));
    let (results, _) =
        world.apply(&[Change::Put(heir), Change::Put(its), Change::Remove(Kind::Database, DATABASE)]);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let menus = world.show(Table::AbViewMenu, &["name"]);
    expect![[r#"
        "[ana].(id:2)"
        "[ana].[sales](id:1)"
        "[ana].[public]"
        2 database_access on [ana].(id:2)
        3 datasource_access on [ana].[sales](id:1)
        4 schema_access on [ana].[public]
    "#]]
    .assert_eq(&format!("{menus}{}", world.rights()));
}

#[test]
fn a_swap_of_database_names_leaves_each_dataset_its_own_right() {
    let mut world = World::new(Dialect::Postgres);
    let other = with(&database(), json!({"uuid": OTHER_DATABASE, "database_name": "other"}));
    let elsewhere = json!({"uuid": OTHER_DATASET, "database_uuid": OTHER_DATABASE, "schema": "s"});
    world.put(&[&database(), &other, &dataset(), &with(&dataset(), elsewhere)]);
    world.put(&[
        &with(&database(), json!({"database_name": "other"})),
        &with(&other, json!({"database_name": "ana"})),
    ]);
    expect![[r#"
        "[other].[sales](id:1)" "[other].[public]"
        "[ana].[sales](id:2)" "[ana].[s]"
        1 database_access on [other].(id:1)
        2 database_access on [ana].(id:2)
        3 datasource_access on [other].[sales](id:1)
        4 schema_access on [other].[public]
        5 datasource_access on [ana].[sales](id:2)
        6 schema_access on [ana].[s]
    "#]]
    .assert_eq(&format!("{}{}", world.show(Table::Tables, &["perm", "schema_perm"]), world.rights()));
}

fn check_conflict(dialect: Dialect, document: &Document, want: Option<&str>) {
    let mut world = filled(dialect);
    let mut facts = world.facts(&[Change::Put(document.clone())]);
    let before = facts.rows.clone();
    let got = put(document, &mut facts).err();
    assert_eq!(got.as_ref().map(ToString::to_string).as_deref(), want);
    if got.is_some() {
        assert!(facts.rows == before, "a failed put changed something");
    }
}

#[test]
fn a_unique_value_of_another_asset_is_a_conflict_that_names_it() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        check_conflict(
            dialect,
            &with(&database(), json!({"uuid": OTHER_DATABASE})),
            Some(
                "give database the database_name `ana`, which database `ana` \
                 (00000000-0000-0000-0000-0000000000d1) has; choose another, or change that one first",
            ),
        );
        check_conflict(
            dialect,
            &with(&dashboard(), json!({"uuid": OTHER_DASHBOARD})),
            Some(
                "give dashboard the slug `umsatz`, which dashboard `Umsatz` \
                 (00000000-0000-0000-0000-0000000000b1) has; choose another, or change that one first",
            ),
        );
        check_conflict(dialect, &with(&dashboard(), json!({"uuid": OTHER_DASHBOARD, "slug": null})), None);
        check_conflict(
            dialect,
            &with(&dataset(), json!({"uuid": OTHER_DATASET})),
            Some(
                "give dataset the table_name `sales`, which dataset `sales` \
                 (00000000-0000-0000-0000-0000000000d2) has; choose another, or change that one first",
            ),
        );
    }
}

#[test]
fn the_same_table_in_another_schema_conflicts_only_on_sqlite() {
    let elsewhere = with(&dataset(), json!({"uuid": OTHER_DATASET, "schema": "s"}));
    check_conflict(Dialect::Postgres, &elsewhere, None);
    check_conflict(
        Dialect::Sqlite,
        &elsewhere,
        Some(
            "give dataset the table_name `sales`, which dataset `sales` \
             (00000000-0000-0000-0000-0000000000d2) has; choose another, or change that one first",
        ),
    );
}

#[test]
fn one_that_was_to_let_go_of_a_value_and_did_not_is_found_after_the_txn() {
    let mut world = filled(Dialect::Postgres);
    let thief = with(&dashboard(), json!({"uuid": OTHER_DASHBOARD}));
    let mut facts = world.facts(&[Change::Put(thief.clone())]);
    facts.yielding = [DASHBOARD, OTHER_DASHBOARD].into();
    put(&thief, &mut facts).unwrap();
    let found = conflicts(&facts, &[OTHER_DASHBOARD].into());
    assert!(matches!(&found[..], [(Kind::Dashboard, OTHER_DASHBOARD, _)]), "{found:?}");
}

#[test]
fn a_savepoint_takes_everything_back() {
    let mut world = filled(Dialect::Postgres);
    let changes = [
        Change::Put(with(&dataset(), json!({"table_name": "umsatz", "columns": []}))),
        Change::Remove(Kind::Chart, CHART),
        Change::Put(with(&database(), json!({"uuid": OTHER_DATABASE, "database_name": "other"}))),
    ];
    let mut facts = world.facts(&changes);
    let (before, reserved) = (facts.rows.clone(), facts.reserved.clone());
    let savepoint = facts.savepoint();
    for change in &changes {
        match change {
            Change::Put(document) => put(document, &mut facts).unwrap(),
            Change::Remove(kind, uuid) => remove(*kind, *uuid, &mut facts).unwrap(),
        };
    }
    assert!(facts.rows != before);
    facts.roll_back(&savepoint);
    assert!(facts.rows == before && facts.reserved == reserved);
    assert_eq!(facts.rows.by_uuid(Table::Slices, CHART), before.by_uuid(Table::Slices, CHART));
}
