//! What each change comes to, in tables.

use expect_test::{Expect, expect};

use super::notation::{self, Notation};
use super::world::World;
use crate::work::Policy;

/// Applies a script record by record and shows the outcomes, `--`, and what stands in the end.
pub(super) fn check(script: &str, want: &Expect) {
    check_under(Policy::default(), script, want);
}

pub(super) fn check_under(policy: Policy, script: &str, want: &Expect) {
    let mut world = World::new(policy);
    let mut lines = Vec::new();
    for read in Notation::default().read(script) {
        lines.extend(world.records(vec![read]).iter().map(notation::outcome));
    }
    lines.push("--".to_owned());
    lines.extend(world.show());
    want.assert_eq(&(lines.join("\n") + "\n"));
}

/// A database, a dataset, a chart and a dashboard.
pub(super) const BASE: &str = "+databases/db#1 ; +datasets/t#2 ; +charts/c#3 ; +dashboards/d#4 charts=3\n";

pub(super) fn after_base(script: &str, want: &Expect) {
    check(&format!("{BASE}{script}"), want);
}

#[test]
fn a_record_is_applied_whole_whatever_its_order() {
    check(
        "+dashboards/d#4 charts=3 ; +charts/c#3 ; +datasets/t#2 ; +databases/db#1",
        &expect![[r#"
        databases/db@1.0 applied
        datasets/t@1.0 applied
        charts/c@1.0 applied
        dashboards/d@1.0 applied
        --
        database db
        dataset t of db
        chart c of t
        dashboard d [c]
    "#]],
    );
}

#[test]
fn a_chart_waits_for_its_dataset() {
    check(
        "+charts/c#3
         +datasets/t#2
         +databases/db#1",
        &expect![[r#"
            charts/c@1.0 held: dataset #02, which is not there yet
            datasets/t@2.0 held: database #01, which is not there yet
            databases/db@3.0 applied
            datasets/t@2.0 applied (reconciled)
            charts/c@1.0 applied (reconciled)
            --
            database db
            dataset t of db
            chart c of t
        "#]],
    );
}

#[test]
fn a_change_seen_twice_is_skipped() {
    after_base(
        "=charts/c",
        &expect![[r#"
        databases/db@1.0 applied
        datasets/t@1.0 applied
        charts/c@1.0 applied
        dashboards/d@1.0 applied
        charts/c@1.0 skipped
        --
        database db
        dataset t of db
        chart c of t
        dashboard d [c]
    "#]],
    );
}

#[test]
fn the_same_document_again_is_unchanged() {
    after_base(
        "+charts/c#3",
        &expect![[r#"
        databases/db@1.0 applied
        datasets/t@1.0 applied
        charts/c@1.0 applied
        dashboards/d@1.0 applied
        charts/c@1.1 unchanged
        --
        database db
        dataset t of db
        chart c of t
        dashboard d [c]
    "#]],
    );
}

#[test]
fn a_missing_chart_joins_its_dashboard_when_it_comes_and_leaves_when_it_goes() {
    after_base(
        "+dashboards/d#4 charts=3,5
         +charts/late#5
         -charts/late",
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            dashboards/d@1.1 applied
            charts/late@3.0 applied also dashboards/d
            charts/late@3.- deleted also dashboards/d
            --
            database db
            dataset t of db
            chart c of t
            dashboard d [c]
        "#]],
    );
}

#[test]
fn a_move_keeps_the_rows() {
    after_base(
        "+charts/moved#3 ; -charts/c",
        &expect![[r#"
        databases/db@1.0 applied
        datasets/t@1.0 applied
        charts/c@1.0 applied
        dashboards/d@1.0 applied
        charts/moved@2.0 applied
        charts/c@1.- superseded
        --
        database db
        dataset t of db
        chart moved of t
        dashboard d [moved]
    "#]],
    );
}

#[test]
fn a_move_with_a_document_that_cannot_be_applied_keeps_the_last_good_state() {
    after_base(
        "+charts/moved#3 ds=9 ; -charts/c",
        &expect![[r#"
        databases/db@1.0 applied
        datasets/t@1.0 applied
        charts/c@1.0 applied
        dashboards/d@1.0 applied
        charts/c@1.- superseded
        charts/moved@2.0 held: dataset #09, which is not there yet
        --
        database db
        dataset t of db
        chart c of t
        dashboard d [c]
    "#]],
    );
}

#[test]
fn a_recreate_after_a_delete_makes_new_rows() {
    after_base(
        "-charts/c
         +charts/c#3",
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            charts/c@1.- deleted also dashboards/d
            charts/c@3.0 applied also dashboards/d
            --
            database db
            dataset t of db
            chart c of t
            dashboard d [c]
        "#]],
    );
}

#[test]
fn a_changed_uuid_is_delete_and_create() {
    after_base(
        "+charts/c#7",
        &expect![[r#"
        databases/db@1.0 applied
        datasets/t@1.0 applied
        charts/c@1.0 applied
        dashboards/d@1.0 applied
        charts/c@1.1 applied also dashboards/d
        --
        database db
        dataset t of db
        chart c of t
        dashboard d []
    "#]],
    );
}

#[test]
fn a_changed_uuid_waits_while_the_old_asset_is_used() {
    after_base(
        "+datasets/t#8 name=t2
         +charts/c#3 ds=8",
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            datasets/t@1.1 held: those that still use it: assets/main/charts/c
            datasets/t@1.1 applied (reconciled)
            charts/c@1.1 applied
            --
            database db
            dataset t2 of db
            chart c of t2
            dashboard d [c]
        "#]],
    );
}

#[test]
fn uuids_swapped_between_two_znodes_stay_one_asset_each() {
    after_base(
        "+charts/e#5
         +charts/c#5 name=five ; +charts/e#3 name=three",
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            charts/e@2.0 applied
            charts/c@1.1 applied
            charts/e@2.1 applied
            --
            database db
            dataset t of db
            chart three of t
            chart five of t
            dashboard d [three]
        "#]],
    );
}

#[test]
fn the_older_znode_owns_a_uuid_and_the_younger_follows_it() {
    after_base(
        "+charts/young#3 name=young
         -charts/c",
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            charts/young@2.0 rejected: uuid #03 belongs to the older znode `assets/main/charts/c`; delete one of the two, or give this one a uuid of its own
            charts/young@2.0 applied (reconciled)
            charts/c@1.- superseded
            --
            database db
            dataset t of db
            chart young of t
            dashboard d [young]
        "#]],
    );
}

#[test]
fn a_znode_of_an_earlier_generation_is_older_whatever_its_zxid() {
    check(
        "+databases/db#1 ; +datasets/t#2
         +charts/x#7
         +charts/old#5
         generation 2
         +charts/young#5 name=young",
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/x@2.0 applied
            charts/old@3.0 applied
            charts/young@1.0 rejected: uuid #05 belongs to the older znode `assets/main/charts/old`; delete one of the two, or give this one a uuid of its own
            --
            database db
            dataset t of db
            chart x of t
            chart old of t
        "#]],
    );
}

#[test]
fn an_older_znode_that_comes_later_takes_its_uuid_back() {
    check(
        "+databases/db#1 ; +datasets/t#2
         +charts/old#5
         +charts/young#3
         +charts/old#3
         -charts/old",
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/old@2.0 applied
            charts/young@3.0 applied
            charts/young@3.0 rejected: uuid #03 belongs to the older znode `assets/main/charts/old`; delete one of the two, or give this one a uuid of its own (reconciled)
            charts/old@2.1 applied
            charts/young@3.0 applied (reconciled)
            charts/old@2.- superseded
            --
            database db
            dataset t of db
            chart young of t
        "#]],
    );
}

#[test]
fn a_uuid_belongs_to_one_project_and_changes_it_only_by_a_move_in_one_record() {
    after_base(
        "+/other/charts/c#3
         -charts/c
         +/third/charts/c#3 ; -/other/charts/c",
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            /other/charts/c@2.0 rejected: uuid #03 belongs to `assets/main/charts/c` of another project; give this one a uuid of its own, or move it in one transaction
            charts/c@1.- deleted also dashboards/d
            /other/charts/c@2.0 applied (reconciled)
            /third/charts/c@4.0 unchanged
            /other/charts/c@2.- superseded
            --
            database db
            dataset t of db
            chart c of t
            dashboard d [c]
        "#]],
    );
}

#[test]
fn names_swapped_in_one_record_pass_and_a_taken_name_is_rejected_until_it_is_free() {
    check(
        "+databases/a#1 name=x ; +databases/b#2 name=y
         +databases/a#1 name=y ; +databases/b#2 name=x
         +databases/a#1 name=x
         +databases/b#2 name=z",
        &expect![[r#"
            databases/a@1.0 applied
            databases/b@1.0 applied
            databases/a@1.1 applied
            databases/b@1.1 applied
            databases/a@1.2 rejected: give database the database_name `x`, which database `x` (#02) has; choose another, or change that one first [database_name]
            databases/a@1.2 applied (reconciled)
            databases/b@1.2 applied
            --
            database x
            database z
        "#]],
    );
}

#[test]
fn a_record_of_an_old_watcher_is_dropped() {
    after_base(
        "fence 5
         +charts/e#5
         fence 4
         -charts/c",
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            charts/e@2.0 applied
            --
            database db
            dataset t of db
            chart c of t
            chart e of t
            dashboard d [c]
        "#]],
    );
}

#[test]
fn what_is_no_document_is_rejected_and_the_last_good_state_stays() {
    after_base(
        r#"+charts/c {"slice_name": 1
           +charts/c#3 extra=unknown
           ~charts/e#6
           +recipes/r {}
           +charts/we-ird%name {}
           +databases/bad#8 uri=sqlite:////etc/passwd
           +databases/clear#9 uri=postgresql://u:secret@h/d
           +//settings/config/ROW_LIMIT 100
           +//settings/config/BAD {1
           +//control/approvals/x {}
           +charts/c#3"#,
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            charts/c@1.1 rejected: line 1 column 17: the text ends within an object or a list
            charts/c@1.2 rejected: `unknown`: a chart has no such key; remove it, or mend its spelling [unknown]
            charts/e@4.0 rejected: the znode is ephemeral and would vanish by itself; create it as a persistent znode
            recipes/r@5.0 rejected: `recipes` is no kind that this setkeeper applies; it knows databases, datasets, charts, dashboards
            charts/we-ird%name@6.0 rejected: name `we-ird%name` is not allowed; use 1 to 200 of A-Z a-z 0-9 . _ -
            databases/bad@7.0 rejected: use the driver `sqlite`, which is not allowed; if it is safe on your Superset's hosts, add it to the allowed drivers of the target [sqlalchemy_uri]
            databases/clear@8.0 rejected: `sqlalchemy_uri`: holds a clear secret; rotate it, put `XXXXXXXXXX` in its place and write a reference instead: "setkeeper": {"secrets": {"password": "env:NAME"}} [sqlalchemy_uri]
            //settings/config/ROW_LIMIT@9.0 applied
            //settings/config/BAD@10.0 rejected: line 1 column 2: expected a key in double quotes
            //control/approvals/x@11.0 rejected: not an approval; one looks like {"v":1,"path":"assets/main/charts/sales","czxid":77}
            charts/c@1.3 unchanged
            --
            database db
            dataset t of db
            chart c of t
            dashboard d [c]
        "#]],
    );
}

#[test]
fn an_inner_znode_that_is_emptied_as_told_leaves_nothing_behind() {
    let mut world = World::new(Policy::default());
    let mut told = Vec::new();
    // A resync does not find it: an empty one is no change.
    for read in Notation::default().read("+//assets/main x\n+//assets/main\nbegin 1\nend 1") {
        told.extend(world.records(vec![read]).iter().map(notation::outcome));
    }
    expect![[r#"
        /main@1.0 rejected: an inner znode of the tree holds data; empty it: documents stand at assets/<project>/<folder>/<name>
        /main@1.1 applied
    "#]]
    .assert_eq(&(told.join("\n") + "\n"));
    assert!(world.ledger.entries().is_empty());
}

#[test]
fn a_database_waits_for_its_secret() {
    check(
        "+databases/db#1 secret=env:NO_SUCH_VARIABLE_HERE",
        &expect![[r#"
        databases/db@1.0 held: secret env:NO_SUCH_VARIABLE_HERE, which cannot be read
        --
    "#]],
    );
}

#[test]
fn a_good_and_a_bad_version_in_one_batch_each_keep_their_verdict() {
    let mut world = World::new(Policy::default());
    let records = Notation::default().read(&format!(
        "{BASE}+charts/c#3 name=two
         +charts/c {{
         +charts/c#3 name=three
         +datasets/t#2 name=t2
         +datasets/t#2 name=t3"
    ));
    let lines: Vec<String> = world.records(records).iter().map(notation::outcome).collect();
    expect![[r#"
        databases/db@1.0 applied
        datasets/t@1.0 superseded
        charts/c@1.0 applied
        dashboards/d@1.0 applied
        charts/c@1.1 applied
        charts/c@1.2 rejected: line 1 column 2: expected a key in double quotes
        charts/c@1.3 applied
        datasets/t@1.1 superseded also charts/c
        datasets/t@1.2 applied also charts/c
    "#]]
    .assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn a_project_holds_only_the_kinds_that_the_configuration_allows() {
    let kinds = std::collections::BTreeSet::from([asset::Kind::Database]);
    let projects = std::collections::BTreeMap::from([("main".to_owned(), kinds)]);
    let mut world = World::new(Policy { projects, ..Policy::default() });
    let mut told = world.records(Notation::default().read("+databases/db#1 ; +datasets/t#2"));
    world.policy.projects.clear();
    told.extend(world.apply(&crate::work::Work::Reconcile(crate::work::Selection::Pending)));
    let lines: Vec<String> = told.iter().map(notation::outcome).collect();
    expect![[r#"
        databases/db@1.0 applied
        datasets/t@1.0 rejected: project `main` may not hold datasets; allow it in the configuration, or use another project
        datasets/t@1.0 applied (reconciled)
    "#]].assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn a_document_beyond_the_bound_is_rejected() {
    check_under(
        Policy { document_max: 100, ..Policy::default() },
        "+//settings/config/SHORT 1\n+databases/db#1",
        &expect![[r#"
            //settings/config/SHORT@1.0 applied
            databases/db@2.0 rejected: the znode holds 133 bytes, more than 100; store the document as gzip, or split it
            --
        "#]],
    );
}

#[test]
fn a_resync_brings_a_document_back_that_another_configuration_lets_pass() {
    let mut world = World::new(Policy { document_max: 100, ..Policy::default() });
    let mut notation = Notation::default();
    let mut told = Vec::new();
    let resync = "begin 1\n=databases/db\nend 1";
    for (max, script) in
        [(100, "+databases/db#1"), (100, resync), (1 << 20, "=databases/db"), (1 << 20, resync)]
    {
        world.policy.document_max = max;
        for read in notation.read(script) {
            told.extend(world.records(vec![read]));
        }
    }
    let lines: Vec<String> = told.iter().map(notation::outcome).collect();
    expect![[r#"
        databases/db@1.0 rejected: the znode holds 133 bytes, more than 100; store the document as gzip, or split it
        databases/db@1.0 skipped
        databases/db@1.0 skipped
        databases/db@1.0 applied
    "#]]
    .assert_eq(&(lines.join("\n") + "\n"));
}
