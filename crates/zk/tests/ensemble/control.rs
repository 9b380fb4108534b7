use change::Millis;

use super::{config, connect, environment, within};

#[tokio::test]
async fn a_pause_is_seen_by_others_at_once_and_so_is_its_end() {
    let session = environment("pause").await;
    let operator = connect(&config("pause").await).await;
    let mut watch = session.watch_pause().await.unwrap();
    assert_eq!(watch.current(), None);
    for round in 0..3 {
        let pause = operator.pause("ops", &format!("round {round}"), Millis(7)).await.unwrap();
        assert_eq!(within("the pause", watch.changed()).await.unwrap(), Some(&pause));
        assert_eq!(session.paused().await.unwrap(), Some(pause.clone()));
        assert_eq!(operator.resume().await.unwrap(), Some(pause));
        assert_eq!(within("its end", watch.changed()).await.unwrap(), None);
    }
    assert_eq!(operator.resume().await.unwrap(), None);
}

#[tokio::test]
async fn a_pause_that_cannot_be_understood_counts() {
    let session = environment("odd-pause").await;
    let options = zookeeper_client::CreateMode::Persistent.with_acls(zookeeper_client::Acls::anyone_all());
    session.client().create("/control/pause", b"stop!", &options).await.unwrap();
    let pause = session.paused().await.unwrap().unwrap();
    assert!(pause.reason.contains("/superset/odd-pause/control/pause"), "{}", pause.reason);
}

#[tokio::test]
async fn a_resync_is_asked_for_and_listed() {
    let session = environment("resync").await;
    let first = session.request_resync("a new target").await.unwrap();
    let second = session.request_resync("an operator's wish").await.unwrap();
    let mut listed = session.resync_requests().await.unwrap();
    listed.sort_by(|a, b| a.reason.cmp(&b.reason));
    let shown: Vec<_> = listed.iter().map(|request| (request.id.as_str(), request.reason.as_str())).collect();
    assert_eq!(shown, [(first.as_str(), "a new target"), (second.as_str(), "an operator's wish")]);
}

#[tokio::test]
async fn a_mark_is_removed_only_if_it_is_the_one_that_was_read() {
    let session = environment("marks").await;
    let at = "control/drain/superset/n1";
    let read = async || {
        let found = session.read(&at.parse().unwrap()).await.unwrap();
        found.map(|found| (found.czxid, found.version))
    };
    session.put_mark(at, b"first").await.unwrap();
    let first = read().await.unwrap();
    session.put_mark(at, b"second").await.unwrap();
    assert!(!session.remove_mark_at(at, first).await.unwrap());
    let second = read().await.unwrap();
    session.remove_mark(at).await.unwrap();
    assert!(session.remove_mark_at(at, second).await.unwrap(), "gone is gone");
    // The version is the same again, the life is not.
    session.put_mark(at, b"third").await.unwrap();
    assert!(!session.remove_mark_at(at, first).await.unwrap());
    let third = read().await.unwrap();
    assert!(session.remove_mark_at(at, third).await.unwrap());
    assert_eq!(read().await, None);
}
