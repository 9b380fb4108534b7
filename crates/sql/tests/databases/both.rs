//! What holds on SQLite and on PostgreSQL alike. Each case gets a database of its own.

use std::time::Duration;

use sql::{Class, CommitError, Config, Database, Dialect, IdSource, Isolation, Mode, Row, Value, Values};

use crate::place::{self, Place};

/// Every case is a test of its own on SQLite; on PostgreSQL they share one server.
macro_rules! cases {
    ($($name:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test] async fn $name() { super::$name(super::Place::sqlite()).await; })*
        }

        #[tokio::test]
        async fn every_case_holds_on_postgresql() {
            let server = place::server().await;
            $(eprintln!("{}", stringify!($name)); $name(Place::postgres(server, stringify!($name)).await).await;)*
        }
    };
}

cases! {
    what_was_committed_is_there
    what_was_rolled_back_or_dropped_is_not
    a_cancelled_statement_ends_the_transaction
    after_a_failed_statement_nothing_can_be_committed
    a_violated_constraint_is_named
    a_statement_that_does_not_fit_the_schema_says_so
    an_integer_beyond_63_bits_is_refused
    a_fetch_is_bounded
    a_reader_cannot_write
    reserved_ids_follow_those_in_use_and_are_never_given_twice
    the_schema_is_discovered
    a_second_writer_is_a_conflict
    a_fence_row_orders_the_writers
    migrations_run_once
    text_comes_back_whole
    a_transaction_may_move_between_threads
}

fn text(value: &str) -> Value {
    Value::String(Some(value.to_owned()))
}

fn int(value: i64) -> Value {
    Value::BigInt(Some(value))
}

fn none() -> Values {
    Values(Vec::new())
}

const TABLES: &str = "
CREATE TABLE owner(id INTEGER PRIMARY KEY, name VARCHAR(20) NOT NULL, CONSTRAINT owner_name UNIQUE (name));
CREATE VIEW seen AS SELECT name FROM owner;
CREATE TABLE thing(
    id INTEGER PRIMARY KEY,
    owner_id INTEGER NOT NULL REFERENCES owner(id),
    size BIGINT DEFAULT 1,
    CONSTRAINT thing_size CHECK (size > 0)
);
";

async fn ready(place: &Place) -> Database {
    ready_with(place, Config::default()).await
}

async fn ready_with(place: &Place, config: Config) -> Database {
    let database = place.connect(config).await;
    let mut tx = database.begin(Mode::Write).await.expect("a transaction");
    tx.execute_script(TABLES).await.expect("the tables");
    tx.execute("INSERT INTO owner(id, name) VALUES ($1, $2)", Values(vec![int(1), text("ann")]))
        .await
        .expect("a row");
    tx.commit().await.expect("a commit");
    database
}

async fn names(database: &Database) -> String {
    let mut tx = database.begin(Mode::Read).await.expect("a transaction");
    let rows = tx.fetch("SELECT name FROM owner ORDER BY name", none()).await.expect("rows");
    tx.rollback().await;
    let name = |row: &Row| match &row[..] {
        [Value::String(Some(name))] => name.clone(),
        other => panic!("{other:?}"),
    };
    rows.iter().map(name).collect::<Vec<_>>().join(" ")
}

const ADD: &str = "INSERT INTO owner(id, name) VALUES ($1, $2)";

async fn what_was_committed_is_there(place: Place) {
    let database = ready(&place).await;
    let mut tx = database.begin(Mode::Write).await.unwrap();
    assert_eq!(tx.execute(ADD, Values(vec![int(2), text("bob")])).await, Ok(1));
    assert_eq!(tx.execute("UPDATE owner SET name = name", none()).await, Ok(2));
    assert_eq!(tx.execute("UPDATE owner SET name = name WHERE id = 9", none()).await, Ok(0));
    tx.commit().await.unwrap();
    assert_eq!(names(&database).await, "ann bob");
}

async fn what_was_rolled_back_or_dropped_is_not(place: Place) {
    let database = ready(&place).await;
    for dropped in [false, true, false] {
        let mut tx = database.begin(Mode::Write).await.unwrap();
        tx.execute(ADD, Values(vec![int(2), text("bob")])).await.unwrap();
        if dropped {
            drop(tx);
        } else {
            tx.rollback().await;
        }
        assert_eq!(names(&database).await, "ann");
    }
}

async fn a_cancelled_statement_ends_the_transaction(place: Place) {
    let database = ready(&place).await;
    let mut tx = database.begin(Mode::Write).await.unwrap();
    tx.execute(ADD, Values(vec![int(2), text("bob")])).await.unwrap();
    let long = match place.dialect() {
        Dialect::Postgres => "SELECT pg_sleep(20)",
        Dialect::Sqlite => {
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000000) SELECT count(*) FROM n"
        }
    };
    assert!(tokio::time::timeout(Duration::from_millis(20), tx.fetch(long, none())).await.is_err());
    let refused = tx.execute(ADD, Values(vec![int(3), text("cid")])).await.unwrap_err();
    assert_eq!(refused.class(), Class::Other);
    let refused = tx.commit().await;
    assert!(matches!(refused, Err(CommitError::NotCommitted(_))), "{refused:?}");
    assert_eq!(names(&database).await, "ann");
    let mut tx = database.begin(Mode::Write).await.unwrap();
    tx.execute(ADD, Values(vec![int(2), text("bob")])).await.expect("the first is out of the way");
    tx.commit().await.unwrap();
}

async fn after_a_failed_statement_nothing_can_be_committed(place: Place) {
    let database = ready(&place).await;
    let mut tx = database.begin(Mode::Write).await.unwrap();
    tx.execute(ADD, Values(vec![int(2), text("bob")])).await.unwrap();
    tx.execute(ADD, Values(vec![int(3), text("ann")])).await.unwrap_err();
    let refused = tx.commit().await;
    assert!(matches!(refused, Err(CommitError::NotCommitted(_))), "{refused:?}");
    assert_eq!(names(&database).await, "ann");
}

async fn a_violated_constraint_is_named(place: Place) {
    let database = ready(&place).await;
    let on_sqlite = place.dialect() == Dialect::Sqlite;
    for (sql, sqlite, postgres) in [
        ("INSERT INTO owner(id, name) VALUES (2, 'ann')", "- owner name", "owner_name owner -"),
        ("INSERT INTO owner(id, name) VALUES (1, 'bob')", "- owner id", "owner_pkey owner -"),
        ("INSERT INTO owner(id, name) VALUES (2, NULL)", "- owner name", "- owner name"),
        ("INSERT INTO thing(id, owner_id) VALUES (1, 9)", "- - -", "thing_owner_id_fkey thing -"),
        ("INSERT INTO thing(id, owner_id, size) VALUES (1, 1, 0)", "thing_size - -", "thing_size thing -"),
    ] {
        let mut tx = database.begin(Mode::Write).await.unwrap();
        let error = tx.execute(sql, none()).await.unwrap_err();
        tx.rollback().await;
        assert_eq!(error.class(), Class::Refused, "{error}");
        let violated = error.violated.unwrap_or_default();
        let place =
            [violated.constraint, violated.table, violated.column].map(|name| name.unwrap_or("-".to_owned()));
        assert_eq!(place.join(" "), if on_sqlite { sqlite } else { postgres }, "{sql}");
    }
}

async fn a_statement_that_does_not_fit_the_schema_says_so(place: Place) {
    let database = ready(&place).await;
    for sql in ["SELECT 1 FROM nowhere", "SELECT nothing FROM owner", "SELEKT"] {
        let mut tx = database.begin(Mode::Read).await.unwrap();
        let error = tx.fetch(sql, none()).await.unwrap_err();
        assert_eq!(error.class(), Class::Schema, "{error}");
        assert!(error.to_string().contains(database.label()), "{error}");
    }
    assert_eq!(names(&database).await, "ann");
}

async fn an_integer_beyond_63_bits_is_refused(place: Place) {
    let database = ready(&place).await;
    let mut tx = database.begin(Mode::Write).await.unwrap();
    let values = Values(vec![Value::BigUnsigned(Some(u64::MAX)), text("bob")]);
    assert_eq!(tx.execute(ADD, values).await.unwrap_err().class(), Class::Refused);
}

async fn a_fetch_is_bounded(place: Place) {
    let database = ready_with(&place, Config { max_rows: 1, ..Config::default() }).await;
    let mut tx = database.begin(Mode::Write).await.unwrap();
    assert_eq!(tx.fetch("SELECT name FROM owner", none()).await.unwrap(), [vec![text("ann")]]);
    tx.execute(ADD, Values(vec![int(2), text("bob")])).await.unwrap();
    let error = tx.fetch("SELECT name FROM owner", none()).await.unwrap_err();
    assert!(error.message.ends_with("more than 1 rows came back"), "{error}");
}

async fn a_reader_cannot_write(place: Place) {
    let database = ready(&place).await;
    let mut tx = database.begin(Mode::Read).await.unwrap();
    let error = tx.execute(ADD, Values(vec![int(2), text("bob")])).await.unwrap_err();
    assert_eq!(error.class(), Class::ReadOnly, "{error}");
    drop(tx);
    let mut tx = database.begin(Mode::Write).await.unwrap();
    tx.execute(ADD, Values(vec![int(2), text("bob")])).await.expect("the next one can");
    tx.rollback().await;
}

async fn reserved_ids_follow_those_in_use_and_are_never_given_twice(place: Place) {
    let database = ready(&place).await;
    let mut tx = database.begin(Mode::Write).await.unwrap();
    let source = IdSource::MaxPlusOne;
    assert_eq!(tx.reserve_ids("owner", "id", 2, &source).await, Ok(vec![2, 3]));
    assert_eq!(tx.reserve_ids("owner", "id", 0, &source).await, Ok(vec![]));
    assert_eq!(tx.reserve_ids("owner", "id", 1, &source).await, Ok(vec![4]));
    tx.execute(ADD, Values(vec![int(9), text("bob")])).await.unwrap();
    assert_eq!(tx.reserve_ids("owner", "id", 1, &source).await, Ok(vec![10]));
    assert_eq!(tx.reserve_ids("thing", "id", 1, &source).await, Ok(vec![1]), "an empty table");
    assert!(tx.reserve_ids("nowhere", "id", 1, &source).await.is_err());
    let mut tx = database.begin(Mode::Read).await.unwrap();
    assert!(tx.reserve_ids("owner", "id", 1, &source).await.is_err(), "nothing would keep them ours");
}

async fn the_schema_is_discovered(place: Place) {
    let database = ready(&place).await;
    let mut tx = database.begin(Mode::Read).await.unwrap();
    assert_eq!(tx.tables(None).await.unwrap(), ["owner", "thing"]);
    let columns = tx.columns(None).await.unwrap();
    let shown = |table: &str| -> String {
        let column = |(name, info): (&String, &sql::ColumnInfo)| {
            let null = if info.nullable { "" } else { " not null" };
            let default = if info.has_default { " default" } else { "" };
            format!("{name} {}{null}{default}", info.type_name)
        };
        columns[table].iter().map(column).collect::<Vec<_>>().join(", ")
    };
    let (id, name) = match place.dialect() {
        Dialect::Sqlite => ("id integer not null default", "name varchar not null"),
        Dialect::Postgres => ("id integer not null", "name character varying not null"),
    };
    assert_eq!(shown("owner"), format!("{id}, {name}"));
    assert_eq!(shown("thing"), format!("{id}, owner_id integer not null, size bigint default"));
}

async fn a_second_writer_is_a_conflict(place: Place) {
    let soon = Duration::from_millis(50);
    let config = Config { busy_timeout: soon, lock_timeout: soon, ..Config::default() };
    let database = ready_with(&place, config).await;
    let mut first = database.begin(Mode::Write).await.unwrap();
    first.execute("UPDATE owner SET name = 'bea'", none()).await.unwrap();
    let second = async {
        let mut tx = database.begin(Mode::Write).await?;
        tx.execute("UPDATE owner SET name = 'cid'", none()).await
    };
    let error = second.await.unwrap_err();
    assert_eq!(error.class(), Class::Conflict, "{error}");
    first.commit().await.unwrap();
    assert_eq!(names(&database).await, "bea");
}

async fn a_fence_row_orders_the_writers(place: Place) {
    let database = ready(&place).await;
    let mut tx = database.begin(Mode::Write).await.unwrap();
    tx.execute_script("CREATE TABLE fence(token BIGINT NOT NULL); INSERT INTO fence VALUES (0)")
        .await
        .unwrap();
    tx.commit().await.unwrap();
    for (token, taken) in [(7, 1), (8, 1), (7, 0), (8, 1)] {
        let mut tx = database.begin(Mode::Write).await.unwrap();
        let raise = "UPDATE fence SET token = $1 WHERE token <= $1";
        assert_eq!(tx.execute(raise, Values(vec![int(token)])).await, Ok(taken), "{token}");
        tx.commit().await.unwrap();
    }
}

async fn migrations_run_once(place: Place) {
    let database = place.connect(Config { isolation: Isolation::Serializable, ..Config::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("1_owner.sql"), "CREATE TABLE owner(name TEXT NOT NULL)").unwrap();
    let migrator = place::migrator(folder.path()).await;
    database.migrate(&migrator).await.unwrap();
    database.migrate(&migrator).await.unwrap();
    assert_eq!(names(&database).await, "");
    std::fs::write(folder.path().join("2_more.sql"), "ALTER TABLE owner ADD COLUMN age INTEGER").unwrap();
    database.migrate(&place::migrator(folder.path()).await).await.unwrap();
    std::fs::write(folder.path().join("3_broken.sql"), "CREATE TABLE owner(name TEXT)").unwrap();
    let error = database.migrate(&place::migrator(folder.path()).await).await.unwrap_err();
    assert_eq!(error.to_string(), format!("bring the schema of {} up to date", database.label()));
}

async fn text_comes_back_whole(place: Place) {
    let database = ready(&place).await;
    let mut tx = database.begin(Mode::Write).await.unwrap();
    let hard = "é\n'\"\\ $1 ? %s 🦀";
    tx.execute("INSERT INTO owner(id, name) VALUES ($1, $2)", Values(vec![int(2), text(hard)]))
        .await
        .unwrap();
    let rows = tx.fetch("SELECT name FROM owner WHERE name = $1", Values(vec![text(hard)])).await.unwrap();
    assert_eq!(rows, [vec![text(hard)]]);
    tx.rollback().await;
}

async fn a_transaction_may_move_between_threads(place: Place) {
    let database = ready(&place).await;
    let work = tokio::spawn(async move {
        let mut tx = database.begin(Mode::Write).await.unwrap();
        tx.columns(None).await.unwrap();
        tx.reserve_ids("owner", "id", 1, &IdSource::MaxPlusOne).await.unwrap();
        tx.execute_script("DELETE FROM owner").await.unwrap();
        tx.commit().await.unwrap();
    });
    work.await.unwrap();
}
