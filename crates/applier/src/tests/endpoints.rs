//! Databases that follow an endpoint, and settings.

use expect_test::expect;

use super::notation::{self, Notation};
use super::pure::{BASE, check};
use super::road::{self, On, Road};
use super::world::World;
use crate::work::Policy;

const FOLLOWING: &str = "+databases/db#1 endpoint=e ; +datasets/t#2 ; +charts/c#3\n";

#[test]
fn a_database_waits_for_its_endpoint_and_its_datasets_with_it() {
    check(
        &format!("{FOLLOWING}+//endpoints/e hive1:10000"),
        &expect![[r#"
        charts/c@1.0 held: dataset #02, which is not there yet
        databases/db@1.0 held: endpoint e, which is not there yet
        datasets/t@1.0 held: database #01, which is not there yet
        //endpoints/e@2.0 applied
        databases/db@1.0 applied (reconciled)
        datasets/t@1.0 applied (reconciled)
        charts/c@1.0 applied (reconciled)
        --
        database db at hive://hive1:10000/data
        dataset t of db
        chart c of t
    "#]],
    );
}

#[test]
fn a_database_waits_whichever_of_the_two_comes_first() {
    check(
        &format!("+//endpoints/f x:1\n+//endpoints/e hive1:10000\n{FOLLOWING}"),
        &expect![[r#"
        //endpoints/f@1.0 applied
        //endpoints/e@2.0 applied
        databases/db@3.0 applied
        datasets/t@3.0 applied
        charts/c@3.0 applied
        --
        database db at hive://hive1:10000/data
        dataset t of db
        chart c of t
    "#]],
    );
    check(
        &format!("+//endpoints/e hive1:10000 ; {FOLLOWING}"),
        &expect![[r#"
        //endpoints/e@1.0 applied
        databases/db@1.0 applied
        datasets/t@1.0 applied
        charts/c@1.0 applied
        --
        database db at hive://hive1:10000/data
        dataset t of db
        chart c of t
    "#]],
    );
}

#[test]
fn where_an_endpoint_goes_the_databases_that_name_it_go_and_others_stay() {
    check(
        &format!(
            "+//endpoints/e hive1:10000 ; +//endpoints/f kyuubi1:10009
             {FOLLOWING}
             +databases/other#5 endpoint=f
             +databases/plain#6
             +//endpoints/e hive2:10000,hive3:10000
             +//endpoints/e hive2:10000,hive3:10000"
        ),
        &expect![[r#"
            //endpoints/e@1.0 applied
            //endpoints/f@1.0 applied
            databases/db@2.0 applied
            datasets/t@2.0 applied
            charts/c@2.0 applied
            databases/other@3.0 applied
            databases/plain@4.0 applied
            //endpoints/e@1.1 applied also databases/db datasets/t
            databases/db@2.0 applied (reconciled) also datasets/t
            //endpoints/e@1.2 unchanged
            --
            database db at hive://hive2:10000,hive3:10000/data
            database other at hive://kyuubi1:10009/data
            database plain
            dataset t of db
            chart c of t
        "#]],
    );
}

#[test]
fn an_endpoint_and_its_database_that_change_together_are_written_once() {
    check(
        &format!(
            "+//endpoints/e hive1:10000
             {FOLLOWING}
             +databases/db#1 name=renamed endpoint=e ; +//endpoints/e hive2:10000"
        ),
        &expect![[r#"
            //endpoints/e@1.0 applied
            databases/db@2.0 applied
            datasets/t@2.0 applied
            charts/c@2.0 applied
            //endpoints/e@1.1 applied
            databases/db@2.1 applied also charts/c datasets/t
            --
            database renamed at hive://hive2:10000/data
            dataset t of renamed
            chart c of t
        "#]],
    );
}

#[test]
fn an_endpoint_that_goes_leaves_the_last_uri_and_holds_later_changes() {
    check(
        &format!(
            "+//endpoints/e hive1:10000
             {FOLLOWING}
             -//endpoints/e
             +databases/db#1 name=renamed endpoint=e
             +//endpoints/e hive2:10000"
        ),
        &expect![[r#"
            //endpoints/e@1.0 applied
            databases/db@2.0 applied
            datasets/t@2.0 applied
            charts/c@2.0 applied
            //endpoints/e@1.- deleted
            databases/db@2.1 held: endpoint e, which is not there yet
            //endpoints/e@5.0 applied
            databases/db@2.1 applied (reconciled) also charts/c datasets/t
            --
            database renamed at hive://hive2:10000/data
            dataset t of renamed
            chart c of t
        "#]],
    );
}

#[test]
fn an_endpoint_that_cannot_be_used_is_rejected_and_the_last_good_one_stays() {
    check(
        &format!(
            r#"+//endpoints/e hive1:10000
            {FOLLOWING}
            +//endpoints/e {{"v":1,"endpoint":"e","chosen":["u:p@evil:1"]}}
            ~//endpoints/e hive2:10000
            +databases/db#1 name=renamed endpoint=e
            +//endpoints/e hive3:10000"#
        ),
        &expect![[r#"
            //endpoints/e@1.0 applied
            databases/db@2.0 applied
            datasets/t@2.0 applied
            charts/c@2.0 applied
            //endpoints/e@1.1 rejected: `chosen[0]`: not a host with its port; write it like `host:10000` or `[2001:db8::1]:10000`, and nothing else [chosen[0]]
            //endpoints/e@1.2 rejected: the znode is ephemeral and would vanish by itself; create it as a persistent znode
            databases/db@2.1 applied also charts/c datasets/t
            //endpoints/e@1.3 applied also databases/db datasets/t
            databases/db@2.1 applied (reconciled) also datasets/t
            --
            database renamed at hive://hive3:10000/data
            dataset t of renamed
            chart c of t
        "#]],
    );
}

#[test]
fn a_database_whose_newest_change_cannot_be_used_follows_with_the_last_good_one() {
    check(
        &format!(
            "+//endpoints/e hive1:10000
             {FOLLOWING}
             +databases/db {{
             +databases/next#5 endpoint=e
             +databases/next#5 endpoint=gone
             +//endpoints/e hive2:10000"
        ),
        &expect![[r#"
            //endpoints/e@1.0 applied
            databases/db@2.0 applied
            datasets/t@2.0 applied
            charts/c@2.0 applied
            databases/db@2.1 rejected: line 1 column 2: expected a key in double quotes
            databases/next@4.0 applied
            databases/next@4.1 held: endpoint gone, which is not there yet
            //endpoints/e@1.1 applied also databases/db databases/next datasets/t
            databases/db@2.0 applied (reconciled) also datasets/t
            databases/next@4.0 applied (reconciled)
            --
            database db at hive://hive2:10000/data
            database next at hive://hive2:10000/data
            dataset t of db
            chart c of t
        "#]],
    );
}

#[test]
fn a_database_that_no_longer_names_an_endpoint_does_not_follow_it() {
    check(
        &format!(
            "+//endpoints/e hive1:10000
             {FOLLOWING}
             +databases/db#1
             +//endpoints/e hive2:10000
             -databases/db"
        ),
        &expect![[r#"
            //endpoints/e@1.0 applied
            databases/db@2.0 applied
            datasets/t@2.0 applied
            charts/c@2.0 applied
            databases/db@2.1 applied also datasets/t
            //endpoints/e@1.1 applied
            databases/db@2.- held: those that still use it: assets/main/datasets/t
            --
            database db
            dataset t of db
            chart c of t
        "#]],
    );
}

#[test]
fn an_endpoint_that_a_resync_does_not_find_is_gone() {
    check(
        &format!(
            "+//endpoints/e hive1:10000
             {FOLLOWING}
             begin 1
             =databases/db
             =datasets/t
             =charts/c
             end 1
             +databases/db#1 name=renamed endpoint=e"
        ),
        &expect![[r#"
            //endpoints/e@1.0 applied
            databases/db@2.0 applied
            datasets/t@2.0 applied
            charts/c@2.0 applied
            databases/db@2.0 skipped
            datasets/t@2.0 skipped
            charts/c@2.0 skipped
            //endpoints/e@1.- deleted
            databases/db@2.1 held: endpoint e, which is not there yet
            --
            database db at hive://hive1:10000/data
            dataset t of db
            chart c of t
        "#]],
    );
}

#[test]
fn of_several_moves_in_one_batch_only_the_last_is_written() {
    let mut world = World::new(Policy::default());
    let records = Notation::default().read(&format!(
        "+//endpoints/e hive1:10000
         {FOLLOWING}
         +//endpoints/e hive2:10000
         +//endpoints/e hive3:10000"
    ));
    let mut lines: Vec<String> = world.records(records).iter().map(notation::outcome).collect();
    lines.extend(world.show());
    expect![[r#"
        //endpoints/e@1.0 superseded
        databases/db@2.0 applied
        datasets/t@2.0 applied
        charts/c@2.0 applied
        //endpoints/e@1.1 superseded also databases/db datasets/t
        databases/db@2.0 superseded (reconciled) also datasets/t
        //endpoints/e@1.2 applied also databases/db datasets/t
        databases/db@2.0 applied (reconciled) also datasets/t
        database db at hive://hive3:10000/data
        dataset t of db
        chart c of t
    "#]]
    .assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn settings_are_stored_and_bad_ones_rejected_with_reason_and_place() {
    check(
        r#"+//settings/config/ROW_LIMIT 100
           +//settings/config/ROW_LIMIT  100
           +//settings/config/ROW_LIMIT {"a":1,"a":2}
           +//settings/config/SMTP_PASSWORD "hunter2"
           +//settings/config/CACHE {"redis":"redis://u:hunter2@h/0"}
           +//settings/feature_flags/ALERT_REPORTS true
           +//settings/feature_flags/ALERT_REPORTS "false"
           +//settings/scale/superset {"v":1,"count":-1}
           +//settings/endpoints/hive {"v":1,"registry":"hiveserver2","path":"/hiveserver2","choose":"best"}
           +//settings/flags/X true
           -//settings/feature_flags/ALERT_REPORTS"#,
        &expect![[r#"
            //settings/config/ROW_LIMIT@1.0 applied
            //settings/config/ROW_LIMIT@1.1 applied
            //settings/config/ROW_LIMIT@1.2 rejected: line 1 column 8: `a`: the key stands twice in one object; remove one of them; expected an integer that is not negative, found an object [a]
            //settings/config/SMTP_PASSWORD@4.0 rejected: named like a secret; rotate it, keep it in superset_config.py, and delete the znode
            //settings/config/CACHE@5.0 rejected: `redis`: may hold a clear secret; rotate it, and keep it in superset_config.py [redis]
            //settings/feature_flags/ALERT_REPORTS@6.0 applied
            //settings/feature_flags/ALERT_REPORTS@6.1 rejected: expected true or false, found a string
            //settings/scale/superset@8.0 rejected: `count`: not a number of nodes; write an integer from 0 to 10000 [count]
            //settings/endpoints/hive@9.0 rejected: `choose`: no way to choose; write one of `first`, `sticky`, `random`, `all` [choose]
            //settings/flags/X@10.0 rejected: `flags` is no group of settings that this setkeeper knows; it knows feature_flags, config, scale, endpoints
            //settings/feature_flags/ALERT_REPORTS@6.- deleted
            --
        "#]],
    );
}

#[tokio::test]
async fn a_database_follows_its_endpoint_across_restarts_on_both_databases() {
    road::check(
        &format!(
            "+//settings/endpoints/e {{\"v\":1,\"registry\":\"hostport\",\"path\":\"/e\"}}
            {FOLLOWING}---
            +//endpoints/e hive1:10000
            ---
            +//endpoints/e hive2:10000,hive3:10000
            ---
            +//endpoints/e {{
            +databases/db#1 name=renamed endpoint=e
            ---
            -//endpoints/e
            ---
            +databases/db#1 name=again endpoint=e
            ---
            +//endpoints/e hive4:10000"
        ),
        &expect![[r#"
            //settings/endpoints/e@1.0 applied
            charts/c@2.0 held: dataset #02, which is not there yet
            databases/db@2.0 held: endpoint e, which is not there yet
            datasets/t@2.0 held: database #01, which is not there yet
            //endpoints/e@3.0 applied
            databases/db@2.0 applied (reconciled)
            datasets/t@2.0 applied (reconciled)
            charts/c@2.0 applied (reconciled)
            //endpoints/e@3.1 applied also databases/db datasets/t
            databases/db@2.0 applied (reconciled) also datasets/t
            //endpoints/e@3.2 rejected: line 1 column 2: expected a key in double quotes
            databases/db@2.1 applied also charts/c datasets/t
            //endpoints/e@3.- deleted
            databases/db@2.2 held: endpoint e, which is not there yet
            //endpoints/e@9.0 applied
            databases/db@2.2 applied (reconciled) also charts/c datasets/t
            --
            database again  at hive://hive4:10000/data
            dataset t of again
            chart c of t perm
        "#]],
    )
    .await;
}

#[tokio::test]
async fn the_ledger_knows_who_names_an_endpoint() {
    for on in [On::Sqlite, On::Postgres] {
        let mut road = Road::new(on).await;
        road.append(&format!(
            "{BASE}+//endpoints/e hive1:10000\n+databases/h#9 endpoint=e\n+databases/i#8 endpoint=f"
        ))
        .await;
        road.run().await;
        let edges = "SELECT path, part, strength, kind, target FROM setkeeper_reference WHERE kind = 'endpoint' ORDER BY path";
        assert_eq!(
            road.lines(edges).await,
            [
                "assets/main/databases/h applied hard endpoint e",
                "assets/main/databases/i pending hard endpoint f"
            ]
        );
        let chosen = "SELECT applied_document FROM setkeeper_asset WHERE path = 'endpoints/e'";
        assert_eq!(road.lines(chosen).await, [r#"{"v":1,"endpoint":"e","chosen":["hive1:10000"]}"#]);
    }
}

#[tokio::test]
async fn a_database_whose_password_cannot_be_read_follows_once_it_can() {
    for on in [On::Sqlite, On::Postgres] {
        let mut road = Road::new(on).await;
        let secrets = road.folder.path().join("secrets");
        std::fs::create_dir(&secrets).expect("a folder");
        let file = secrets.join("pw");
        std::fs::write(&file, "hunter2").expect("a secret");
        road.config.target.secrets.folders = vec![secrets];
        let database = format!("+databases/db#1 endpoint=e secret=file:{}", file.display());
        road.append(&format!("+//endpoints/e hive1:10000\n{database}")).await;
        road.run().await;
        std::fs::remove_file(&file).expect("the secret is taken away");
        road.append("+//endpoints/e hive2:10000").await;
        road.run().await;
        let told = road.told().await;
        assert!(told.len() == 4 && told[3].contains("databases/db@2.0 held: secret file:"), "{told:?}");
        assert_eq!(road.lines("SELECT sqlalchemy_uri FROM dbs").await, ["hive://hive1:10000/data"]);
        std::fs::write(&file, "hunter2").expect("a secret");
        let mut applier = road.applier().await;
        applier.reconcile(crate::work::Selection::Secrets).await.expect("looked again");
        assert_eq!(road.told().await, ["databases/db@2.0 applied (reconciled)"]);
        assert_eq!(road.lines("SELECT sqlalchemy_uri FROM dbs").await, ["hive://hive2:10000/data"]);
    }
}

#[tokio::test]
async fn a_database_whose_uri_becomes_too_long_stays_where_it_is_and_says_so() {
    let mut road = Road::new(On::Postgres).await;
    let hosts: Vec<String> = (1..=60).map(|n| format!("{}{n}:10000", "h".repeat(20))).collect();
    road.append(
        "+//endpoints/e hive1:10000
         +databases/db#1 endpoint=e",
    )
    .await;
    road.run().await;
    road.append(&format!("+//endpoints/e {}\n+databases/other#5", hosts.join(","))).await;
    road.run().await;
    expect![[r#"
        //endpoints/e@1.0 applied
        databases/db@2.0 applied
        //endpoints/e@1.1 applied
        databases/db@2.0 rejected: the database refuses it: value too long for type character varying(1024) (22001) (reconciled)
        databases/other@4.0 applied"#]].assert_eq(&road.told().await.join("\n"));
    assert_eq!(
        road.lines("SELECT sqlalchemy_uri FROM dbs ORDER BY id").await,
        ["hive://hive1:10000/data", "postgresql://user@host/data"]
    );
    road.append("+//endpoints/e hive2:10000").await;
    road.run().await;
    expect![[r#"
        //endpoints/e@1.2 applied also databases/db
        databases/db@2.0 applied (reconciled)"#]]
    .assert_eq(&road.told().await.join("\n"));
    let pending = "SELECT path FROM setkeeper_asset WHERE pending_change IS NOT NULL";
    assert!(road.lines(pending).await.is_empty());
    // Together in one record, the database alone stays behind: others can follow the endpoint.
    road.append(&format!("+databases/db#1 endpoint=e name=two ; +//endpoints/e {}", hosts.join(","))).await;
    road.run().await;
    expect![[r#"
        //endpoints/e@1.3 applied
        databases/db@2.1 rejected: the database refuses it: value too long for type character varying(1024) (22001)"#]].assert_eq(&road.told().await.join("\n"));
    road.append("+//endpoints/e hive2:10000").await;
    road.run().await;
    road.told().await;
    road.applier().await.reconcile(crate::work::Selection::Pending).await.expect("looked again");
    assert_eq!(road.told().await, ["databases/db@2.1 applied (reconciled)"]);
}
