//! Several processes on one file. The other process is this test binary, started again to run one test.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use queue::{Config, Entry, NewEntry, Position, Queue};

const T: &str = "env.changes";
const DEADLINE: Duration = Duration::from_secs(30);
const FILE: &str = "QUEUE_TEST_FILE";
const COUNT: &str = "QUEUE_TEST_APPENDS";

/// Entries of one append of the other process.
const EACH: usize = 5;

fn entry(key: &str, number: usize) -> NewEntry {
    NewEntry { key: key.to_owned(), headers: String::new(), body: number.to_string().into_bytes() }
}

/// Another process that appends `count` times.
fn appender(file: &Path, count: usize) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "as_the_other_process_it_appends_what_its_environment_asks"])
        .env(FILE, file)
        .env(COUNT, count.to_string())
        .stdout(Stdio::null())
        .spawn()
        .expect("the other process")
}

#[tokio::test]
async fn as_the_other_process_it_appends_what_its_environment_asks() {
    let (Ok(file), Ok(count)) = (std::env::var(FILE), std::env::var(COUNT)) else { return };
    let queue = Queue::embedded(&Config::new(file)).await.unwrap();
    for number in 0..count.parse().unwrap() {
        let entries: Vec<_> = (0..EACH).map(|part| entry("child", number * EACH + part)).collect();
        queue.append(T, None, &entries).await.unwrap();
    }
}

/// Reads on until there are `count` records.
async fn read(queue: &Queue, from: &Position, count: usize) -> (Vec<Entry>, Position) {
    let mut all = Vec::new();
    let mut next = *from;
    while all.len() < count {
        let batch = queue.next_batch(T, &next, 7, 1 << 20);
        let batch = tokio::time::timeout(DEADLINE, batch).await.expect("records in time").expect("a read");
        next = batch.next;
        all.extend(batch.entries);
    }
    (all, next)
}

/// What one writer has written, in the order read.
fn numbers(entries: &[Entry], key: &str) -> Vec<usize> {
    let of_key = entries.iter().filter(|entry| entry.key == key);
    of_key.map(|entry| String::from_utf8_lossy(&entry.body).parse().expect("a number")).collect()
}

#[tokio::test]
async fn processes_see_each_others_records_in_one_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let queue = Queue::embedded(&Config::new(&path)).await.unwrap();
    let start = queue.first(T).await.unwrap();
    let mut others = [appender(&path, 40), appender(&path, 40)];
    for number in 0..100 {
        queue.append(T, None, &[entry("own", number)]).await.unwrap();
    }
    let (entries, end) = read(&queue, &start, 100 + 2 * 40 * EACH).await;
    for other in &mut others {
        assert!(other.wait().unwrap().success());
    }
    assert_eq!(end, queue.end(T).await.unwrap());
    assert!(entries.iter().map(|entry| entry.offset).eq(1..=500));
    assert!(numbers(&entries, "own").into_iter().eq(0..100));
    let mut child = numbers(&entries, "child");
    child.sort_unstable();
    assert!(child.into_iter().eq((0..200).flat_map(|number| [number, number])));
}

#[tokio::test]
async fn a_writer_killed_in_the_middle_leaves_whole_appends_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let queue = Queue::embedded(&Config::new(&path)).await.unwrap();
    let start = queue.first(T).await.unwrap();
    let mut from = start;
    for wanted in [1, 20, 55] {
        let mut other = appender(&path, 1_000_000);
        from = read(&queue, &from, wanted).await.1;
        other.kill().unwrap();
        other.wait().unwrap();
        let own = queue.append(T, None, &[entry("own", wanted)]).await.unwrap();
        from = read(&queue, &from, usize::try_from(own.end.offset - from.offset).unwrap()).await.1;
        assert_eq!(from, own.end);
    }
    let (entries, _) = read(&queue, &start, usize::try_from(from.offset - 1).unwrap()).await;
    let mut whole = entries.split(|entry| entry.key == "own");
    for run in whole.by_ref().take(3) {
        assert_eq!(run.len() % EACH, 0, "appends are whole");
        assert!(numbers(run, "child").into_iter().eq(0..run.len()), "in order");
    }
}
