use std::collections::BTreeMap;
use std::time::Duration;

use testbed::Zookeeper;
use testbed::zookeeper::Options;
use zk::{Config, Elsewhere, FollowConfig, Follower, ReadError, Session};
use zookeeper_client::{Acls, Client, CreateMode};

use super::proxy::{Lose, Proxy};
use super::{config, connect, environment, within};

async fn create(client: &Client, path: &str, bytes: &[u8]) {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create(path, bytes, &options).await.unwrap();
}

fn texts(follower: &Follower) -> BTreeMap<&str, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    follower.nodes().iter().map(|(path, found)| (path.as_str(), text(&found.bytes))).collect()
}

async fn until(follower: &mut Follower, what: &str, done: impl Fn(&Follower) -> bool) {
    within(what, async {
        while !done(follower) {
            follower.changed().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_follower_shows_what_stands_and_every_change_of_it() {
    let session = environment("follow").await;
    let client = session.client();
    create(client, "/services/web", b"").await;
    create(client, "/services/web/a", b"1").await;
    let mut follower = session.follow("services").await.unwrap();
    assert!(follower.is_connected());
    let keys: Vec<_> = follower.nodes().keys().cloned().collect();
    assert_eq!(keys, ["", "web", "web/a"]);
    create(client, "/services/web/b", b"2").await;
    until(&mut follower, "a new znode", |now| now.nodes().contains_key("web/b")).await;
    client.set_data("/services/web/a", b"3", None).await.unwrap();
    until(&mut follower, "a new version", |now| now.nodes()["web/a"].bytes == b"3").await;
    client.delete("/services/web/b", None).await.unwrap();
    until(&mut follower, "a delete", |now| !now.nodes().contains_key("web/b")).await;
    create(client, "/services/web/b", b"again").await;
    until(&mut follower, "a new life", |now| now.nodes().contains_key("web/b")).await;
    assert_eq!(texts(&follower)["web/b"], "again");
}

#[tokio::test]
async fn a_root_that_is_not_there_yet_is_an_empty_map_until_it_comes() {
    let session = environment("absent").await;
    let mut follower = session.follow_outside("/hiveserver2-absent").await.unwrap();
    assert!(follower.nodes().is_empty() && follower.is_connected());
    let other = Client::connect(&super::server().await).await.unwrap();
    create(&other, "/hiveserver2-absent", b"").await;
    create(&other, "/hiveserver2-absent/serverUri=a:1;version=4", b"a:1").await;
    until(&mut follower, "the child", |now| now.nodes().len() == 2).await;
    assert!(follower.nodes().contains_key("serverUri=a:1;version=4"));
}

#[tokio::test]
async fn an_environment_that_goes_is_an_error_and_never_an_empty_map() {
    let session = environment("goes").await;
    create(session.client(), "/services/web", b"").await;
    let mut follower = session.follow("services").await.unwrap();
    session.client().delete("/generation", None).await.unwrap();
    session.client().delete("/services/web", None).await.unwrap();
    let error = within("the error", async {
        loop {
            if let Err(error) = follower.changed().await {
                return error;
            }
            assert!(follower.nodes().contains_key("web"), "it was taken for gone");
        }
    })
    .await;
    assert!(matches!(&error, ReadError::NotInitialised { root } if root == "/superset/goes"), "{error}");
}

#[tokio::test]
async fn what_may_not_be_read_is_told_and_kept() {
    let session = environment("secretive").await;
    let client = session.client();
    create(client, "/services/a", b"1").await;
    let quick = FollowConfig { crawl_every: Duration::from_millis(100), ..FollowConfig::default() };
    let reader = connect(&Config { follow: quick, ..config("secretive").await }).await;
    let mut follower = reader.follow("services").await.unwrap();
    client.auth("digest", b"owner:x").await.unwrap();
    client.set_acl("/services/a", &Acls::creator_all(), None).await.unwrap();
    // No event tells of rights: the crawl finds it.
    until(&mut follower, "the refusal", |now| now.unreadable().contains("a")).await;
    assert_eq!(texts(&follower)["a"], "1");
    client.set_acl("/services/a", &Acls::anyone_all(), None).await.unwrap();
    until(&mut follower, "the right", |now| now.unreadable().is_empty()).await;
}

#[tokio::test]
async fn a_follower_whose_bounds_are_passed_says_so() {
    let session = environment("too-much").await;
    let small = FollowConfig { nodes_max: 3, ..FollowConfig::default() };
    let reader = connect(&Config { follow: small, ..config("too-much").await }).await;
    let mut follower = reader.follow("services").await.unwrap();
    for name in ["a", "b", "c"] {
        create(session.client(), &format!("/services/{name}"), b"").await;
    }
    let error = within("the error", async {
        loop {
            if let Err(error) = follower.changed().await {
                return error;
            }
        }
    })
    .await;
    assert!(matches!(error, ReadError::TooMuch { nodes: 3, .. }), "{error}");
}

#[tokio::test]
async fn what_happened_while_the_connection_was_lost_is_found() {
    let session = environment("cut-off").await;
    for name in ["stays", "goes", "changes"] {
        create(session.client(), &format!("/services/{name}"), b"1").await;
    }
    let proxy = Proxy::start(super::server().await).await;
    let cut = connect(&Config { connect: proxy.connect.clone(), ..config("cut-off").await }).await;
    let mut follower = cut.follow("services").await.unwrap();
    proxy.lose(Lose::Everything);
    session.client().delete("/services/goes", None).await.unwrap();
    session.client().set_data("/services/changes", b"2", None).await.unwrap();
    create(session.client(), "/services/comes", b"3").await;
    until(&mut follower, "the loss", |now| !now.is_connected()).await;
    proxy.lose(Lose::Nothing);
    until(&mut follower, "the connection", Follower::is_connected).await;
    let expected = [("", ""), ("changes", "2"), ("comes", "3"), ("stays", "1")];
    assert_eq!(texts(&follower), BTreeMap::from(expected.map(|(path, text)| (path, text.to_owned()))));
    // And it hears again: the client has forgotten its watch.
    create(session.client(), "/services/later", b"4").await;
    until(&mut follower, "a later znode", |now| now.nodes().contains_key("later")).await;
}

#[tokio::test]
async fn a_follower_outlives_its_servers_death_and_ends_with_its_session() {
    let mut server = Zookeeper::start(Options::default()).await.unwrap();
    let lasting =
        Config { session_timeout: Duration::from_secs(10), ..Config::new(server.connect(), "killed") };
    let writer = Session::connect(&lasting).await.unwrap();
    writer.init().await.unwrap();
    let mut near = connect(&lasting).await.follow("services").await.unwrap();
    let elsewhere = Elsewhere::connect(&server.connect(), &lasting).await.unwrap();
    let mut far = elsewhere.follow("/superset/killed/services").await.unwrap();
    for round in 0..2 {
        server.kill().await.unwrap();
        until(&mut near, "the loss", |now| !now.is_connected()).await;
        until(&mut far, "the loss", |now| !now.is_connected()).await;
        server.restart().await.unwrap();
        let name = format!("round-{round}");
        create(writer.client(), &format!("/services/{name}"), b"").await;
        for follower in [&mut near, &mut far] {
            until(follower, "the connection", Follower::is_connected).await;
            until(follower, "the new znode", |now| now.nodes().contains_key(&name)).await;
        }
    }
    create(writer.client(), "/services/after", b"").await;
    until(&mut near, "an event", |now| now.nodes().contains_key("after")).await;
    server.kill().await.unwrap();
    let error = within("the end", async {
        loop {
            if let Err(error) = near.changed().await {
                return error;
            }
        }
    })
    .await;
    assert!(matches!(error, ReadError::SessionOver { .. }), "{error}");
    assert!(near.changed().await.is_err());
}

#[tokio::test]
async fn a_storm_of_writes_over_lost_connections_ends_in_the_same_tree() {
    let session = environment("storm").await;
    let proxy = Proxy::start(super::server().await).await;
    let cut = connect(&Config { connect: proxy.connect.clone(), ..config("storm").await }).await;
    let mut follower = cut.follow("services").await.unwrap();
    let writer = session.clone();
    let writing = tokio::spawn(async move {
        let client = writer.client();
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        for n in 0..3_000_u32 {
            let at = format!("/services/{}", n.wrapping_mul(2_654_435_761) % 50);
            match n % 5 {
                0 | 1 => drop(client.create(&at, n.to_string().as_bytes(), &options).await),
                2 | 3 => drop(client.set_data(&at, n.to_string().as_bytes(), None).await),
                _ => drop(client.delete(&at, None).await),
            }
            if n % 1_000 == 500 {
                proxy.cut();
            }
        }
        create(client, "/services/last", b"").await;
    });
    until(&mut follower, "the last znode", |now| now.nodes().contains_key("last")).await;
    writing.await.unwrap();
    let tree = session.follow("services").await.unwrap();
    until(&mut follower, "the same tree", |now| now.nodes() == tree.nodes()).await;
}
