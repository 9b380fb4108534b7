//! The log and the latest-per-key table, in one process.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use queue::{AppendError, Config, Fence, Lost, NewEntry, OpenError, Position, Queue, ReadError};
use tempfile::TempDir;

const T: &str = "env.changes";
const HOUR: Duration = Duration::from_secs(3600);

struct Bench {
    queue: Queue,
    folder: TempDir,
}

async fn bench(change: impl FnOnce(&mut Config)) -> Bench {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut config = Config::new(folder.path().join("queue.db"));
    change(&mut config);
    Bench { queue: Queue::embedded(&config).await.expect("the queue opens"), folder }
}

fn entry(key: &str) -> NewEntry {
    NewEntry { key: key.to_owned(), headers: format!("h{key}"), body: format!("body {key}").into_bytes() }
}

fn entries(keys: &str) -> Vec<NewEntry> {
    keys.split_whitespace().map(entry).collect()
}

async fn append(queue: &Queue, keys: &str) -> Position {
    queue.append(T, Some(Fence(1, 1)), &entries(keys)).await.expect("an append").end
}

/// `offset:key` of what is read, and the position after it.
async fn read(queue: &Queue, from: &Position, max_records: usize, max_bytes: u64) -> (String, Position) {
    let batch = queue.read(T, from, max_records, max_bytes).await.expect("a read");
    let seen: Vec<String> =
        batch.entries.iter().map(|entry| format!("{}:{}", entry.offset, entry.key)).collect();
    (seen.join(" "), batch.next)
}

async fn lost(queue: &Queue, from: &Position) -> Lost {
    match queue.read(T, from, 1, 1).await {
        Err(ReadError::Lost { reason, .. }) => reason,
        other => panic!("expected a lost position, got {other:?}"),
    }
}

#[tokio::test]
async fn records_come_back_in_order_with_all_that_was_appended() {
    let Bench { queue, folder: _folder } = bench(|_| ()).await;
    let start = queue.first(T).await.unwrap();
    assert_eq!(start, Position::start(start.log));
    assert_eq!(start, queue.end(T).await.unwrap());
    let appended = queue.append(T, Some(Fence(3, 7)), &entries("a b")).await.unwrap();
    assert_eq!((appended.first, appended.end.offset), (1, 3));
    let unfenced = queue.append(T, None, &entries("c")).await.unwrap();
    let batch = queue.read(T, &start, 10, u64::MAX).await.unwrap();
    assert_eq!(batch.next, unfenced.end);
    let again: Vec<NewEntry> = batch
        .entries
        .iter()
        .map(|e| NewEntry { key: e.key.clone(), headers: e.headers.clone(), body: e.body.clone() })
        .collect();
    assert_eq!(again, entries("a b c"));
    let fences: Vec<_> = batch.entries.iter().map(|entry| entry.fence).collect();
    assert_eq!(fences, [Some(Fence(3, 7)), Some(Fence(3, 7)), None]);
    assert!(batch.entries[0].at > 1_700_000_000_000_000, "microseconds");
    assert_eq!(queue.read(T, &batch.next, 10, 1).await.unwrap().entries, []);
}

#[tokio::test]
async fn a_batch_is_bounded_in_records_and_in_bytes_but_never_stuck() {
    let Bench { queue, folder: _folder } = bench(|_| ()).await;
    let start = queue.first(T).await.unwrap();
    append(&queue, "a b c").await;
    let size = entry("a").size();
    for (records, bytes, expected) in [
        (2, u64::MAX, "1:a 2:b"),
        (9, 2 * size, "1:a 2:b"),
        (9, 2 * size - 1, "1:a"),
        (9, 0, "1:a"),
        (0, 9, ""),
    ] {
        assert_eq!(read(&queue, &start, records, bytes).await.0, expected, "{records} {bytes}");
    }
}

#[tokio::test]
async fn topics_are_logs_of_their_own() {
    let Bench { queue, folder: _folder } = bench(|_| ()).await;
    append(&queue, "a").await;
    let other = queue.append("env.outcomes", None, &entries("x")).await.unwrap();
    assert_eq!(other.first, 1);
    assert_ne!(other.end.log, queue.end(T).await.unwrap().log);
    assert_eq!(lost(&queue, &other.end).await, Lost::OtherLog);
}

#[tokio::test]
async fn an_append_below_the_highest_fence_is_refused_and_leaves_nothing() {
    let Bench { queue, folder: _folder } = bench(|_| ()).await;
    let start = queue.first(T).await.unwrap();
    for (fence, refused_by) in [
        (Fence(1, 7), None),
        (Fence(1, 7), None),
        (Fence(1, 6), Some(Fence(1, 7))),
        (Fence(2, -1), None),
        (Fence(1, 9), Some(Fence(2, -1))),
        (Fence(u64::MAX, 0), None),
        (Fence(3, 0), Some(Fence(u64::MAX, 0))),
    ] {
        let by = match queue.append(T, Some(fence), &entries("a")).await {
            Ok(_) => None,
            Err(AppendError::Fenced { highest, .. }) => Some(highest),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(by, refused_by, "{fence}");
    }
    assert_eq!(read(&queue, &start, 10, 1000).await.0, "1:a 2:a 3:a 4:a");
    assert_eq!(queue.highest_fence(T).await.unwrap(), Some(Fence(u64::MAX, 0)));
}

#[tokio::test]
async fn an_empty_append_raises_the_fence() {
    let Bench { queue, folder: _folder } = bench(|_| ()).await;
    queue.append(T, Some(Fence(2, 0)), &[]).await.unwrap();
    assert!(matches!(queue.append(T, Some(Fence(1, 0)), &[]).await, Err(AppendError::Fenced { .. })));
    assert!(queue.append(T, None, &entries("a")).await.is_ok(), "what has no fence is never refused");
}

#[tokio::test]
async fn the_latest_value_of_a_key_stands_until_removed_by_no_lower_fence() {
    let Bench { queue, folder: _folder } = bench(|_| ()).await;
    let put = async |fence, key: &str, value: Option<&str>| {
        let value = value.map(|value| value.as_bytes().to_vec());
        queue.put_latest(T, fence, &[(key.to_owned(), value)]).await.is_ok()
    };
    assert!(put(Fence(1, 1), "b", Some("1")).await);
    assert!(put(Fence(1, 1), "a", Some("1")).await);
    assert!(put(Fence(1, 2), "b", Some("2")).await);
    assert!(!put(Fence(1, 1), "b", Some("old")).await, "an older writer");
    assert!(!put(Fence(1, 1), "c", Some("old")).await, "an older writer, another key");
    let all = queue.latest(T).await.unwrap();
    assert_eq!(all, [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
    assert!(put(Fence(1, 2), "a", None).await);
    assert!(!put(Fence(1, 1), "a", Some("back")).await, "an older writer brings nothing back");
    assert_eq!(queue.latest_one(T, "a").await.unwrap(), None);
    assert_eq!(queue.latest_one(T, "b").await.unwrap(), Some(b"2".to_vec()));
    assert_eq!(queue.latest("other").await.unwrap(), []);
}

#[tokio::test]
async fn trimming_takes_the_oldest_in_chunks_and_spares_the_young() {
    let Bench { queue, folder: _folder } = bench(|_| ()).await;
    let start = queue.first(T).await.unwrap();
    let end = append(&queue, "a b c d").await;
    let third = read(&queue, &start, 2, 1000).await.1;
    assert_eq!(queue.trim(T, 99, HOUR, 10).await.unwrap(), 0, "all are young");
    assert_eq!(queue.trim(T, 3, Duration::ZERO, 1).await.unwrap(), 1);
    assert_eq!(queue.trim(T, 3, Duration::ZERO, 10).await.unwrap(), 1);
    assert_eq!(queue.trim(T, 3, Duration::ZERO, 10).await.unwrap(), 0);
    assert_eq!(lost(&queue, &start).await, Lost::Trimmed { offset: 1, first: 3 });
    assert_eq!(queue.first(T).await.unwrap(), third, "the position behind what was trimmed is still proved");
    assert_eq!(read(&queue, &third, 10, 1000).await.0, "3:c 4:d");
    let size = queue.size(T).await.unwrap();
    assert_eq!((size.records, size.bytes, size.first, size.end), (2, 2 * entry("c").size(), 3, 5));
    assert_eq!(queue.trim(T, 99, Duration::ZERO, 10).await.unwrap(), 2);
    assert_eq!(queue.first(T).await.unwrap(), end);
    assert_eq!(read(&queue, &end, 10, 1000).await, (String::new(), end));
    assert_eq!(append(&queue, "e").await.offset, 6, "offsets go on");
    assert_eq!(read(&queue, &end, 10, 1000).await.0, "5:e");
}

#[tokio::test]
async fn a_full_topic_refuses_until_it_is_trimmed() {
    let Bench { queue, folder: _folder } = bench(|config| {
        config.max_records = 3;
        config.poll_active = HOUR;
    })
    .await;
    append(&queue, "a b").await;
    let refused = queue.append(T, Some(Fence(1, 1)), &entries("c d")).await;
    assert!(matches!(refused, Err(AppendError::Full { records: 2, .. })), "{refused:?}");
    assert!(queue.append(T, Some(Fence(1, 1)), &entries("c")).await.is_ok(), "a smaller one fits");
    assert!(matches!(queue.append(T, None, &entries("d e f g")).await, Err(AppendError::TooLarge { .. })));
    let (room, removed) = tokio::join!(queue.room(T, 2, 0), queue.trim(T, 3, Duration::ZERO, 10));
    assert_eq!((room.unwrap(), removed.unwrap()), ((), 2));
    assert!(queue.append(T, Some(Fence(1, 1)), &entries("d e")).await.is_ok());
}

#[tokio::test]
async fn while_somebody_waits_for_room_the_young_go_too_but_no_more_than_it_takes() {
    let Bench { queue, folder: _folder } = bench(|config| config.max_records = 4).await;
    append(&queue, "a b c d").await;
    assert_eq!(queue.trim(T, 4, HOUR, 10).await.unwrap(), 0, "nobody waits");
    let trimming = async {
        let mut trimmed = queue.trim(T, 2, HOUR, 10).await.unwrap();
        while trimmed == 0 {
            tokio::task::yield_now().await;
            trimmed = queue.trim(T, 2, HOUR, 10).await.unwrap();
        }
        assert_eq!(trimmed, 1, "never what somebody has not read");
        // Whoever wants the most may be heard later.
        trimmed = 0;
        while trimmed == 0 {
            tokio::task::yield_now().await;
            trimmed = queue.trim(T, 4, HOUR, 10).await.unwrap();
        }
        assert_eq!(trimmed, 1);
    };
    let waiting = async { tokio::join!(queue.room(T, 2, 0), queue.room(T, 1, 1), trimming) };
    let (two, one, ()) = tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("room");
    two.unwrap();
    one.unwrap();
    assert_eq!(queue.trim(T, 4, HOUR, 10).await.unwrap(), 0, "it fits now");
    append(&queue, "e f").await;
    assert_eq!(queue.trim(T, 9, HOUR, 10).await.unwrap(), 0, "it waits no longer");
}

#[tokio::test]
async fn a_topic_is_bounded_in_bytes_too() {
    let Bench { queue, folder: _folder } = bench(|config| config.max_bytes = 2 * entry("a").size()).await;
    append(&queue, "a b").await;
    assert!(matches!(queue.append(T, None, &entries("c")).await, Err(AppendError::Full { .. })));
    assert!(matches!(queue.append(T, None, &entries("c d e")).await, Err(AppendError::TooLarge { .. })));
}

#[tokio::test]
async fn a_waiting_reader_is_woken_in_process_without_polling() {
    let Bench { queue, folder } = bench(|config| config.poll_active = HOUR).await;
    let start = queue.first(T).await.unwrap();
    let other = Queue::embedded(&Config::new(folder.path().join("queue.db"))).await.unwrap();
    let one = entries("a");
    let waiting = async {
        tokio::time::timeout(Duration::from_secs(10), queue.next_batch(T, &start, 10, 1000))
            .await
            .expect("woken")
    };
    let (batch, appended) = tokio::join!(biased; waiting, other.append(T, None, &one));
    assert_eq!(batch.unwrap().next, appended.unwrap().end);
}

#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let Bench { queue, folder: _folder } = bench(|_| ()).await;
    let start = queue.first(T).await.unwrap();
    for _ in 0..20 {
        let wait = queue.next_batch(T, &start, 10, 1000);
        let _ = tokio::time::timeout(Duration::from_micros(300), wait).await;
    }
    append(&queue, "a").await;
    let batch = queue.next_batch(T, &start, 10, 1000).await.unwrap();
    assert_eq!(batch.entries.len(), 1);
}

#[tokio::test]
async fn an_append_that_is_dropped_half_way_happens_wholly_or_not_at_all() {
    let Bench { queue, folder: _folder } = bench(|_| ()).await;
    let start = queue.first(T).await.unwrap();
    for micros in (0..2000).step_by(100) {
        let both = entries("x y");
        let append = queue.append(T, Some(Fence(1, 1)), &both);
        let _ = tokio::time::timeout(Duration::from_micros(micros), append).await;
    }
    let end = append(&queue, "z").await;
    let (seen, next) = read(&queue, &start, 1000, u64::MAX).await;
    assert_eq!(next, end);
    assert_eq!(seen.matches('x').count(), seen.matches('y').count(), "{seen}");
    assert_eq!(seen.split(' ').count() % 2, 1, "{seen}");
}

#[tokio::test]
async fn a_readers_position_is_kept_as_a_hint() {
    let Bench { queue, folder: _folder } = bench(|_| ()).await;
    assert_eq!(queue.committed("auditor", T).await.unwrap(), None);
    let end = append(&queue, "a").await;
    queue.commit("auditor", T, &Position::start(end.log)).await.unwrap();
    queue.commit("auditor", T, &end).await.unwrap();
    assert_eq!(queue.committed("auditor", T).await.unwrap(), Some(end));
    assert_eq!(queue.committed("applier", T).await.unwrap(), None);
}

#[tokio::test]
async fn lag_counts_what_is_still_to_be_read_and_its_age() {
    let Bench { queue, folder: _folder } = bench(|_| ()).await;
    let start = queue.first(T).await.unwrap();
    assert_eq!(queue.lag(T, &start).await.unwrap().oldest, None);
    let end = append(&queue, "a b").await;
    let first = queue.read(T, &start, 1, 1).await.unwrap().entries.remove(0);
    let lag = queue.lag(T, &start).await.unwrap();
    assert_eq!((lag.records, lag.oldest), (2, Some(first.at)));
    assert_eq!(queue.lag(T, &end).await.unwrap().records, 0);
}

#[tokio::test]
async fn only_its_user_may_read_the_file() {
    let Bench { queue, folder } = bench(|_| ()).await;
    append(&queue, "a").await;
    let mut seen = 0;
    for file in folder.path().read_dir().unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        seen += 1;
    }
    assert!(seen >= 2, "the write-ahead log is there too");
}

#[tokio::test]
async fn what_is_no_queue_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "no database, but long enough to be looked at as one ".repeat(10)).unwrap();
    assert!(matches!(Queue::embedded(&Config::new(&text)).await, Err(OpenError::Sqlite { .. })));
    let nowhere = folder.path().join("no/folder/queue.db");
    let error = Queue::embedded(&Config::new(&nowhere)).await.unwrap_err();
    assert!(error.to_string().ends_with("its folder must exist and be writable by this user"), "{error}");
}

#[tokio::test]
async fn a_handle_may_be_used_from_any_thread() {
    let Bench { queue, folder: _folder } = bench(|_| ()).await;
    let start = queue.first(T).await.unwrap();
    let reader = queue.clone();
    let read = tokio::spawn(async move { reader.next_batch(T, &start, 10, 1000).await.unwrap().next });
    let write = tokio::spawn(async move {
        let end = queue.append(T, Some(Fence(1, 1)), &entries("a")).await.unwrap().end;
        queue.put_latest(T, Fence(1, 1), &[("k".to_owned(), None)]).await.unwrap();
        queue.trim(T, 1, HOUR, 1).await.unwrap();
        end
    });
    assert_eq!(read.await.unwrap(), write.await.unwrap());
}
