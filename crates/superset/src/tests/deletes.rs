//! Deletes, and assets that come back.

use asset::Kind;
use expect_test::{Expect, expect};
use uuid::Uuid;

use super::documents::{
    CHART, DASHBOARD, DATABASE, DATASET, OTHER_CHART, all, chart, dashboard, database, dataset, filled,
};
use super::world::{Change, World};
use crate::*;

fn check(mut world: World, kind: Kind, uuid: Uuid, want: Expect) {
    let (results, ops) = world.apply(&[Change::Remove(kind, uuid)]);
    let shown = match &results[0] {
        Ok(_) => ops.iter().map(|op| format!("{}\n", summary(op))).collect(),
        Err(fault) => format!("{fault}\n"),
    };
    want.assert_eq(&shown);
}

fn summary(op: &RowOp) -> String {
    match op {
        RowOp::Insert { table, id, .. } => format!("insert {} {id}", table.name()),
        RowOp::Update { table, id, set } => format!("update {} {id} {set:?}", table.name()),
        RowOp::Delete { table, id } => format!("delete {} {id}", table.name()),
        RowOp::Sweep(Sweep { table, column, id, only, action }) => {
            format!("sweep {table} {column} = {id} {only:?} {action:?}")
        }
    }
}

#[test]
fn a_dashboard_goes_with_its_links_and_marks() {
    check(
        filled(Dialect::Postgres),
        Kind::Dashboard,
        DASHBOARD,
        expect![[r#"
            sweep dashboard_user dashboard_id = 1 None Delete
            sweep dashboard_roles dashboard_id = 1 None Delete
            sweep embedded_dashboards dashboard_id = 1 None Delete
            sweep tagged_object object_id = 1 Some(("object_type", "dashboard")) Delete
            sweep user_attribute welcome_dashboard_id = 1 None SetNull
            delete dashboard_slices 2
            delete dashboard_slices 1
            delete dashboards 1
        "#]],
    );
}

#[test]
fn a_chart_goes_with_its_links_and_marks() {
    check(
        filled(Dialect::Postgres),
        Kind::Chart,
        CHART,
        expect![[r#"
        sweep slice_user slice_id = 1 None Delete
        sweep tagged_object object_id = 1 Some(("object_type", "chart")) Delete
        delete dashboard_slices 1
        delete slices 1
    "#]],
    );
}

#[test]
fn a_dataset_stays_while_a_managed_chart_uses_it() {
    check(
        filled(Dialect::Postgres),
        Kind::Dataset,
        DATASET,
        expect![[r#"
        delete dataset `sales` (00000000-0000-0000-0000-0000000000d2), which is still used by chart `Torte` (00000000-0000-0000-0000-0000000000c1), chart `Kuchen` (00000000-0000-0000-0000-0000000000c2)
    "#]],
    );
}

#[test]
fn a_dataset_goes_from_under_charts_that_nobody_manages() {
    let mut world = filled(Dialect::Postgres);
    world.managed.remove(&CHART);
    world.managed.remove(&OTHER_CHART);
    check(
        world,
        Kind::Dataset,
        DATASET,
        expect![[r#"
            update slices 1 {"datasource_id": NULL}
            update slices 2 {"datasource_id": NULL}
            sweep ab_permission_view_role permission_view_id = 2 None Delete
            sweep sqlatable_user table_id = 1 None Delete
            sweep rls_filter_tables table_id = 1 None Delete
            sweep tagged_object object_id = 1 Some(("object_type", "dataset")) Delete
            sweep slices table_id = 1 None SetNull
            delete ab_permission_view 2
            delete ab_view_menu 2
            delete sql_metrics 1
            delete table_columns 2
            delete table_columns 1
            delete tables 1
        "#]],
    );
}

#[test]
fn a_database_stays_while_any_dataset_uses_it() {
    let mut world = filled(Dialect::Postgres);
    world.managed.clear();
    check(
        world,
        Kind::Database,
        DATABASE,
        expect![[r#"
        delete database `ana` (00000000-0000-0000-0000-0000000000d1), which is still used by dataset `sales` (00000000-0000-0000-0000-0000000000d2)
    "#]],
    );
}

#[test]
fn a_database_goes_with_the_rights_to_its_schemas() {
    let mut world = World::new(Dialect::Postgres);
    world.put(&[&database()]);
    for (id, name) in [(80, "[ana].[s]"), (81, "[ana].[k].[s]"), (82, "[ANA].[s]"), (83, "[ana2].[s]")] {
        world.add(Table::AbViewMenu, id, &[("name", name.into())]);
    }
    check(
        world,
        Kind::Database,
        DATABASE,
        expect![[r#"
        sweep ab_permission_view_role permission_view_id = 1 None Delete
        sweep ssh_tunnels database_id = 1 None Delete
        sweep database_user_oauth2_tokens database_id = 1 None Delete
        sweep table_schema database_id = 1 None Delete
        sweep tab_state database_id = 1 None Delete
        sweep query database_id = 1 None Delete
        sweep saved_query db_id = 1 None SetNull
        delete ab_permission_view 1
        delete ab_view_menu 81
        delete ab_view_menu 80
        delete ab_view_menu 1
        delete dbs 1
    "#]],
    );
}

#[test]
fn a_report_keeps_what_it_is_about() {
    let mut world = filled(Dialect::Postgres);
    let id = world.rows.by_uuid(Table::Slices, CHART).unwrap();
    world.add(Table::ReportSchedule, 5, &[("name", "Montag".into()), ("chart_id", id.into())]);
    let facts = world.facts(&[Change::Remove(Kind::Chart, CHART)]);
    assert_eq!(users_of(Kind::Chart, CHART, &facts).len(), 1);
    check(
        world,
        Kind::Chart,
        CHART,
        expect![[r#"
        delete chart `Torte` (00000000-0000-0000-0000-0000000000c1), which is still used by alert or report `Montag`
    "#]],
    );
}

#[test]
fn what_is_not_there_cannot_be_deleted() {
    check(
        World::new(Dialect::Postgres),
        Kind::Chart,
        CHART,
        expect![[r#"
        delete chart 00000000-0000-0000-0000-0000000000c1, which does not exist
    "#]],
    );
}

#[test]
fn everything_goes_in_one_batch_and_nothing_of_ours_is_left() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let mut world = filled(dialect);
        let removes: Vec<Change> =
            all().iter().rev().map(|document| Change::Remove(document.kind(), document.uuid())).collect();
        world.managed.clear();
        let (results, _) = world.apply(&removes);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        let left: Vec<_> = world.rows.iter().map(|(table, ..)| table).collect();
        assert_eq!(left, vec![Table::AbPermission; 3]);
    }
}

#[test]
fn a_deleted_chart_that_comes_back_in_the_same_batch_has_a_new_row_and_is_linked_again() {
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let mut world = filled(dialect);
        let old = world.rows.by_uuid(Table::Slices, CHART).unwrap();
        let changes = [
            Change::Remove(Kind::Chart, CHART),
            Change::Put(chart(CHART, "Torte")),
            Change::Put(dashboard()),
        ];
        let (results, _) = world.apply(&changes);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        let new = world.rows.by_uuid(Table::Slices, CHART).unwrap();
        assert_ne!(new, old);
        let linked: Vec<_> =
            world.rows.of(Table::DashboardSlices).map(|(_, row)| row["slice_id"].clone()).collect();
        assert!(linked.contains(&Value::Int(new)) && !linked.contains(&Value::Int(old)), "{linked:?}");
        assert_eq!(world.put(&[&dashboard()]), []);
    }
}

#[test]
fn a_dashboard_comes_before_its_charts_and_is_completed_by_them() {
    let mut world = World::new(Dialect::Postgres);
    world.put(&[&dashboard()]);
    expect![[r#"
        "{\"DASHBOARD_VERSION_KEY\": \"v2\", \"CHART-a\": {\"type\": \"CHART\", \"meta\": {\"uuid\": \"00000000-0000-0000-0000-0000000000c1\", \"chartId\": -1, \"width\": 4}}, \"CHART-b\": {\"type\": \"CHART\", \"meta\": {\"uuid\": \"00000000-0000-0000-0000-0000000000c2\", \"chartId\": -1, \"width\": 4}}, \"CHART-old\": {\"type\": \"CHART\", \"meta\": {\"chartId\": 503}}}" "{\"timed_refresh_immune_slices\": [], \"expanded_slices\": {}, \"color_scheme\": \"x\", \"chart_configuration\": {}, \"global_chart_configuration\": {\"scope\": {\"excluded\": []}, \"chartsInScope\": []}, \"native_filter_configuration\": [{\"targets\": [{\"column\": {\"name\": \"day\"}, \"datasetUuid\": \"00000000-0000-0000-0000-0000000000d2\"}, {}], \"scope\": {\"rootPath\": [\"ROOT_ID\"], \"excluded\": []}, \"chartsInScope\": []}]}"
    "#]].assert_eq(&world.show(Table::Dashboards, &["position_json", "json_metadata"]));
    world.put(&[
        &database(),
        &dataset(),
        &chart(CHART, "Torte"),
        &chart(OTHER_CHART, "Kuchen"),
        &dashboard(),
    ]);
    assert_eq!(world.rows.of(Table::DashboardSlices).count(), 2);
    let text = world.show(Table::Dashboards, &["position_json", "json_metadata"]);
    assert!(!text.contains("chartId\\\": -1") && !text.contains("datasetUuid"), "{text}");
}

#[test]
fn what_must_be_there_first_is_named_when_it_is_not() {
    let mut world = World::new(Dialect::Postgres);
    let (results, ops) = world.apply(&[Change::Put(dataset()), Change::Put(chart(CHART, "Torte"))]);
    assert_eq!(ops, []);
    let kinds: Vec<_> = results.into_iter().map(|result| result.unwrap_err().kind).collect();
    let missing = |kind: &FaultKind| match kind {
        FaultKind::Missing(reference) => (reference.to, reference.uuid),
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(&kinds[0]), (Kind::Database, DATABASE));
    assert_eq!(missing(&kinds[1]), (Kind::Dataset, DATASET));
}
