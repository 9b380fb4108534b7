use std::time::Duration;

use zk::{Config, Gone, RegisterError, Session, SessionEnd};
use zookeeper_client::{Acls, CreateMode};

use super::proxy::{Lose, Proxy};
use super::{config, connect, environment, within};

const PATH: &str = "/services/superset/node-1";

async fn stands(session: &Session) -> Option<(Vec<u8>, i64)> {
    session.client().sync("/").await.unwrap();
    let found = session.client().get_data(PATH).await.ok()?;
    Some((found.0, found.1.ephemeral_owner))
}

#[tokio::test]
async fn a_registration_stands_is_updated_and_withdrawn() {
    let session = environment("register").await;
    let node = connect(&config("register").await).await;
    let mut registration = node.register("superset", "node-1", b"{}").await.unwrap();
    let owner = node.client().session_id().0;
    assert_eq!(stands(&session).await, Some((b"{}".to_vec(), owner)));
    registration.update(b"{\"a\":1}").await.unwrap();
    // Somebody else's write does not make it somebody else's.
    session.client().set_data(PATH, b"meddled", None).await.unwrap();
    registration.update(b"{\"a\":2}").await.unwrap();
    assert_eq!(stands(&session).await, Some((b"{\"a\":2}".to_vec(), owner)));
    registration.withdraw().await.unwrap();
    assert_eq!(stands(&session).await, None);
    let dropped = node.register("superset", "node-1", b"{}").await.unwrap();
    drop(dropped);
    within("the drop's effect", async { while stands(&session).await.is_some() {} }).await;
}

#[tokio::test]
async fn an_earlier_session_of_the_same_instance_is_replaced_and_learns_it() {
    let session = environment("replaced").await;
    let (before, now) = (connect(&config("replaced").await).await, connect(&config("replaced").await).await);
    let mut stale = before.register("superset", "node-1", b"old").await.unwrap();
    let fresh = now.register("superset", "node-1", b"new").await.unwrap();
    assert_eq!(within("the loss", stale.gone()).await, Gone::Deleted);
    assert!(matches!(stale.update(b"old").await, Err(RegisterError::Gone { .. })));
    let older = session.register("superset", "node-1", b"older").await.unwrap();
    let fresh = {
        drop(fresh);
        now.register("superset", "node-1", b"new").await.unwrap()
    };
    drop(older);
    session.sync().await.unwrap();
    tokio::time::timeout(Duration::from_millis(200), fresh.gone()).await.expect_err("it stays");
    stale.withdraw().await.unwrap();
    let owner = now.client().session_id().0;
    assert_eq!(stands(&session).await, Some((b"new".to_vec(), owner)), "the old one has taken the new one's");
    session.client().delete(PATH, None).await.unwrap();
    assert_eq!(within("the loss", fresh.gone()).await, Gone::Deleted);
}

#[tokio::test]
async fn two_that_register_at_once_leave_one_that_knows_it_holds() {
    environment("contended").await;
    let sessions = [connect(&config("contended").await).await, connect(&config("contended").await).await];
    for _ in 0..50 {
        let (one, two) = tokio::join!(
            sessions[0].register("superset", "node-1", b"1"),
            sessions[1].register("superset", "node-1", b"2")
        );
        let all: Vec<_> = [one, two].into_iter().filter_map(Result::ok).collect();
        sessions[0].sync().await.unwrap();
        let standing = sessions[0].client().check_stat(PATH).await.unwrap().unwrap().czxid;
        let mut holding = 0;
        for registration in all {
            if registration.czxid() == standing {
                holding += 1;
            } else {
                assert_eq!(within("the loss", registration.gone()).await, Gone::Deleted);
            }
            registration.withdraw().await.unwrap();
        }
        assert_eq!(holding, 1);
        assert_eq!(stands(&sessions[0]).await, None);
    }
}

#[tokio::test]
async fn a_lost_request_or_answer_registers_once() {
    let session = environment("lossy").await;
    let proxy = Proxy::start(super::server().await).await;
    let lossy = connect(&Config { connect: proxy.connect.clone(), ..config("lossy").await }).await;
    for lose in [Lose::Create, Lose::CreateAnswer, Lose::Create, Lose::CreateAnswer] {
        proxy.lose(lose);
        let registration = within("it", lossy.register("superset", "node-1", b"{}")).await.unwrap();
        assert!(proxy.has_lost());
        let owner = lossy.client().session_id().0;
        assert_eq!(stands(&session).await, Some((b"{}".to_vec(), owner)));
        registration.withdraw().await.unwrap();
        assert_eq!(stands(&session).await, None);
    }
    // Over what an earlier session left behind, which is a multi.
    for lose in [Lose::Request, Lose::Answer] {
        let before = connect(&config("lossy").await).await;
        let old = before.register("superset", "node-1", b"old").await.unwrap();
        proxy.lose(lose);
        let registration = within("it", lossy.register("superset", "node-1", b"new")).await.unwrap();
        assert!(proxy.has_lost());
        assert_eq!(within("the loss", old.gone()).await, Gone::Deleted);
        registration.withdraw().await.unwrap();
    }
}

#[tokio::test]
async fn a_registration_given_up_half_way_leaves_nothing_behind() {
    let session = environment("half-registered").await;
    let node = connect(&config("half-registered").await).await;
    drop(node.register("superset", "first", b"{}").await.unwrap());
    // As many answers as there are: every place to stop at is met.
    for answers in 0..8 {
        let mut registering = Box::pin(node.register("superset", "node-1", b"{}"));
        for _ in 0..=answers {
            let done =
                tokio::select! { biased; _ = &mut registering => true, () = std::future::ready(()) => false };
            if done {
                break;
            }
            node.client().sync("/").await.unwrap();
        }
        drop(registering);
        within(&format!("nothing after {answers}"), async { while stands(&session).await.is_some() {} })
            .await;
    }
}

#[tokio::test]
async fn a_registration_ends_with_its_session_and_is_made_anew() {
    let session = environment("expired").await;
    let proxy = Proxy::start(super::server().await).await;
    let cut = connect(&Config { connect: proxy.connect.clone(), ..config("expired").await }).await;
    let registration = cut.register("superset", "node-1", b"1").await.unwrap();
    let again = connect(&config("expired").await).await;
    let follower = session.follow("services").await.unwrap();
    assert!(follower.nodes().contains_key("superset/node-1"));
    proxy.lose(Lose::Everything);
    assert_eq!(within("the end", registration.gone()).await, Gone::Session(SessionEnd::Expired));
    let anew = again.register("superset", "node-1", b"2").await.unwrap();
    assert_eq!(stands(&session).await, Some((b"2".to_vec(), again.client().session_id().0)));
    // The server ends the old session now or has ended it: what stands is not its any more.
    proxy.lose(Lose::Nothing);
    drop(registration);
    assert_eq!(stands(&session).await, Some((b"2".to_vec(), again.client().session_id().0)));
    anew.withdraw().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_registered_says_why() {
    let session = environment("refused").await;
    assert!(
        matches!(session.register("a/b", "c", b"").await, Err(RegisterError::Name(name)) if name == "a/b")
    );
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    session.client().mkdir("/services/superset", &options).await.unwrap();
    session.client().create(PATH, b"static", &options).await.unwrap();
    let error = session.register("superset", "node-1", b"{}").await.unwrap_err();
    assert!(matches!(&error, RegisterError::Permanent { path } if path.ends_with(PATH)), "{error}");
    let missing = connect(&config("no-such").await).await;
    assert!(matches!(missing.register("superset", "node-1", b"{}").await, Err(RegisterError::Read(_))));
}

/// Registers and dies, in every way there is to die, and has the next life take over.
async fn lives(instance: usize, count: usize, proxy: &Proxy) {
    let name = format!("node-{instance}");
    let direct = config("many-lives").await;
    let through = Config { connect: proxy.connect.clone(), ..direct.clone() };
    let mut stale = Vec::new();
    let mut session = connect(&direct).await;
    for life in 0..count {
        let json = format!("{{\"life\":{life}}}");
        let registration = session.register("superset", &name, json.as_bytes()).await.unwrap();
        match (instance + life) % 4 {
            0 => registration.withdraw().await.unwrap(),
            1 => drop(registration),
            // The process goes, and its session is closed.
            2 => {
                drop((registration, session));
                session = connect(&direct).await;
            }
            // It is cut off: its session expires some time, after the next life has begun or before.
            _ => {
                let cut = connect(&through).await;
                let registration = cut.register("superset", &name, json.as_bytes()).await.unwrap();
                stale.push((registration, cut));
            }
        }
    }
    // The last life of all ends like the first.
    let last = session.register("superset", &name, b"{}").await.unwrap();
    last.withdraw().await.unwrap();
    proxy.lose(Lose::Everything);
    for (registration, _session) in &stale {
        within("the end", registration.gone()).await;
    }
}

#[tokio::test]
async fn after_two_thousand_lives_and_deaths_nothing_is_left() {
    let session = environment("many-lives").await;
    let mut follower = session.follow("services").await.unwrap();
    let proxies: Vec<Proxy> =
        futures_util::future::join_all((0..40).map(|_| async { Proxy::start(super::server().await).await }))
            .await;
    let all = proxies.iter().enumerate().map(|(instance, proxy)| lives(instance, 50, proxy));
    futures_util::future::join_all(all).await;
    within("the last one's end", async {
        while follower.nodes().keys().any(|path| path.contains('/')) {
            follower.changed().await.unwrap();
        }
    })
    .await;
    assert!(session.client().list_children("/services/superset").await.unwrap().is_empty());
}
