//! Each server starts, answers, is killed, and comes back on the same port with the same data.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use testbed::balancer::{self, Program};
use testbed::superset::{ADMIN, ADMIN_PASSWORD, Metadata, Token};
use testbed::{
    Balancer, Error, Mariadb, Postgres, Superset, Zookeeper, mariadb, postgres, superset, zookeeper,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

const HOLD: &str = "TESTBED_HOLD";

fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie has ended.
    !stat.is_empty() && !stat.contains(") Z ")
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    let mut look = tokio::time::interval(Duration::from_millis(20));
    while !done().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited 30 s until {what}");
        look.tick().await;
    }
}

/// The last transaction that the server knows: `0x0` for a new ensemble.
async fn last_zxid(server: &Zookeeper) -> Result<String, Error> {
    let answer = server.four_letter("srvr").await?;
    Ok(answer.lines().find_map(|line| line.strip_prefix("Zxid: ")).unwrap_or("no zxid").to_owned())
}

/// Opens a session, the simplest of ZooKeeper's transactions.
async fn commit_something(server: &Zookeeper) -> std::io::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(server.connect()).await?;
    // Length, protocol 0, last zxid 0, timeout in ms, session 0, a password of 16 bytes.
    let mut request = vec![0, 0, 0, 44];
    request.extend([0; 12]);
    request.extend(4000_i32.to_be_bytes());
    request.extend([0; 8]);
    request.extend(16_i32.to_be_bytes());
    request.extend([0; 16]);
    stream.write_all(&request).await?;
    // The answer comes when the transaction is committed.
    stream.read_i32().await.map(drop)
}

#[tokio::test]
async fn zookeeper_is_killed_and_comes_back_on_its_port() {
    let mut server = Zookeeper::start(zookeeper::Options::default()).await.unwrap();
    let (connect, pid) = (server.connect(), server.pid().unwrap());
    assert!(server.four_letter("srvr").await.unwrap().contains("Mode: standalone"));
    commit_something(&server).await.unwrap();
    server.kill().await.unwrap();
    assert!(!runs(pid));
    assert!(server.pid().is_none());
    assert!(server.four_letter("srvr").await.is_err());
    server.restart().await.unwrap();
    assert_eq!(server.connect(), connect);
    assert_ne!(server.pid().unwrap(), pid);
    assert_ne!(last_zxid(&server).await.unwrap(), "0x0");
}

#[tokio::test]
async fn a_stopped_zookeeper_is_silent_until_it_goes_on() {
    let server = Zookeeper::start(zookeeper::Options::default()).await.unwrap();
    server.stop_process().unwrap();
    assert!(server.four_letter("srvr").await.is_err());
    server.cont().unwrap();
    until("it answers", async || server.four_letter("srvr").await.is_ok()).await;
}

#[tokio::test]
async fn zookeepers_data_is_backed_up_wiped_and_restored() {
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let mut server = Zookeeper::start(zookeeper::Options::default()).await.unwrap();
    assert!(matches!(server.wipe(), Err(Error::State { .. })));
    assert_eq!(last_zxid(&server).await.unwrap(), "0x0");
    commit_something(&server).await.unwrap();
    server.kill().await.unwrap();
    server.backup(&backup).unwrap();
    server.wipe().unwrap();
    server.restart().await.unwrap();
    assert_eq!(last_zxid(&server).await.unwrap(), "0x0");
    server.kill().await.unwrap();
    server.restore(&backup).unwrap();
    server.restart().await.unwrap();
    assert_ne!(last_zxid(&server).await.unwrap(), "0x0");
}

#[tokio::test]
async fn postgres_keeps_what_was_committed_before_it_was_killed() {
    let mut server = Postgres::start(postgres::Options::default()).await.unwrap();
    server.create_database("shop").await.unwrap();
    server
        .psql("shop", "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (2, 'y')")
        .await
        .unwrap();
    let url = server.url("shop");
    server.kill().await.unwrap();
    assert!(server.psql("shop", "SELECT 1").await.is_err());
    server.restart().await.unwrap();
    assert_eq!(server.url("shop"), url);
    assert_eq!(server.psql("shop", "SELECT * FROM t ORDER BY a").await.unwrap(), "1|x\n2|y\n");
    server.restart().await.unwrap();
    assert_eq!(server.psql("shop", "SELECT count(*) FROM t").await.unwrap(), "2\n");
    let refusal = server.psql("shop", "SELECT * FROM nothing").await.unwrap_err().to_string();
    assert!(refusal.contains("relation \"nothing\" does not exist"), "{refusal}");
}

#[tokio::test]
async fn postgres_lives_in_a_folder_that_its_own_user_cannot_reach() {
    // As root, the server runs as another user, who cannot pass through this folder.
    let folder = tempfile::tempdir().unwrap();
    let given = folder.path().join("demo/postgres");
    let options = postgres::Options { dir: Some(given.clone()), ..Default::default() };
    let server = Postgres::start(options.clone()).await.unwrap();
    server.create_database("kept").await.unwrap();
    drop(server);
    let server = Postgres::start(options).await.unwrap();
    let databases = server.psql("postgres", "SELECT datname FROM pg_database WHERE datname = 'kept'").await;
    assert_eq!(databases.unwrap(), "kept\n");
    drop(server);
    let data = given.join("data").canonicalize().unwrap();
    std::fs::remove_dir_all(data).unwrap();
}

#[tokio::test]
async fn mariadb_keeps_what_was_committed_before_it_was_killed() {
    let mut server = Mariadb::start(mariadb::Options::default()).await.unwrap();
    server.run_sql("mysql", "CREATE DATABASE shop").await.unwrap();
    let fill = "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (2, 'y')";
    server.run_sql("shop", fill).await.unwrap();
    let port = server.port();
    server.kill().await.unwrap();
    assert!(server.run_sql("shop", "SELECT 1").await.is_err());
    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    assert_eq!(server.run_sql("shop", "SELECT * FROM t ORDER BY a").await.unwrap(), "1\tx\n2\ty\n");
    let refusal = server.run_sql("shop", "SELECT * FROM nothing").await.unwrap_err().to_string();
    assert!(refusal.contains("Table 'shop.nothing' doesn't exist"), "{refusal}");
    drop(server);
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap_err();
}

async fn charts(server: &Superset, token: &Token) -> Result<(u16, i64), Error> {
    let (status, body) = server.get(token, "/api/v1/chart/").await?;
    Ok((status, body["count"].as_i64().unwrap_or(-1)))
}

/// What holds for a Superset on either metadata database.
async fn check_superset(metadata: Metadata) -> Result<(), Error> {
    let options =
        superset::Options { extra_config: "APP_NAME = \"Testbed\"".to_owned(), ..Default::default() };
    let mut server = Superset::start(metadata, options).await?;
    let admin = server.login(ADMIN, ADMIN_PASSWORD).await?;
    assert_eq!(charts(&server, &admin).await?, (200, 0));
    let wrong = server.login(ADMIN, "wrong").await.expect_err("the password is wrong");
    assert!(matches!(wrong, Error::Refused { status: 401, .. }), "{wrong}");

    let role = server.create_role(&admin, "Looks on").await?;
    let rights = "/api/v1/security/permissions-resources/?q=(page_size:1)";
    let (_, rights) = server.get(&admin, rights).await?;
    server.grant(&admin, role, &[rights["result"][0]["id"].as_i64().expect("a right has an id")]).await?;
    let gamma = server.roles(&admin).await?["Gamma"];
    server.create_user(&admin, "grace", "hopper", &[gamma, role]).await?;
    let grace = server.login("grace", "hopper").await?;
    assert_eq!(charts(&server, &grace).await?, (200, 0));

    let (status, body) = server.post(&admin, "/api/v1/css_template/", &json!({"template_name": "t"})).await?;
    assert_eq!(status, 201, "{body}");
    server.restart().await?;
    let (status, zip) = server.get_bytes(&admin, "/api/v1/assets/export/").await?;
    assert_eq!((status, &zip[..2]), (200, b"PK".as_slice()));
    let (status, body) = server.post_zip(&admin, "/api/v1/assets/import/", "bundle", zip).await?;
    assert_eq!(status, 200, "{body}");
    Ok(())
}

#[tokio::test]
async fn superset_serves_its_api_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = folder.path().join("metadata.db");
    superset::sqlite_template(&metadata).unwrap();
    check_superset(Metadata::Sqlite(metadata)).await.unwrap();
}

#[tokio::test]
async fn superset_serves_its_api_on_postgres() {
    let server = Postgres::start(postgres::Options::default()).await.unwrap();
    for name in ["a", "b"] {
        server.restore_template(name).await.unwrap();
        assert_eq!(server.psql(name, "SELECT username FROM ab_user").await.unwrap(), "admin\n");
    }
    check_superset(Metadata::Url(server.url("a"))).await.unwrap();
}

#[test]
fn supersets_examples_are_there() {
    let folder = superset::examples().unwrap();
    assert!(folder.join("metadata.yaml").exists());
    let files = |path: &Path| std::fs::read_dir(path).unwrap().count();
    assert_eq!(files(&folder.join("dashboards")), 7);
}

#[tokio::test]
async fn a_server_that_cannot_start_says_what_its_log_says() {
    let settings = vec![("shared_buffers".to_owned(), "nonsense".to_owned())];
    let options = postgres::Options { settings, ..Default::default() };
    let error = Postgres::start(options).await.err().unwrap();
    let text = error.to_string();
    assert!(text.contains("start PostgreSQL") && text.contains("shared_buffers"), "{text}");
}

#[tokio::test]
async fn a_server_does_not_move_to_another_port_than_the_one_asked_for() {
    let taken = Zookeeper::start(zookeeper::Options::default()).await.unwrap();
    let options = zookeeper::Options { port: Some(taken.port()), ..Default::default() };
    let error = Zookeeper::start(options).await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("in use"), "{error}");
}

#[tokio::test]
async fn a_detached_server_lives_on() {
    let folder = tempfile::tempdir().unwrap();
    let options = zookeeper::Options { dir: Some(folder.path().join("zk")), ..Default::default() };
    let server = Zookeeper::start(options.clone()).await.unwrap();
    let port = server.port();
    let detached = server.detach().unwrap();
    assert!(runs(detached.pid));
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(detached.pid).unwrap()).unwrap();
    rustix::process::kill_process_group(pid, rustix::process::Signal::TERM).unwrap();
    until("the detached server ends", async || !runs(detached.pid)).await;
}

/// Not a test by itself: the process that the next test starts and kills.
#[tokio::test]
async fn the_holder_of_a_server() {
    if std::env::var_os(HOLD).is_none() {
        return;
    }
    let server = Zookeeper::start(zookeeper::Options::default()).await.unwrap();
    println!("\npid {}", server.pid().unwrap());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_server_ends_when_the_process_that_holds_it_is_killed() {
    let temp = tempfile::tempdir().unwrap();
    let mut holder = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_holder_of_a_server", "--nocapture"])
        .env(HOLD, "1")
        .env("TMPDIR", temp.path())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let pid = loop {
        let line = lines.next_line().await.unwrap().expect("the holder names the server");
        if let Some(pid) = line.strip_prefix("pid ") {
            break pid.parse().unwrap();
        }
    };
    assert!(runs(pid));
    holder.kill().await.unwrap();
    until("the server ends", async || !runs(pid)).await;
    until("its folder is gone", async || std::fs::read_dir(temp.path()).unwrap().next().is_none()).await;
}

#[test]
fn work_with_a_server_can_move_between_threads() {
    fn check<T: Send>(_: T) {}
    check(async {
        let mut server = Zookeeper::start(zookeeper::Options::default()).await?;
        server.restart().await?;
        let mut server = Mariadb::start(mariadb::Options::default()).await?;
        server.restart().await?;
        let mut server = Postgres::start(postgres::Options::default()).await?;
        server.restart().await?;
        let mut server =
            Superset::start(Metadata::Url(server.url("a")), superset::Options::default()).await?;
        server.restart().await
    });
}

/// What is served at an address.
async fn page(url: &str) -> String {
    match reqwest::get(url).await {
        Ok(answer) => answer.text().await.unwrap_or_default(),
        Err(error) => format!("no answer: {error}"),
    }
}

#[tokio::test]
async fn nginx_reads_its_configuration_anew() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("conf.d");
    std::fs::create_dir(&inner).unwrap();
    let say = |word: &str| {
        std::fs::write(inner.join("word.conf"), format!("map $uri $word {{ default {word}; }}\n")).unwrap();
    };
    let server = "location / { return 200 $word; }".to_owned();
    reads_anew(Program::Nginx { server }, folder.path(), say).await;
}

#[tokio::test]
async fn haproxy_reads_its_configuration_anew() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("conf.d");
    std::fs::create_dir(&inner).unwrap();
    let say = |word: &str| {
        let backend = format!(
            "backend superset\n    http-request return status 200 content-type text/plain string {word}\n"
        );
        std::fs::write(inner.join("word.cfg"), backend).unwrap();
    };
    reads_anew(Program::Haproxy { backend: "superset".to_owned() }, folder.path(), say).await;
}

/// `say` writes what the balancer includes, which answers every request with that word.
async fn reads_anew(program: Program, folder: &Path, say: impl Fn(&str)) {
    say("one");
    let options = balancer::Options { dir: Some(folder.to_owned()), ..Default::default() };
    let server = Balancer::start(program, options).await.expect("it starts");
    assert_eq!(page(&server.url()).await, "one");
    say("two");
    let anew = async {
        loop {
            server.reload().expect("it runs");
            let served = async { while page(&server.url()).await != "two" {} };
            // HAProxy serves before its master heeds signals: the first one after a start may be lost.
            if tokio::time::timeout(Duration::from_secs(2), served).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), anew).await.expect("the new word is served");
    let pid = server.pid().expect("it runs");
    drop(server);
    assert!(!runs(pid));
}
