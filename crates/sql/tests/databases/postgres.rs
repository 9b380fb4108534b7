//! What is PostgreSQL's own: typed columns, sequences, session bounds, lost connections.

use std::time::Duration;

use sql::{
    Class, CommitError, Config, ConnectError, Database, IdSource, Isolation, Mode, Row, Value, Values,
};
use testbed::Postgres;

use crate::place;

fn none() -> Values {
    Values(Vec::new())
}

fn text(value: &str) -> Value {
    Value::String(Some(value.to_owned()))
}

async fn connect(server: &Postgres, config: Config) -> Database {
    Database::connect(&server.url("own"), config).await.expect("a connection")
}

async fn fetch(database: &Database, sql: &str) -> Vec<Row> {
    let mut tx = database.begin(Mode::Write).await.expect("a transaction");
    let rows = tx.fetch(sql, none()).await.expect("rows");
    tx.commit().await.expect("a commit");
    rows
}

async fn script(database: &Database, sql: &str) {
    let mut tx = database.begin(Mode::Write).await.expect("a transaction");
    tx.execute_script(sql).await.expect("the script");
    tx.commit().await.expect("a commit");
}

/// One server for all, since each start takes seconds; the cases do not share tables.
#[tokio::test]
async fn it_holds_on_postgresql() {
    let server = place::server().await;
    server.create_database("own").await.expect("a database");
    let database = connect(server, Config::default()).await;
    values_come_by_the_type_of_their_column(&database).await;
    typed_values_are_bound_and_come_back(&database).await;
    sequences_give_ids(&database).await;
    a_schema_can_be_named(server, &database).await;
    a_refused_value_is_not_shown(&database).await;
    an_update_of_a_changed_row_is_a_conflict(server).await;
    a_reader_sees_one_snapshot(&database).await;
    a_slow_statement_is_ended(server).await;
    a_stopped_client_is_cut_off(server, &database).await;
    a_lost_connection_leaves_the_commit_unknown(&database).await;
    an_altered_table_is_a_conflict_once(&database).await;
    what_cannot_be_reached_says_so(server).await;
    nothing_shows_the_password(server).await;
}

async fn values_come_by_the_type_of_their_column(database: &Database) {
    let rows = fetch(
        database,
        r#"SELECT true, 1::int2, 2::int4, 3::int8, 1.5::float4, 2.5::float8, -12345.678900::numeric, 1e9::numeric,
           'a'::text, 'b'::varchar(9), 'c'::char(3), 'd'::name, '\x00ff'::bytea, '{"b": 1, "a": [2]}'::json,
           '{"b": 1}'::jsonb, NULL::text, NULL::int4, NULL::jsonb, NULL::uuid"#,
    )
    .await;
    let expected = vec![
        Value::Bool(Some(true)),
        Value::SmallInt(Some(1)),
        Value::Int(Some(2)),
        Value::BigInt(Some(3)),
        Value::Float(Some(1.5)),
        Value::Double(Some(2.5)),
        text("-12345.678900"),
        text("1000000000"),
        text("a"),
        text("b"),
        text("c  "),
        text("d"),
        Value::Bytes(Some(vec![0, 255])),
        text("{\"b\": 1, \"a\": [2]}"),
        text("{\"b\": 1}"),
        Value::String(None),
        Value::Int(None),
        Value::String(None),
        Value::Uuid(None),
    ];
    assert_eq!(rows, [expected]);
    let mut tx = database.begin(Mode::Read).await.unwrap();
    let error = tx.fetch("SELECT '1 day'::interval AS span", none()).await.unwrap_err();
    assert_eq!(error.message, "column `span`: type `INTERVAL` is not supported; cast it in the query");
}

async fn typed_values_are_bound_and_come_back(database: &Database) {
    let at = time::PrimitiveDateTime::new(
        time::Date::from_calendar_date(2026, time::Month::November, 24).unwrap(),
        time::Time::from_hms_micro(3, 4, 5, 678_901).unwrap(),
    );
    let row = vec![
        Value::Uuid(Some(uuid::Uuid::from_u128(7))),
        Value::TimeDateTime(Some(at)),
        Value::TimeDateTimeWithTimeZone(Some(at.assume_utc())),
        Value::TimeDate(Some(at.date())),
        Value::TimeTime(Some(at.time())),
        Value::Bytes(Some(b"gAAA".to_vec())),
        Value::Bool(None),
    ];
    script(
        database,
        "CREATE TABLE typed(a uuid, b timestamp, c timestamptz, d date, e time, f bytea, g boolean, h jsonb, i json)",
    )
    .await;
    let mut tx = database.begin(Mode::Write).await.unwrap();
    let mut values = row.clone();
    values.extend([text("{\"b\": 1}"), text("{\"b\": 1, \"a\": 2}")]);
    let sql = "INSERT INTO typed VALUES ($1, $2, $3, $4, $5, $6, $7, CAST($8 AS jsonb), CAST($9 AS json))";
    tx.execute(sql, Values(values)).await.unwrap();
    let rows = tx.fetch("SELECT * FROM typed", none()).await.unwrap();
    assert_eq!(rows[0][..7], row[..]);
    assert_eq!(rows[0][7..], [text("{\"b\": 1}"), text("{\"b\": 1, \"a\": 2}")]);
}

async fn sequences_give_ids(database: &Database) {
    script(
        database,
        "CREATE TABLE serial_one(id serial PRIMARY KEY);
         CREATE TABLE bare(id integer PRIMARY KEY); CREATE SEQUENCE bare_id_seq;
         INSERT INTO serial_one DEFAULT VALUES",
    )
    .await;
    let mut tx = database.begin(Mode::Write).await.unwrap();
    let named = IdSource::Sequence("bare_id_seq".to_owned());
    assert_eq!(tx.reserve_ids("serial_one", "id", 3, &IdSource::SerialColumn).await, Ok(vec![2, 3, 4]));
    assert_eq!(tx.reserve_ids("bare", "id", 2, &named).await, Ok(vec![1, 2]));
    tx.rollback().await;
    let mut tx = database.begin(Mode::Write).await.unwrap();
    assert_eq!(tx.reserve_ids("public.serial_one", "id", 1, &IdSource::SerialColumn).await, Ok(vec![5]));
    let error = tx.reserve_ids("bare", "id", 1, &IdSource::SerialColumn).await.unwrap_err();
    assert_eq!((error.class(), error.message.as_str()), (Class::Schema, "`bare.id` owns no sequence"));
}

async fn a_schema_can_be_named(server: &Postgres, database: &Database) {
    script(database, "CREATE SCHEMA ours; CREATE TABLE ours.ledger(id integer)").await;
    let mut tx = database.begin(Mode::Read).await.unwrap();
    assert_eq!(tx.tables(Some("ours")).await.unwrap(), ["ledger"]);
    assert!(!tx.tables(None).await.unwrap().contains(&"ledger".to_owned()));
    let config = Config { search_path: Some("ours".to_owned()), ..Config::default() };
    let inside = connect(server, config).await;
    let mut tx = inside.begin(Mode::Read).await.unwrap();
    assert_eq!(tx.tables(None).await.unwrap(), ["ledger"]);
    assert_eq!(tx.fetch("SELECT id FROM ledger", none()).await, Ok(vec![]));
}

async fn a_refused_value_is_not_shown(database: &Database) {
    for (sql, value) in [
        ("SELECT CAST($1 AS integer)", "s3cret"),
        ("SELECT CAST($1 AS jsonb)", "s3cret"),
        ("SELECT CAST($1 AS uuid)", "s3cret"),
        ("SELECT $1", "s3cret\0"),
    ] {
        let mut tx = database.begin(Mode::Read).await.unwrap();
        let error = tx.fetch(sql, Values(vec![text(value)])).await.unwrap_err();
        assert_eq!(error.class(), Class::Refused, "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
}

async fn an_update_of_a_changed_row_is_a_conflict(server: &Postgres) {
    let config = Config { isolation: Isolation::RepeatableRead, ..Config::default() };
    let database = connect(server, config).await;
    script(&database, "CREATE TABLE one(a integer); INSERT INTO one VALUES (0)").await;
    let mut late = database.begin(Mode::Write).await.unwrap();
    late.fetch("SELECT a FROM one", none()).await.unwrap();
    script(&database, "UPDATE one SET a = 1").await;
    let error = late.execute("UPDATE one SET a = 2", none()).await.unwrap_err();
    assert_eq!((error.class(), error.code.as_deref()), (Class::Conflict, Some("40001")));
}

async fn a_reader_sees_one_snapshot(database: &Database) {
    script(database, "CREATE TABLE seen(a integer)").await;
    let mut reader = database.begin(Mode::Read).await.unwrap();
    let count = "SELECT count(*) FROM seen";
    let before = reader.fetch(count, none()).await.unwrap();
    script(database, "INSERT INTO seen VALUES (1)").await;
    assert_eq!(reader.fetch(count, none()).await.unwrap(), before);
}

async fn a_slow_statement_is_ended(server: &Postgres) {
    let database =
        connect(server, Config { statement_timeout: Duration::from_millis(50), ..Config::default() }).await;
    let mut tx = database.begin(Mode::Write).await.unwrap();
    let error = tx.fetch("SELECT pg_sleep(20)", none()).await.unwrap_err();
    assert_eq!(error.class(), Class::Slow, "{error}");
}

/// Waits until the other session has gone.
async fn gone(database: &Database, process: &Value) {
    let alive = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {}", pid(process));
    let waited = async { while fetch(database, &alive).await != [vec![Value::BigInt(Some(0))]] {} };
    tokio::time::timeout(Duration::from_secs(10), waited).await.expect("the session ends");
}

fn pid(process: &Value) -> i32 {
    match process {
        Value::Int(Some(pid)) => *pid,
        other => panic!("{other:?}"),
    }
}

async fn a_stopped_client_is_cut_off(server: &Postgres, database: &Database) {
    let idle_in_transaction_timeout = Duration::from_millis(50);
    let stopped = connect(server, Config { idle_in_transaction_timeout, ..Config::default() }).await;
    script(database, "CREATE TABLE held(a integer); INSERT INTO held VALUES (0)").await;
    let mut tx = stopped.begin(Mode::Write).await.unwrap();
    tx.execute("UPDATE held SET a = 1", none()).await.unwrap();
    let process = tx.fetch("SELECT pg_backend_pid()", none()).await.unwrap()[0][0].clone();
    script(database, "UPDATE held SET a = 2").await;
    gone(database, &process).await;
    let error = tx.commit().await.unwrap_err();
    assert_eq!(error.class(), Class::Unreachable, "{error}");
    assert_eq!(fetch(database, "SELECT a FROM held").await, [vec![Value::Int(Some(2))]]);
}

async fn a_lost_connection_leaves_the_commit_unknown(database: &Database) {
    script(database, "CREATE TABLE cut(a integer)").await;
    let mut tx = database.begin(Mode::Write).await.unwrap();
    tx.execute("INSERT INTO cut VALUES (1)", none()).await.unwrap();
    let process = tx.fetch("SELECT pg_backend_pid()", none()).await.unwrap()[0][0].clone();
    fetch(database, &format!("SELECT pg_terminate_backend({})", pid(&process))).await;
    gone(database, &process).await;
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, CommitError::Unknown(_)), "{error}");
    assert_eq!(fetch(database, "SELECT a FROM cut").await, Vec::<Row>::new(), "and the pool goes on");
}

/// A session keeps its plans; a table that Superset's upgrade has altered needs new ones.
async fn an_altered_table_is_a_conflict_once(database: &Database) {
    script(database, "CREATE TABLE altered(a integer)").await;
    let sql = "SELECT * FROM altered";
    let mut used = Vec::new();
    for _ in 0..4 {
        let mut tx = database.begin(Mode::Read).await.unwrap();
        tx.fetch(sql, none()).await.unwrap();
        used.push(tx);
    }
    for tx in used {
        tx.rollback().await;
    }
    script(database, "ALTER TABLE altered ADD COLUMN b integer").await;
    for _ in 0..4 {
        let mut tx = database.begin(Mode::Read).await.unwrap();
        match tx.fetch(sql, none()).await {
            Ok(_) => tx.rollback().await,
            Err(error) => assert_eq!(error.class(), Class::Conflict, "{error}"),
        }
    }
    assert_eq!(fetch(database, sql).await, Vec::<Row>::new());
}

async fn what_cannot_be_reached_says_so(server: &Postgres) {
    let fails = async |url: &str| match Database::connect(url, Config::default()).await {
        Err(ConnectError::Failed(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(fails(&server.url("nowhere")).await.class(), Class::Schema, "no such database");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let error = fails(&format!("postgresql://ann:s3cret@127.0.0.1:{port}/d")).await;
    assert_eq!(error.class(), Class::Unreachable, "{error}");
    assert!(
        error.to_string().starts_with(&format!("connect in postgresql `127.0.0.1:{port}/d`: ")),
        "{error}"
    );
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

async fn nothing_shows_the_password(server: &Postgres) {
    let url = server.url("own").replace("postgres@", "postgres:s3cret@");
    assert!(url.contains("s3cret"));
    let database = Database::connect(&url, Config::default()).await.unwrap();
    let mut tx = database.begin(Mode::Write).await.unwrap();
    let error = tx.execute("SELEKT", none()).await.unwrap_err();
    assert!(!format!("{database:?} {tx:?} {error:?} {error}").contains("s3cret"));
}
