use change::Fence;
use tokio::time::Instant;
use zk::{Config, Held, Lost, SessionEnd};

use super::proxy::{Lose, Proxy};
use super::{config, connect, environment, within};

const ROLE: &str = "watcher";

/// Waits until `count` stand for the role.
async fn standing(session: &zk::Session, count: usize) {
    within("the candidates", async {
        loop {
            let children = session.client().list_children("/workers/watcher").await.unwrap_or_default();
            if children.len() == count {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_role_passes_on_and_fences_ascend() {
    let session = environment("elect").await;
    let mut last = Fence { generation: 0, czxid: 0 };
    for how in ["released", "dropped", "session closed", "lock deleted"] {
        let candidate = connect(&config("elect").await).await;
        let mut held = within(how, candidate.elect(ROLE, "host/1")).await.unwrap().0;
        assert!(held.fence > last, "{how}: {} after {last}", held.fence);
        last = held.fence;
        let next = connect(&config("elect").await).await;
        let standby = tokio::spawn(async move { next.elect(ROLE, "host/2").await.unwrap().0 });
        standing(&session, 2).await;
        match how {
            "released" => held.release().await.unwrap(),
            "dropped" => drop(held),
            "session closed" => drop((held, candidate)),
            _ => {
                session.client().delete(held.path(), None).await.unwrap();
                assert_eq!(within("the loss", held.lost()).await, Lost::Deleted);
            }
        }
        let second: Held = within(how, standby).await.unwrap();
        assert!(second.fence > last, "{how}: {} after {last}", second.fence);
        last = second.fence;
        second.release().await.unwrap();
        standing(&session, 0).await;
    }
}

#[tokio::test]
async fn a_holder_cut_off_knows_before_the_next_is_elected() {
    environment("cut").await;
    let proxy = Proxy::start(super::server().await).await;
    let cut = connect(&Config { connect: proxy.connect.clone(), ..config("cut").await }).await;
    let mut held = cut.elect(ROLE, "cut").await.unwrap().0;
    let other = connect(&config("cut").await).await;
    let watching = other.clone();
    let standby =
        tokio::spawn(async move { (other.elect(ROLE, "standby").await.unwrap().0, Instant::now()) });
    standing(&watching, 2).await;
    proxy.lose(Lose::Everything);
    let lost = within("the loss", held.lost()).await;
    let known = Instant::now();
    assert!(matches!(lost, Lost::Silent(_)), "{lost}");
    let (next, elected) = within("the next", standby).await.unwrap();
    assert!(known < elected, "known {:?} after the next was elected", known - elected);
    assert!(next.fence > held.fence);
    assert_eq!(within("the session's end", cut.closed()).await, SessionEnd::Expired);
}

#[tokio::test]
async fn a_candidate_that_gives_up_leaves_nothing_behind() {
    let session = environment("gives-up").await;
    let held = session.elect(ROLE, "first").await.unwrap().0;
    let waiting = session.clone();
    let standby = tokio::spawn(async move { waiting.elect(ROLE, "second").await.map(drop) });
    standing(&session, 2).await;
    standby.abort();
    standing(&session, 1).await;
    held.release().await.unwrap();
    standing(&session, 0).await;
}

#[tokio::test]
async fn a_raised_generation_ends_every_term() {
    let session = environment("raised").await;
    let mut held = session.elect(ROLE, "first").await.unwrap().0;
    let raised = session.approve_generation(5).await.unwrap();
    assert_eq!(within("the loss", held.lost()).await, Lost::Generation);
    let old = held.fence;
    held.release().await.unwrap();
    let next = session.elect(ROLE, "second").await.unwrap().0;
    assert_eq!(next.generation, raised);
    assert!(next.fence > old && next.fence.generation == 5);
}
