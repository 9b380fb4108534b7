//! Deletes: who is used, what the guard holds, what an approval lets pass, what a resync concludes.

use expect_test::expect;

use super::notation::{self, Notation};
use super::pure::{BASE, after_base, check_under};
use super::world::World;
use crate::work::{Deletes, Policy, Selection, Work};

const SIX: &str = "+charts/a#11 ; +charts/b#12 ; +charts/e#13 ; +charts/f#14 ; +charts/g#15\n";

#[test]
fn a_used_dataset_is_held_until_its_charts_go() {
    after_base(
        "-datasets/t
         -charts/c",
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            datasets/t@1.- held: those that still use it: assets/main/charts/c
            charts/c@1.- deleted also dashboards/d
            datasets/t@1.- deleted (reconciled)
            --
            database db
            dashboard d []
        "#]],
    );
}

#[test]
fn deletes_of_one_record_go_in_the_order_of_dependants() {
    after_base(
        "-databases/db ; -datasets/t ; -charts/c ; -dashboards/d",
        &expect![[r#"
        databases/db@1.0 applied
        datasets/t@1.0 applied
        charts/c@1.0 applied
        dashboards/d@1.0 applied
        dashboards/d@1.- deleted
        charts/c@1.- deleted
        datasets/t@1.- deleted
        databases/db@1.- deleted
        --
    "#]],
    );
}

#[test]
fn the_guard_holds_many_deletes_until_each_is_approved() {
    after_base(
        &format!(
            "{SIX}-charts/a ; -charts/b ; -charts/c ; -charts/e ; -charts/f ; -charts/g
             approve charts/a
             +charts/b#12"
        ),
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            charts/a@2.0 applied
            charts/b@2.0 applied
            charts/e@2.0 applied
            charts/f@2.0 applied
            charts/g@2.0 applied
            charts/a@2.- held: an approval: 6 deletes of this kind, 5 may pass unasked
            charts/b@2.- held: an approval: 6 deletes of this kind, 5 may pass unasked
            charts/c@1.- held: an approval: 6 deletes of this kind, 5 may pass unasked
            charts/e@2.- held: an approval: 6 deletes of this kind, 5 may pass unasked
            charts/f@2.- held: an approval: 6 deletes of this kind, 5 may pass unasked
            charts/g@2.- held: an approval: 6 deletes of this kind, 5 may pass unasked
            //control/approvals/4@4.0 applied
            charts/a@2.- deleted (reconciled)
            charts/b@2.- superseded (reconciled)
            charts/b@5.0 unchanged
            --
            database db
            dataset t of db
            chart c of t
            chart b of t
            chart e of t
            chart f of t
            chart g of t
            dashboard d [c]
        "#]],
    );
}

#[test]
fn the_guard_counts_deletes_of_ten_minutes() {
    after_base(
        &format!(
            "{SIX}-charts/a
             -charts/b ; -charts/e ; -charts/f ; -charts/g
             -charts/c
             after 11m
             +charts/c#3
             -charts/c"
        ),
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            charts/a@2.0 applied
            charts/b@2.0 applied
            charts/e@2.0 applied
            charts/f@2.0 applied
            charts/g@2.0 applied
            charts/a@2.- deleted
            charts/b@2.- deleted
            charts/e@2.- deleted
            charts/f@2.- deleted
            charts/g@2.- deleted
            charts/c@1.- held: an approval: 6 deletes of this kind, 5 may pass unasked
            charts/c@1.- superseded (reconciled)
            charts/c@6.0 unchanged
            charts/c@6.- deleted also dashboards/d
            --
            database db
            dataset t of db
            dashboard d []
        "#]],
    );
}

#[test]
fn a_put_of_the_uuid_elsewhere_cancels_a_held_delete() {
    check_under(
        Policy { deletes: Deletes::Hold, ..Policy::default() },
        &format!(
            "{BASE}-charts/c
             +charts/elsewhere#3 name=elsewhere"
        ),
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            charts/c@1.- held: an approval: this target holds deletes
            charts/elsewhere@3.0 applied
            charts/c@1.- superseded (reconciled)
            --
            database db
            dataset t of db
            chart elsewhere of t
            dashboard d [elsewhere]
        "#]],
    );
}

#[test]
fn deletes_are_held_or_ignored_where_that_is_configured() {
    check_under(
        Policy { deletes: Deletes::Hold, ..Policy::default() },
        &format!(
            "{BASE}-dashboards/d
             approve dashboards/d"
        ),
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            dashboards/d@1.- held: an approval: this target holds deletes
            //control/approvals/3@3.0 applied
            dashboards/d@1.- deleted (reconciled)
            --
            database db
            dataset t of db
            chart c of t
        "#]],
    );
    check_under(
        Policy { deletes: Deletes::Ignore, ..Policy::default() },
        &format!("{BASE}-dashboards/d"),
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            dashboards/d@1.- unchanged
            --
            database db
            dataset t of db
            chart c of t
            dashboard d [c]
        "#]],
    );
}

#[test]
fn a_resync_deletes_what_it_did_not_see() {
    after_base(
        "+charts/e#5
         begin 1
         =databases/db
         =datasets/t
         =charts/c
         end 1 dashboards",
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            charts/e@2.0 applied
            databases/db@1.0 skipped
            datasets/t@1.0 skipped
            charts/c@1.0 skipped
            charts/e@2.- deleted
            --
            database db
            dataset t of db
            chart c of t
            dashboard d [c]
        "#]],
    );
}

#[test]
fn a_resync_that_was_voided_or_never_begun_deletes_nothing() {
    after_base(
        "end 7
         begin 1
         begin 2
         end 1",
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
fn the_guard_holds_the_deletes_of_a_resync_too() {
    after_base(
        &format!(
            "{SIX}begin 1
             =databases/db
             =datasets/t
             =dashboards/d
             end 1"
        ),
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            charts/a@2.0 applied
            charts/b@2.0 applied
            charts/e@2.0 applied
            charts/f@2.0 applied
            charts/g@2.0 applied
            databases/db@1.0 skipped
            datasets/t@1.0 skipped
            dashboards/d@1.0 skipped
            charts/a@2.- held: an approval: 6 deletes of this kind, 5 may pass unasked
            charts/b@2.- held: an approval: 6 deletes of this kind, 5 may pass unasked
            charts/c@1.- held: an approval: 6 deletes of this kind, 5 may pass unasked
            charts/e@2.- held: an approval: 6 deletes of this kind, 5 may pass unasked
            charts/f@2.- held: an approval: 6 deletes of this kind, 5 may pass unasked
            charts/g@2.- held: an approval: 6 deletes of this kind, 5 may pass unasked
            --
            database db
            dataset t of db
            chart c of t
            chart a of t
            chart b of t
            chart e of t
            chart f of t
            chart g of t
            dashboard d [c]
        "#]],
    );
}

#[test]
fn a_resync_that_finds_a_znode_takes_back_what_an_earlier_one_concluded() {
    check_under(
        Policy { deletes: Deletes::Hold, ..Policy::default() },
        &format!(
            "{BASE}begin 1
             =databases/db
             =datasets/t
             =charts/c
             end 1
             begin 2
             =dashboards/d
             end 2 databases datasets charts"
        ),
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            databases/db@1.0 skipped
            datasets/t@1.0 skipped
            charts/c@1.0 skipped
            dashboards/d@1.- held: an approval: this target holds deletes
            dashboards/d@1.- superseded (reconciled)
            dashboards/d@1.0 skipped
            --
            database db
            dataset t of db
            chart c of t
            dashboard d [c]
        "#]],
    );
    after_base(
        "begin 1
         =databases/db
         =datasets/t
         =charts/c
         end 1
         begin 2
         =dashboards/d
         end 2 databases datasets charts
         +dashboards/d#4 charts=3 name=two",
        &expect![[r#"
            databases/db@1.0 applied
            datasets/t@1.0 applied
            charts/c@1.0 applied
            dashboards/d@1.0 applied
            databases/db@1.0 skipped
            datasets/t@1.0 skipped
            charts/c@1.0 skipped
            dashboards/d@1.- deleted
            dashboards/d@1.0 applied
            dashboards/d@1.1 applied
            --
            database db
            dataset t of db
            chart c of t
            dashboard two [c]
        "#]],
    );
}

#[test]
fn deletes_that_the_policy_held_meet_the_guard_once_the_policy_lets_them_pass() {
    let check = |count: u64, want: &expect_test::Expect| {
        let mut world =
            World::new(Policy { deletes: Deletes::Hold, guard_count: count, ..Policy::default() });
        let script = format!("{BASE}{SIX}-charts/a ; -charts/b ; -charts/e\n-charts/f ; -charts/g");
        for read in Notation::default().read(&script) {
            world.records(vec![read]);
        }
        world.policy.deletes = Deletes::Apply;
        let told = world.apply(&Work::Reconcile(Selection::Pending));
        let lines: Vec<String> = told.iter().map(notation::outcome).collect();
        want.assert_eq(&(lines.join("\n") + "\n"));
    };
    check(
        4,
        &expect![[r#"
            charts/a@2.- held: an approval: 5 deletes of this kind, 4 may pass unasked (reconciled)
            charts/b@2.- held: an approval: 5 deletes of this kind, 4 may pass unasked (reconciled)
            charts/e@2.- held: an approval: 5 deletes of this kind, 4 may pass unasked (reconciled)
            charts/f@2.- held: an approval: 5 deletes of this kind, 4 may pass unasked (reconciled)
            charts/g@2.- held: an approval: 5 deletes of this kind, 4 may pass unasked (reconciled)
        "#]],
    );
    check(
        5,
        &expect![[r#"
            charts/a@2.- deleted (reconciled)
            charts/b@2.- deleted (reconciled)
            charts/e@2.- deleted (reconciled)
            charts/f@2.- deleted (reconciled)
            charts/g@2.- deleted (reconciled)
        "#]],
    );
}
