//! Random histories: a batch gives what one change at a time gives, and every operation keeps every key.

use std::collections::{BTreeMap, BTreeSet};

use asset::{Document, Kind};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::documents::{
    CHART, DASHBOARD, DATABASE, DATASET, OTHER_CHART, chart, dashboard, database, dataset, with,
};
use super::world::{Change, World};
use crate::*;

const OTHER: Uuid = Uuid::from_u128(0xe1);

/// One of few names, so that they collide.
fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["ana", "b_b", "c"])
}

fn a_uuid(one: Uuid) -> impl Strategy<Value = Uuid> {
    prop::sample::select(vec![one, OTHER])
}

fn columns() -> impl Strategy<Value = serde_json::Value> {
    prop::sample::subsequence(vec!["day", "amount", "x"], 0..3)
        .prop_map(|names| names.iter().map(|name| json!({"column_name": name})).collect())
}

fn document() -> impl Strategy<Value = Document> {
    let databases = (a_uuid(DATABASE), name()).prop_map(|(uuid, name)| {
        with(
            &database(),
            json!({"uuid": uuid, "database_name": name, "sqlalchemy_uri": format!("hive://{name}")}),
        )
    });
    let datasets = (a_uuid(DATASET), a_uuid(DATABASE), name(), name(), columns()).prop_map(
        |(uuid, database, table, schema, columns)| {
            let keys =
                json!({"uuid": uuid, "database_uuid": database, "table_name": table, "schema": schema});
            with(&with(&dataset(), keys), json!({"columns": columns}))
        },
    );
    let charts = (prop::sample::select(vec![CHART, OTHER_CHART]), name(), a_uuid(DATASET))
        .prop_map(|(uuid, name, dataset)| with(&chart(uuid, name), json!({"dataset_uuid": dataset})));
    let dashboards = (a_uuid(DASHBOARD), prop::option::of(name()))
        .prop_map(|(uuid, slug)| with(&dashboard(), json!({"uuid": uuid, "slug": slug})));
    prop_oneof![databases, datasets, charts, dashboards]
}

fn change() -> impl Strategy<Value = Change> {
    let removes = prop::sample::select(vec![
        (Kind::Database, DATABASE),
        (Kind::Database, OTHER),
        (Kind::Dataset, DATASET),
        (Kind::Dataset, OTHER),
        (Kind::Chart, CHART),
        (Kind::Chart, OTHER_CHART),
        (Kind::Dashboard, DASHBOARD),
        (Kind::Dashboard, OTHER),
    ]);
    prop_oneof![
        3 => document().prop_map(Change::Put),
        1 => removes.prop_map(|(kind, uuid)| Change::Remove(kind, uuid)),
    ]
}

/// Applies changes in batches of a size, and renders dashboards again when what they show comes or goes, as the
/// applier does. Returns what each change came to.
fn apply(world: &mut World, changes: &[Change], size: usize) -> Vec<Option<String>> {
    let mut results = Vec::new();
    let mut shown: BTreeMap<Uuid, Document> = BTreeMap::new();
    for batch in changes.chunks(size) {
        let again = shown.values().cloned().map(Change::Put);
        let mut facts = world.facts(&batch.iter().cloned().chain(again).collect::<Vec<_>>());
        let before = facts.rows.clone();
        for change in batch {
            let fault = step(change, &mut facts);
            if fault.is_none() {
                follow(change, &mut shown, &mut facts);
            }
            results.push(fault);
        }
        for op in diff(&before, &facts.rows) {
            world.execute(&op);
        }
    }
    results
}

fn step(change: &Change, facts: &mut Facts) -> Option<String> {
    let result = match change {
        Change::Put(document) => put(document, facts).map(drop),
        Change::Remove(kind, uuid) => remove(*kind, *uuid, facts).map(drop),
    };
    let fault = result.err()?;
    assert!(!matches!(fault.kind, FaultKind::Unasked(_) | FaultKind::NoIds(_)), "{fault}");
    Some(fault.to_string())
}

fn follow(change: &Change, shown: &mut BTreeMap<Uuid, Document>, facts: &mut Facts) {
    match change {
        Change::Put(document @ Document::Dashboard(_)) => {
            drop(shown.insert(document.uuid(), document.clone()))
        }
        Change::Remove(Kind::Dashboard, uuid) => drop(shown.remove(uuid)),
        Change::Put(_) | Change::Remove(..) => {
            for document in shown.values() {
                put(document, facts).unwrap();
            }
        }
    }
}

/// What the database holds, without ids and times.
fn essence(world: &mut World) -> (Vec<Option<Digest>>, BTreeSet<String>) {
    let assets = [
        (Kind::Database, vec![DATABASE, OTHER]),
        (Kind::Dataset, vec![DATASET, OTHER]),
        (Kind::Chart, vec![CHART, OTHER_CHART]),
        (Kind::Dashboard, vec![DASHBOARD, OTHER]),
    ];
    let digests = assets.iter().flat_map(|(kind, uuids)| uuids.iter().map(|uuid| (*kind, *uuid)));
    let rows = world.rows.clone();
    let digests = digests.map(|(kind, uuid)| digest(kind, uuid, &rows)).collect();
    let mut rights = world.rights();
    for (table, before) in [(Table::Dbs, '.'), (Table::Tables, ']')] {
        for (id, row) in world.rows.of(table) {
            let uuid = row["uuid"].as_uuid().unwrap();
            rights = rights.replace(&format!("{before}(id:{id})"), &format!("{before}({uuid})"));
        }
    }
    let without_pair = |line: &str| line.split_once(' ').unwrap().1.to_owned();
    (digests, rights.lines().map(without_pair).collect())
}

/// Every right that Superset looks for is there, and charts have those of their dataset.
fn check_rights(world: &World) {
    let rights = world.rights();
    let has = |right: String| assert!(rights.contains(&format!("{right}\n")), "no `{right}` in\n{rights}");
    assert!(!world.show(Table::AbViewMenu, &["name"]).contains("parked"), "{rights}");
    for (id, row) in world.rows.of(Table::Dbs) {
        has(format!("database_access on [{}].(id:{id})", row["database_name"].as_text().unwrap()));
    }
    for (id, row) in world.rows.of(Table::Tables) {
        let database = world.rows.value(Table::Dbs, row["database_id"].as_int().unwrap(), "database_name");
        let (database, table) = (database.as_text().unwrap(), row["table_name"].as_text().unwrap());
        assert_eq!(row["perm"].as_text(), Some(format!("[{database}].[{table}](id:{id})").as_str()));
        has(format!("datasource_access on {}", row["perm"].as_text().unwrap()));
        has(format!("schema_access on {}", row["schema_perm"].as_text().unwrap()));
    }
    for (_, row) in world.rows.of(Table::Slices) {
        let dataset = world.rows.get(Table::Tables, row["datasource_id"].as_int().unwrap()).unwrap();
        for column in ["perm", "schema_perm", "catalog_perm"] {
            assert_eq!(row[column], dataset[column]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_gives_what_one_change_at_a_time_gives(
        changes in prop::collection::vec(change(), 1..24),
        size in 2..12_usize,
        is_sqlite in any::<bool>(),
    ) {
        let dialect = if is_sqlite { Dialect::Sqlite } else { Dialect::Postgres };
        let (mut single, mut batched) = (World::new(dialect), World::new(dialect));
        let uuids = [DATABASE, DATASET, CHART, OTHER_CHART, DASHBOARD, OTHER];
        single.managed.extend(uuids);
        batched.managed.extend(uuids);
        let one_by_one = apply(&mut single, &changes, 1);
        prop_assert_eq!(apply(&mut batched, &changes, size), one_by_one);
        prop_assert_eq!(essence(&mut batched), essence(&mut single));
    }

    #[test]
    fn a_txn_that_ends_without_conflict_keeps_every_key_at_every_step(
        txns in prop::collection::vec(prop::collection::vec(change(), 1..8), 1..6),
        is_sqlite in any::<bool>(),
    ) {
        let mut world = World::new(if is_sqlite { Dialect::Sqlite } else { Dialect::Postgres });
        let uuids = BTreeSet::from([DATABASE, DATASET, CHART, OTHER_CHART, DASHBOARD, OTHER]);
        for txn in txns {
            let mut facts = world.facts(&txn);
            facts.managed.clone_from(&uuids);
            facts.yielding.clone_from(&uuids);
            let before = facts.rows.clone();
            for change in &txn {
                step(change, &mut facts);
            }
            if !conflicts(&facts, &uuids).is_empty() {
                continue;
            }
            for op in diff(&before, &facts.rows) {
                world.execute(&op);
            }
            check_rights(&world);
        }
    }
}
