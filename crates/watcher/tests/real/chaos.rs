//! A seeded run of writes under cut connections, killed watchers, a killed server and a full queue, with resyncs on request.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use change::{Op, Record, ZnodePath};
use watcher::Phase;

use super::bench::{Bench, chart};
use super::faults::relieve;
use super::proxy::Proxy;

/// xorshift64*: the same run for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Seeded by `SEED`, else by chance; prints the seed.
    pub(crate) fn seeded() -> Random {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 | 1);
        println!("SEED={seed}");
        Random(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

/// What was done, to be held against what is on record.
#[derive(Default)]
pub(crate) struct Done {
    edits: BTreeSet<String>,
    deleted: BTreeSet<(ZnodePath, i64)>,
}

impl Done {
    /// Each edit is on record once, and no delete is but of a life that was deleted.
    pub(crate) fn verify(self, bench: &Bench) {
        let mut edits = Vec::new();
        for (_, record) in &bench.records {
            let Record::Txn(txn) = record else { continue };
            edits.extend(txn.edit.as_ref().map(|edit| edit.id.clone()));
            for one in &txn.changes {
                if let Op::Delete { .. } = one.op {
                    assert!(
                        self.deleted.contains(&(one.path.clone(), one.czxid)),
                        "{} @{}",
                        one.path,
                        one.czxid
                    );
                }
            }
        }
        let mut missing = self.edits;
        let repeated: Vec<String> = edits.into_iter().filter(|id| !missing.remove(id)).collect();
        assert!(missing.is_empty() && repeated.is_empty(), "missing {missing:?}, repeated {repeated:?}");
    }
}

pub(crate) async fn write(bench: &mut Bench, random: &mut Random, done: &mut Done, step: u64) {
    let mut operations = Vec::new();
    let names: BTreeSet<String> = (0..=random.below(3)).map(|_| format!("n{}", random.below(12))).collect();
    for name in names {
        let stat =
            bench.writer.client().check_stat(&format!("/assets/main/charts/{name}")).await.expect("a look");
        operations.push(match stat {
            None => format!("+{name}"),
            Some(stat) if random.below(3) == 0 => {
                done.deleted.insert((chart(&name), stat.czxid));
                format!("-{name}")
            }
            Some(_) => format!("={name}"),
        });
    }
    if random.below(2) == 0 {
        let id = format!("e{step:05}");
        bench.edit(&id, &operations.iter().map(String::as_str).collect::<Vec<_>>()).await;
        done.edits.insert(id);
    } else {
        for operation in operations {
            match operation.split_at(1) {
                ("-", name) => bench.delete(name).await,
                (_, name) => bench.put(name, &step.to_string()).await,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_faults_all_edits_are_on_record_once_and_only_real_deletes_are() {
    let (mut random, mut done) = (Random::seeded(), Done::default());
    let mut bench = Bench::with_queue(|queue| queue.max_records = 60).await;
    let proxy = Proxy::start(bench.zookeeper.connect()).await;
    let supervised = bench.supervise(&proxy.address());
    supervised.reach(Phase::Streaming).await;
    let mut full = 0;
    for step in 0..600 {
        full += u32::from(supervised.stats.state.borrow().state == Phase::Full);
        match random.below(60) {
            0 => proxy.cut(),
            1 | 2 => proxy.mend(),
            3 | 4 => supervised.kill(),
            5 if random.below(3) == 0 => {
                bench.zookeeper.restart().await.expect("a restart");
                bench.reconnect().await;
            }
            6 => {
                proxy.mend();
                relieve(&mut bench, &supervised.stats).await;
            }
            7 => {
                bench.until_end().await;
                bench.trim().await;
            }
            8 if random.below(3) == 0 => {
                bench.writer.request_resync("a test").await.expect("a request");
            }
            _ => write(&mut bench, &mut random, &mut done, step).await,
        }
    }
    proxy.mend();
    // The last on record, whichever way the others come: an edit's record may hold later versions of its paths.
    bench.put("last", "1").await;
    bench.until_equal_trimming().await;
    assert!(full > 0, "the queue was never full");
    let misses = supervised.stats.silent_misses.load(Ordering::Relaxed);
    assert_eq!(misses, 0, "silent misses");
    supervised.stop().await;
    done.verify(&bench);
}
