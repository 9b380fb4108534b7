use std::sync::atomic::Ordering;
use std::time::Duration;

use change::{Edit, EditOp, Zxid};
use testbed::Zookeeper;
use testbed::zookeeper::Options;
use zk::{Config, Expect, PartFault, Pruner, Session, WriteError};
use zookeeper_client::{Acls, CreateMode};

use super::proxy::{Lose, Proxy};
use super::{config, connect, delete, draft, environment, put, state, within};

const CHART: &str = "assets/main/charts/sales";

/// The edit records, oldest first.
async fn edits(session: &Session) -> Vec<Edit> {
    let mut ids = session.client().list_children("/edits").await.unwrap();
    ids.sort();
    let mut edits = Vec::new();
    for id in ids {
        let (bytes, _) = session.client().get_data(&format!("/edits/{id}")).await.unwrap();
        edits.push(serde_json::from_slice(&bytes).unwrap());
    }
    edits
}

async fn head(session: &Session) -> String {
    String::from_utf8(session.client().get_data("/head").await.unwrap().0).unwrap()
}

#[tokio::test]
async fn an_edit_larger_than_a_request_is_written_in_parts() {
    let session = environment("parts").await;
    let bytes = vec![b'x'; 100_000];
    let all: Vec<_> =
        (0..35).map(|n| put(&format!("assets/main/charts/c{n}"), &bytes, Expect::Absent)).collect();
    let mut seen = Vec::new();
    let written = session.write(&all, &draft("many"), |part, parts| seen.push((part, parts))).await.unwrap();
    assert_eq!(seen, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    let records = edits(&session).await;
    assert_eq!(head(&session).await, written[3].id);
    for (record, part) in records.iter().zip(&written) {
        assert_eq!((&record.id, &record.of, record.part), (&part.id, &written[0].id, part.part));
        assert_eq!(record.changes.len(), part.changes.len());
        let stat = session.client().check_stat(&format!("/edits/{}", part.id)).await.unwrap().unwrap();
        assert_eq!(stat.czxid, part.zxid.0);
        for change in &part.changes {
            let found = session.read(&change.path).await.unwrap().unwrap();
            assert_eq!((found.czxid, Some(found.version)), (change.czxid, change.version));
            assert_eq!(found.mzxid, part.zxid);
        }
    }
}

#[tokio::test]
async fn puts_and_deletes_of_one_group_are_one_transaction() {
    let session = environment("group").await;
    session.write(&[put(CHART, b"1", Expect::Absent)], &draft("make"), |_, _| {}).await.unwrap();
    let moved = [
        put("assets/main/charts/turnover", b"1", Expect::Absent),
        delete(CHART, state(&session, CHART).await),
    ];
    let written = session.write(&moved, &draft("move"), |_, _| {}).await.unwrap();
    let [part] = written.as_slice() else { panic!("one part: {written:?}") };
    assert_eq!(part.changes[0].czxid, part.zxid.0);
    assert_eq!(part.changes[1].version, None);
    assert_eq!(state(&session, CHART).await, Expect::Absent);
    let record = edits(&session).await.pop().unwrap();
    assert_eq!(
        record.changes.iter().map(|change| change.op).collect::<Vec<_>>(),
        [EditOp::Put, EditOp::Delete]
    );
}

#[tokio::test]
async fn a_changed_expectation_is_a_conflict_and_nothing_is_written() {
    let session = environment("conflict").await;
    session.write(&[put(CHART, b"1", Expect::Absent)], &draft("make"), |_, _| {}).await.unwrap();
    let seen = state(&session, CHART).await;
    // Deleted and created again: the data version is 0 as before, the life another.
    session.client().delete(&format!("/{CHART}"), None).await.unwrap();
    session.write(&[put(CHART, b"2", Expect::Absent)], &draft("again"), |_, _| {}).await.unwrap();
    let big = vec![b'x'; 600_000];
    for before in [
        vec![],
        vec![
            put("assets/main/charts/a", &big, Expect::Absent),
            put("assets/main/charts/b", &big, Expect::Absent),
        ],
    ] {
        let all = [before, vec![put(CHART, b"3", seen)]].concat();
        let error =
            session.write(&all, &draft("late"), |_, _| panic!("nothing may be written")).await.unwrap_err();
        assert_eq!(error.conflicts().len(), 1, "{error}");
        assert_eq!(error.conflicts()[0].expected, seen);
        assert!(matches!(error, WriteError::Nothing(PartFault::Conflict(_))), "{error}");
    }
    assert_eq!(edits(&session).await.len(), 2);
    assert_eq!(state(&session, "assets/main/charts/a").await, Expect::Absent);
}

#[tokio::test]
async fn writers_who_meet_at_the_head_all_get_through() {
    let session = environment("race").await;
    let mut writers = Vec::new();
    for writer in 0..4 {
        let session = connect(&config("race").await).await;
        writers.push(tokio::spawn(async move {
            for n in 0..15 {
                let edit = put(&format!("assets/main/charts/w{writer}-{n}"), b"x", Expect::Absent);
                session.write(&[edit], &draft("race"), |_, _| {}).await.unwrap();
            }
        }));
    }
    for writer in writers {
        within("a writer ends", writer).await.unwrap();
    }
    assert_eq!(edits(&session).await.len(), 60);
    let (_, stat) = session.client().get_data("/head").await.unwrap();
    assert_eq!(stat.version, 60, "every multi sets the head once");
}

#[tokio::test]
async fn a_write_whose_request_or_answer_is_lost_happens_once() {
    let plain = environment("lost-answer").await;
    let proxy = Proxy::start(super::server().await).await;
    let session = connect(&Config { connect: proxy.connect.clone(), ..config("lost-answer").await }).await;
    let mut expect = Expect::Absent;
    for (round, lose) in [Lose::Answer, Lose::Request, Lose::Answer].into_iter().enumerate() {
        proxy.lose(lose);
        let edit = put(CHART, format!("{round}").as_bytes(), expect);
        let written = within("a write", session.write(&[edit], &draft("lossy"), |_, _| {})).await.unwrap();
        assert!(proxy.has_lost(), "{lose:?} was not exercised");
        assert_eq!(edits(&plain).await.len(), round + 1);
        expect = state(&plain, CHART).await;
        let change = &written[0].changes[0];
        assert_eq!(expect, Expect::Is { czxid: change.czxid, version: change.version.unwrap() });
        assert_eq!(written[0].overwrote, []);
        assert_eq!(head(&plain).await, written[0].id);
    }
}

#[tokio::test]
async fn a_life_that_was_not_the_expected_one_is_told_although_the_answer_was_lost() {
    let plain = environment("lost-life").await;
    let proxy = Proxy::start(super::server().await).await;
    let session = connect(&Config { connect: proxy.connect.clone(), ..config("lost-life").await }).await;
    let write = async |session: &Session, edit| session.write(&[edit], &draft("x"), |_, _| {}).await.unwrap();
    write(&plain, put(CHART, b"1", Expect::Absent)).await;
    let expect = state(&plain, CHART).await;
    proxy.lose(Lose::Hold);
    let foreign = async {
        within("a multi", proxy.held()).await;
        let (path, options) = (format!("/{CHART}"), CreateMode::Persistent.with_acls(Acls::anyone_all()));
        plain.client().delete(&path, None).await.unwrap();
        plain.client().create(&path, b"another life", &options).await.unwrap();
        proxy.lose(Lose::Answer);
    };
    let (written, ()) = tokio::join!(write(&session, put(CHART, b"2", expect)), foreign);
    assert!(proxy.has_lost(), "the answer was not lost");
    assert_eq!(written[0].overwrote.iter().map(ToString::to_string).collect::<Vec<_>>(), [CHART]);
    let change = &written[0].changes[0];
    let stands = Expect::Is { czxid: change.czxid, version: change.version.unwrap() };
    assert_eq!(state(&plain, CHART).await, stands);
}

#[tokio::test]
async fn writes_go_on_over_a_server_that_is_killed_and_started_again() {
    let mut server = Zookeeper::start(Options::default()).await.unwrap();
    let config =
        Config { session_timeout: Duration::from_secs(10), ..Config::new(server.connect(), "killed") };
    let session = connect(&config).await;
    session.init().await.unwrap();
    let (sent, mut written) = tokio::sync::watch::channel(0);
    let writer = session.clone();
    let writing = tokio::spawn(async move {
        let mut expect = Expect::Absent;
        for n in 1..=400 {
            let parts = writer.write(&[put(CHART, b"x", expect)], &draft("on"), |_, _| {}).await.unwrap();
            let change = &parts[0].changes[0];
            expect = Expect::Is { czxid: change.czxid, version: change.version.unwrap() };
            sent.send_replace(n);
        }
    });
    for kill_at in [50, 200] {
        within("some writes", written.wait_for(|n| *n >= kill_at)).await.unwrap();
        server.restart().await.unwrap();
    }
    within("all writes", writing).await.unwrap();
    assert_eq!(edits(&session).await.len(), 400);
    assert!(matches!(state(&session, CHART).await, Expect::Is { version: 399, .. }));
}

#[tokio::test]
async fn a_document_too_large_is_refused_before_it_is_sent() {
    let session = environment("large").await;
    let edits_before = edits(&session).await.len();
    let big = put(CHART, &vec![b'x'; 1_000_000], Expect::Absent);
    let error = session.write(&[big], &draft("big"), |_, _| {}).await.unwrap_err();
    assert!(
        matches!(&error, WriteError::TooLarge { paths, max: 1_000_000, .. } if paths.len() == 1),
        "{error}"
    );
    assert_eq!(edits(&session).await.len(), edits_before);
}

#[tokio::test]
async fn the_oldest_edit_records_are_pruned_in_bounded_steps() {
    let session = connect(&Config { prune_max: 4, ..config("prune").await }).await;
    session.init().await.unwrap();
    for n in 0..10 {
        let edit = put(&format!("settings/config/K{n}"), b"1", Expect::Absent);
        session.write(&[edit], &draft(&format!("{n}")), |_, _| {}).await.unwrap();
    }
    let (mut removed, mut pruner) = (Vec::new(), Pruner::default());
    for _ in 0..3 {
        removed.push(pruner.prune(&session, 3, Zxid(i64::MAX)).await.unwrap());
    }
    assert_eq!(removed, [4, 3, 0]);
    let left: Vec<String> = edits(&session).await.into_iter().map(|edit| edit.message).collect();
    assert_eq!(left, ["7", "8", "9"]);
}

#[tokio::test]
async fn edit_records_are_pruned_by_when_they_were_made_and_only_those_on_record() {
    let session = environment("prune-order").await;
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let mut made = Vec::new();
    // The writers' clocks differ.
    for name in ["C", "A", "D", "B"] {
        let stat = session.client().create(&format!("/edits/{name}"), b"", &options).await.unwrap().0;
        made.push(Zxid(stat.czxid));
    }
    let mut pruner = Pruner::default();
    assert_eq!(pruner.prune(&session, 1, made[0]).await.unwrap(), 1);
    let left = async || {
        let mut left = session.client().list_children("/edits").await.unwrap();
        left.sort();
        left
    };
    assert_eq!(left().await, ["A", "B", "D"], "only the first was on record");
    assert_eq!(pruner.prune(&session, 1, made[3]).await.unwrap(), 2);
    assert_eq!(left().await, ["B"], "the newest is the one that was made last");
}

#[tokio::test]
async fn a_part_fills_its_request_and_never_exceeds_it() {
    environment("bounds").await;
    let proxy = Proxy::start(super::server().await).await;
    let bounded =
        Config { connect: proxy.connect.clone(), request_bytes_max: 20_000, ..config("bounds").await };
    let session = connect(&bounded).await;
    let sizes = [1, 10, 300, 999];
    let all: Vec<_> = (0..400)
        .map(|n| put(&format!("assets/main/charts/{n:0>20}"), &vec![b'x'; sizes[n % 4]], Expect::Absent))
        .collect();
    let made = session.write(&all, &draft("\"quoted\" \u{e9}"), |_, _| {}).await.unwrap();
    let set: Vec<_> = made
        .iter()
        .flat_map(|part| &part.changes)
        .zip(&all)
        .map(|(change, edit)| {
            let expect = Expect::Is { czxid: change.czxid, version: change.version.unwrap() };
            zk::VersionedEdit { expect, ..edit.clone() }
        })
        .collect();
    session.write(&set, &draft("again"), |_, _| {}).await.unwrap();
    let longest = proxy.longest.load(Ordering::Relaxed);
    assert!((18_000..=20_000).contains(&longest), "{longest}");
}

#[tokio::test]
async fn a_part_that_fails_tells_what_is_written() {
    let session = environment("partly").await;
    let big = vec![b'x'; 600_000];
    let all: Vec<_> =
        (0..3).map(|n| put(&format!("assets/main/charts/c{n}"), &big, Expect::Absent)).collect();
    let open = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let meddle = |part, _| {
        if part == 2 {
            // Sent at once, and so before the look at what part 3 expects.
            drop(session.client().create("/assets/main/charts/c2", b"mine", &open));
        }
    };
    let error = session.write(&all, &draft("three"), meddle).await.unwrap_err();
    let ids: Vec<&str> = error.written().iter().map(|part| part.id.as_str()).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(error.conflicts()[0].path.as_str(), "assets/main/charts/c2");
    let said = error.to_string();
    assert_eq!(said, format!("write part 3 of 3; the 2 before it are written: {}, {}", ids[0], ids[1]));
}
