//! Any interleaving of appends, reads and trims gives every reader the same sequence.

use std::time::Duration;

use proptest::prelude::*;
use queue::{Config, Fence, NewEntry, Position, Queue};

const T: &str = "env.changes";
const READERS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<u8>),
    Read {
        reader: usize,
        records: usize,
        bytes: u64,
    },
    /// Up to the slowest reader, as whoever trims must.
    Trim {
        rows: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..5).prop_map(Step::Append),
        5 => (0..READERS, 0..4_usize, 0..200_u64)
            .prop_map(|(reader, records, bytes)| Step::Read { reader, records, bytes }),
        1 => (0..4_usize).prop_map(|rows| Step::Trim { rows }),
    ];
    prop::collection::vec(step, 1..25)
}

async fn check(steps: Vec<Step>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let queue = Queue::embedded(&Config::new(folder.path().join("queue.db"))).await.expect("the queue opens");
    let mut appended: Vec<Vec<u8>> = Vec::new();
    let mut readers = [(queue.first(T).await.expect("a topic"), 0_usize); READERS];
    for step in steps {
        match step {
            Step::Append(sizes) => {
                let bodies: Vec<Vec<u8>> = sizes.iter().map(|size| vec![*size; usize::from(*size)]).collect();
                let entries: Vec<NewEntry> = bodies.iter().map(|body| new(body)).collect();
                queue.append(T, Some(Fence(1, 1)), &entries).await.expect("an append");
                appended.extend(bodies);
            }
            Step::Read { reader, records, bytes } => {
                readers[reader] = read(&queue, &appended, readers[reader], records, bytes).await;
            }
            Step::Trim { rows } => {
                let below = readers.iter().map(|(position, _)| position.offset).min().expect("readers");
                queue.trim(T, below, Duration::ZERO, rows).await.expect("a trim");
            }
        }
    }
    for reader in readers {
        let (end, count) = read(&queue, &appended, reader, usize::MAX, u64::MAX).await;
        assert_eq!(count, appended.len());
        assert_eq!(end, queue.end(T).await.expect("an end"));
    }
}

fn new(body: &[u8]) -> NewEntry {
    NewEntry { key: String::new(), headers: String::new(), body: body.to_vec() }
}

/// Reads once, compares with what was appended, and returns where the reader stands, by position and by count.
async fn read(
    queue: &Queue,
    appended: &[Vec<u8>],
    (position, count): (Position, usize),
    records: usize,
    bytes: u64,
) -> (Position, usize) {
    let position = position.to_string().parse().expect("its own text form");
    let batch = queue.read(T, &position, records, bytes).await.expect("a read");
    assert!(batch.entries.len() <= records);
    for (entry, body) in batch.entries.iter().zip(&appended[count..]) {
        assert_eq!(&entry.body, body);
    }
    (batch.next, count + batch.entries.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_reader_sees_the_same_sequence(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(check(steps));
    }
}
