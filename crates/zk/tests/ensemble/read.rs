use std::path::Path;
use std::time::Duration;

use change::{Lifetime, Millis};
use zk::{Acls, Advice, Auth, Config, ConnectError, Expect, PartFault, ReadError, Session, Tls};
use zookeeper_client::{Acls as ZkAcls, CreateMode};

use super::{config, connect, draft, environment, put};

#[tokio::test]
async fn a_missing_environment_is_never_an_empty_one() {
    let session = connect(&config("missing").await).await;
    let path = "assets/main/charts/a".parse().unwrap();
    assert_eq!(session.generation().await.unwrap(), None);
    let errors = [
        session.read_tree(&["assets"]).await.map(drop).unwrap_err(),
        session.read(&path).await.map(drop).unwrap_err(),
        session.paused().await.map(drop).unwrap_err(),
        session.resync_requests().await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert!(
            matches!(&error, ReadError::NotInitialised { root } if root == "/superset/missing"),
            "{error}"
        );
        assert_eq!(error.advice(), Advice::Stop);
    }
    let error =
        session.write(&[put("assets/main/charts/a", b"1", Expect::Absent)], &draft("x"), |_, _| {}).await;
    let error = error.unwrap_err();
    assert!(matches!(error.fault(), Some(PartFault::Read(ReadError::NotInitialised { .. }))), "{error}");
    assert!(session.elect("watcher", "x").await.is_err());
    assert!(session.pause("x", "y", Millis(0)).await.is_err());
}

#[tokio::test]
async fn init_completes_a_half_made_tree_and_keeps_the_generation() {
    let session = environment("half").await;
    let generation = session.generation().await.unwrap().unwrap();
    session.client().delete("/control/resync", None).await.unwrap();
    session.client().delete("/head", None).await.unwrap();
    assert_eq!(session.init().await.unwrap(), generation);
    session.request_resync("works again").await.unwrap();
    session.write(&[put("settings/config/A", b"1", Expect::Absent)], &draft("x"), |_, _| {}).await.unwrap();
    assert_eq!(session.approve_generation(4).await.unwrap().n, 4);
    assert!(session.approve_generation(4).await.is_err());
}

#[tokio::test]
async fn two_inits_at_once_agree() {
    let (one, two) = (connect(&config("both").await).await, connect(&config("both").await).await);
    let (a, b) = tokio::join!(one.init(), two.init());
    assert_eq!(a.unwrap(), b.unwrap());
}

#[tokio::test]
async fn a_tree_is_read_whole_without_its_bare_folders() {
    let session = environment("tree").await;
    let mut all: Vec<_> =
        (0..300).map(|n| put(&format!("assets/p{}/charts/c{n}", n % 7), b"{}", Expect::Absent)).collect();
    all.push(put("control/approvals/01X", b"{}", Expect::Absent));
    session.write(&all, &draft("tree"), |_, _| {}).await.unwrap();
    let ephemeral = CreateMode::Ephemeral.with_acls(ZkAcls::anyone_all());
    session.client().create("/assets/p1/charts/a'; DROP TABLE dbs", b"", &ephemeral).await.unwrap();
    let snapshot =
        session.read_tree(&["assets", "settings", "endpoints", "control/approvals"]).await.unwrap();
    assert_eq!(snapshot.nodes.len(), 302);
    assert_eq!(snapshot.unreadable, []);
    let odd = &snapshot.nodes[&"assets/p1/charts/a'; DROP TABLE dbs".parse().unwrap()];
    assert_eq!(odd.lifetime, Lifetime::Ephemeral);
    assert!(session.read_tree(&["nothing"]).await.unwrap().nodes.is_empty());
}

#[tokio::test]
async fn a_subtree_that_may_not_be_read_is_told() {
    let session = environment("noauth").await;
    let secret =
        Config { auth: vec![Auth::digest("ops:hunter2")], acl: Acls::Creator, ..config("noauth").await };
    let ops = connect(&secret).await;
    for (session, path) in [(&session, "assets/open/charts/a"), (&ops, "assets/closed/charts/b")] {
        session.write(&[put(path, b"{}", Expect::Absent)], &draft("x"), |_, _| {}).await.unwrap();
    }
    let snapshot = session.read_tree(&["assets"]).await.unwrap();
    assert_eq!(snapshot.unreadable, ["assets/closed".parse().unwrap()]);
    assert_eq!(snapshot.nodes.len(), 1);
    assert_eq!(ops.read_tree(&["assets"]).await.unwrap().nodes.len(), 2);
    let error = session.read(&"assets/closed/charts/b".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, ReadError::Forbidden { .. }), "{error}");
    let error =
        session.write(&[put("assets/closed/charts/c", b"1", Expect::Absent)], &draft("x"), |_, _| {}).await;
    assert!(matches!(error.unwrap_err().fault(), Some(PartFault::Refused { .. })));
}

#[tokio::test]
async fn an_ensemble_that_cannot_be_reached_is_named() {
    let config =
        Config { session_timeout: Duration::from_secs(1), ..Config::new("127.0.0.1:9,127.0.0.1:10", "x") };
    let error = Session::connect(&config).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("127.0.0.1:9,127.0.0.1:10"), "{error}");
    let error = Session::connect(&Config::new("a b c:", "x")).await.unwrap_err();
    assert!(matches!(error, ConnectError::Hosts { .. } | ConnectError::Unreachable { .. }), "{error}");
    let error = Session::connect(&Config::new("127.0.0.1:9", "a/b")).await.unwrap_err();
    assert!(matches!(error, ConnectError::Config(_)), "{error}");
}

#[tokio::test]
async fn a_chroot_in_the_connect_string_stands_above_the_root() {
    let plain = environment("chrooted").await;
    let options = CreateMode::Persistent.with_acls(ZkAcls::anyone_all());
    plain.client().create("/inner", b"", &options).await.unwrap();
    let connect_string = format!("{}/superset/chrooted/inner", super::server().await);
    let session = connect(&Config { connect: connect_string, ..config("e").await }).await;
    assert_eq!(session.root(), "/superset/chrooted/inner/superset/e");
    session.init().await.unwrap();
    assert!(plain.client().check_stat("/inner/superset/e/generation").await.unwrap().is_some());
}

#[tokio::test]
async fn tls_to_a_server_without_it_is_an_error_that_speaks_of_certificates() {
    let plain = config("tls").await;
    let connect = format!("tcp+tls://{}", plain.connect);
    let without = Config { connect, session_timeout: Duration::from_secs(1), ..plain };
    let error = Session::connect(&without).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoCa { .. }), "{error}");
    for (ca, speaks_of) in [("ca.pem", "the CA file"), ("read.rs", "PEM file"), ("none.pem", "PEM file")] {
        let ca = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ensemble").join(ca);
        let error =
            Session::connect(&Config { tls: Some(Tls { ca, identity: None }), ..without.clone() }).await;
        let error = error.unwrap_err();
        assert!(error.to_string().contains(speaks_of), "{error}");
    }
}
