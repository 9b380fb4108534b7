//! Sending parts, and learning what came of them.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use change::{ChangeId, Zxid};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use ulid::Ulid;
use uuid::Uuid;
use zookeeper_client::{CreateMode, Error as ZkError, MultiWriteError, MultiWriteResult, Stat};

use super::plan::{self, Limits, Part};
use super::{Conflict, Draft, Expect, PartFault, VersionedEdit, WriteError, WriteOp, WrittenPart};
use crate::read::ReadError;
use crate::session::{Session, is_lost, is_over};

/// Where an edit's own operations begin in its multi, behind those that every part has.
const RECORD: usize = 0;
const HEAD: usize = 1;
const GENERATION: usize = 2;
const FIRST: usize = 3;

/// One part on its way.
struct Sending<'a> {
    edits: Vec<&'a VersionedEdit>,
    id: String,
    of: String,
    part: u32,
    parts: u32,
    /// The edit record.
    record: Vec<u8>,
    bytes: usize,
}

/// What stands just before a part is sent.
struct Now {
    head: i32,
    generation: u64,
    generation_version: i32,
    conflicts: Vec<Conflict>,
}

enum Attempt {
    Written(Zxid, Vec<MultiWriteResult>),
    /// Another writer was faster.
    Raced,
    /// The connection was lost before the answer.
    Unanswered,
}

impl Session {
    /// Writes an edit: as many parts as `request_bytes_max` asks for, each one multi of its edit record, `head` and
    /// its paths. `progress` is called with (part, parts) after each. No edits, no parts.
    ///
    /// A part happens once, whole, or not at all, whatever becomes of the connection. Folders that are missing are
    /// made before, and may stay behind empty.
    ///
    /// # Errors
    /// [`WriteError`], which says what is written all the same.
    pub async fn write(
        &self,
        edits: &[VersionedEdit],
        draft: &Draft,
        mut progress: impl FnMut(u32, u32),
    ) -> Result<Vec<WrittenPart>, WriteError> {
        let plan = plan::plan(edits, draft, self.limits())?;
        let parts = u32::try_from(plan.len()).unwrap_or(u32::MAX);
        let mut written = Vec::with_capacity(plan.len());
        // An edit of several parts is refused before its first one if a later one cannot be written.
        if parts > 1
            && let Err(fault) = self.must_be_as_expected(edits).await
        {
            return Err(WriteError::Nothing(fault));
        }
        let ids = ascending_ids(plan.len());
        for ((part, id), number) in plan.iter().zip(&ids).zip(1..) {
            let sending = sending(edits, draft, part, id, &ids[0], (number, parts));
            match self.write_part(&sending).await {
                Ok(part) => written.push(part),
                Err(fault) if written.is_empty() => return Err(WriteError::Nothing(fault)),
                Err(fault) => return Err(WriteError::Partly { written, parts, fault }),
            }
            progress(number, parts);
        }
        Ok(written)
    }

    fn limits(&self) -> Limits {
        let acl = |acl: &zookeeper_client::Acl| 12 + acl.scheme().len() + acl.id().len();
        Limits {
            request_bytes: self.config().request_bytes_max,
            root_bytes: self.root().len(),
            acl_bytes: 4 + self.acls().iter().map(acl).sum::<usize>(),
        }
    }

    async fn must_be_as_expected(&self, edits: &[VersionedEdit]) -> Result<(), PartFault> {
        let conflicts = self.conflicts(edits.iter().collect()).await?;
        if conflicts.is_empty() { Ok(()) } else { Err(PartFault::Conflict(conflicts)) }
    }

    async fn write_part(&self, sending: &Sending<'_>) -> Result<WrittenPart, PartFault> {
        let attempts = self.config().attempts.max(1);
        let mut unknown = false;
        for attempt in 0..attempts {
            if attempt > 0 {
                tokio::time::sleep(jitter(attempt)).await;
            }
            let now = match self.now(sending).await {
                Ok(now) => now,
                Err(source) if unknown => return Err(self.unknown(sending, source)),
                Err(source) => return Err(source.into()),
            };
            if unknown && let Some(zxid) = self.find_record(sending).await? {
                return self.found(sending, zxid, now.generation).await;
            }
            if !now.conflicts.is_empty() {
                return Err(PartFault::Conflict(now.conflicts));
            }
            self.make_parents(&sending.edits).await?;
            match self.attempt(sending, &now).await? {
                Attempt::Written(zxid, results) => {
                    return Ok(sending.written(zxid, now.generation, &lives(&results)));
                }
                Attempt::Raced => {}
                Attempt::Unanswered => unknown = true,
            }
        }
        if !unknown {
            return Err(PartFault::Busy { attempts });
        }
        match self.find_record(sending).await? {
            Some(zxid) => {
                let now = self.now(sending).await.map_err(|source| self.unknown(sending, source))?;
                self.found(sending, zxid, now.generation).await
            }
            None => Err(PartFault::Unanswered { attempts, bytes: sending.bytes }),
        }
    }

    /// Looks at everything that the part depends on.
    async fn now(&self, sending: &Sending<'_>) -> Result<Now, ReadError> {
        let (generation, head, conflicts) = tokio::try_join!(
            self.read_generation(),
            self.stat("/head"),
            self.conflicts(sending.edits.clone())
        )?;
        let (Some((generation, found)), Some(head)) = (generation, head) else {
            return Err(ReadError::NotInitialised { root: self.root().to_owned() });
        };
        Ok(Now { head: head.version, generation: generation.n, generation_version: found.version, conflicts })
    }

    /// After an unknown outcome: the transaction that wrote the part, if it happened after all. It has to be asked
    /// after [`Session::now`], so that what it explains cannot be taken for somebody else's change; and should an
    /// attempt arrive later still, the next one fails on its edit record, which has the same name.
    async fn find_record(&self, sending: &Sending<'_>) -> Result<Option<Zxid>, PartFault> {
        let found = async {
            self.sync().await?;
            self.stat(&sending.record_path()).await
        };
        let stat = found.await.map_err(|source| self.unknown(sending, source))?;
        Ok(stat.map(|stat| Zxid(stat.czxid)))
    }

    /// A part that happened although nobody has answered. Which lives it has set is to be seen from those that stand:
    /// a later one began behind it and tells nothing.
    async fn found(
        &self,
        sending: &Sending<'_>,
        zxid: Zxid,
        generation: u64,
    ) -> Result<WrittenPart, PartFault> {
        let look = |edit: &&VersionedEdit| {
            let is_set = matches!((&edit.op, edit.expect), (WriteOp::Put { .. }, Expect::Is { .. }));
            let path = format!("/{}", edit.path.as_str());
            async move {
                let stat = if is_set { self.stat(&path).await? } else { None };
                Ok::<_, ReadError>(stat.map(|stat| stat.czxid).filter(|czxid| *czxid < zxid.0))
            }
        };
        let in_flight = self.config().reads_in_flight.max(1);
        let lives = stream::iter(sending.edits.iter().map(look)).buffered(in_flight).try_collect::<Vec<_>>();
        let lives = lives.await.map_err(|source| self.unknown(sending, source))?;
        Ok(sending.written(zxid, generation, &lives))
    }

    fn unknown(&self, sending: &Sending<'_>, source: ReadError) -> PartFault {
        PartFault::Unknown { edit: self.absolute(&sending.record_path()), source }
    }

    async fn conflicts(&self, edits: Vec<&VersionedEdit>) -> Result<Vec<Conflict>, ReadError> {
        let look = |edit: &VersionedEdit| {
            let (path, expected) = (edit.path.clone(), edit.expect);
            async move {
                let found = match self.stat(&format!("/{}", path.as_str())).await? {
                    Some(stat) => Expect::Is { czxid: stat.czxid, version: stat.version },
                    None => Expect::Absent,
                };
                Ok::<_, ReadError>((found != expected).then_some(Conflict { path, expected, found }))
            }
        };
        let in_flight = self.config().reads_in_flight.max(1);
        stream::iter(edits.into_iter().map(look))
            .buffered(in_flight)
            .try_filter_map(async |conflict| Ok(conflict))
            .try_collect()
            .await
    }

    async fn stat(&self, path: &str) -> Result<Option<Stat>, ReadError> {
        let stat = self.again(|| self.client().check_stat(path)).await;
        stat.map_err(|source| self.read_error(path, source))
    }

    /// Makes the folders that new znodes stand in.
    async fn make_parents(&self, edits: &[&VersionedEdit]) -> Result<(), PartFault> {
        let options = CreateMode::Persistent.with_acls(self.acls());
        for parent in parents(edits) {
            if self.stat(&parent).await?.is_some() {
                continue;
            }
            match self.again(|| self.client().mkdir(&parent, &options)).await {
                Ok(()) => {}
                Err(source) if is_over(&source) => return Err(self.read_error(&parent, source).into()),
                Err(source) => return Err(PartFault::Refused { path: self.absolute(&parent), source }),
            }
        }
        Ok(())
    }

    async fn attempt(&self, sending: &Sending<'_>, now: &Now) -> Result<Attempt, PartFault> {
        let refused = |path: &str, source| PartFault::Refused { path: self.absolute(path), source };
        let commit = self.multi(sending, now).map_err(|source| refused("/", source))?;
        let error = match commit.await {
            Ok(results) => {
                let zxid = match results.get(HEAD) {
                    Some(MultiWriteResult::SetData { stat }) => stat.mzxid,
                    _ => return Ok(Attempt::Unanswered),
                };
                return Ok(Attempt::Written(Zxid(zxid), results));
            }
            Err(error) => error,
        };
        let (index, source) = match error {
            // Sent, and no answer: it may have happened.
            MultiWriteError::RequestFailed { source } if is_lost(&source) => return Ok(Attempt::Unanswered),
            MultiWriteError::RequestFailed { source } if is_over(&source) => {
                return Err(self.unknown(sending, self.read_error(&sending.record_path(), source)));
            }
            MultiWriteError::RequestFailed { source } => return Err(refused("/", source)),
            MultiWriteError::OperationFailed { index, source } => (index, source),
        };
        match (index, source) {
            // Our own record: an attempt that was given up for lost has come through after all.
            (RECORD, ZkError::NodeExists) => Ok(Attempt::Unanswered),
            (HEAD, ZkError::BadVersion) => Ok(Attempt::Raced),
            (GENERATION, ZkError::BadVersion | ZkError::NoNode) => Err(PartFault::Generation),
            (RECORD | HEAD, ZkError::NoNode) => {
                Err(ReadError::NotInitialised { root: self.root().to_owned() }.into())
            }
            (RECORD | HEAD | GENERATION, source) => {
                Err(refused(["/edits", "/head", "/generation"][index], source))
            }
            // Changed since the look just before: the next look tells how.
            (_, ZkError::BadVersion | ZkError::NoNode | ZkError::NodeExists) => Ok(Attempt::Raced),
            (index, source) => {
                let path = sending.edits.get(index - FIRST).map_or("", |edit| edit.path.as_str());
                Err(refused(&format!("/{path}"), source))
            }
        }
    }

    /// Puts the multi on the wire: edit record, head, generation, then the edits in their order.
    fn multi(
        &self,
        sending: &Sending<'_>,
        now: &Now,
    ) -> Result<impl Future<Output = Result<Vec<MultiWriteResult>, MultiWriteError>>, ZkError> {
        let options = CreateMode::Persistent.with_acls(self.acls());
        let mut multi = self.client().new_multi_writer();
        multi.add_create(&sending.record_path(), &sending.record, &options)?;
        multi.add_set_data("/head", sending.id.as_bytes(), Some(now.head))?;
        multi.add_check_version("/generation", now.generation_version)?;
        for edit in &sending.edits {
            let path = format!("/{}", edit.path.as_str());
            match (&edit.op, edit.expect) {
                (WriteOp::Put { bytes }, Expect::Absent) => multi.add_create(&path, bytes, &options)?,
                (WriteOp::Put { bytes }, Expect::Is { version, .. }) => {
                    multi.add_set_data(&path, bytes, Some(version))?;
                }
                (WriteOp::Delete, Expect::Is { version, .. }) => multi.add_delete(&path, Some(version))?,
                // The plan has refused it.
                (WriteOp::Delete, Expect::Absent) => {}
            }
        }
        Ok(multi.commit())
    }
}

impl Sending<'_> {
    fn record_path(&self) -> String {
        format!("/edits/{}", self.id)
    }

    /// What became of it. The version checks of the multi tell the versions, its zxid the czxid of what it created
    /// (ZooKeeper: every operation of one multi has the same zxid; create's own Stat is not valid before 3.8.2). `lives`
    /// are the czxids of what it set, by edit, as far as they are known.
    fn written(&self, zxid: Zxid, generation: u64, lives: &[Option<i64>]) -> WrittenPart {
        let change = |edit: &&VersionedEdit| {
            let (czxid, version) = match (&edit.op, edit.expect) {
                (WriteOp::Put { .. }, Expect::Absent) => (zxid.0, Some(0)),
                (WriteOp::Put { .. }, Expect::Is { czxid, version }) => {
                    (czxid, Some(version.wrapping_add(1)))
                }
                (WriteOp::Delete, Expect::Is { czxid, .. }) => (czxid, None),
                (WriteOp::Delete, Expect::Absent) => (zxid.0, None),
            };
            ChangeId { generation, path: edit.path.clone(), czxid, version }
        };
        let mut changes: Vec<ChangeId> = self.edits.iter().map(change).collect();
        let mut overwrote = Vec::new();
        for (change, life) in changes.iter_mut().zip(lives) {
            if let Some(czxid) = life
                && *czxid != change.czxid
            {
                change.czxid = *czxid;
                overwrote.push(change.path.clone());
            }
        }
        WrittenPart {
            id: self.id.clone(),
            of: self.of.clone(),
            part: self.part,
            parts: self.parts,
            zxid,
            changes,
            overwrote,
        }
    }
}

/// The lives that a multi says it has set.
fn lives(results: &[MultiWriteResult]) -> Vec<Option<i64>> {
    let life = |result: &MultiWriteResult| match result {
        MultiWriteResult::SetData { stat } => Some(stat.czxid),
        _ => None,
    };
    results.iter().skip(FIRST).map(life).collect()
}

fn sending<'a>(
    edits: &'a [VersionedEdit],
    draft: &Draft,
    part: &Part,
    id: &str,
    of: &str,
    number: (u32, u32),
) -> Sending<'a> {
    let edits: Vec<&VersionedEdit> = part.edits.iter().map(|&at| &edits[at]).collect();
    let lines = edits.iter().map(|edit| plan::line(edit)).collect();
    let record = plan::to_json(&plan::record(draft, id, of, number, lines));
    Sending {
        edits,
        id: id.to_owned(),
        of: of.to_owned(),
        part: number.0,
        parts: number.1,
        record,
        bytes: part.bytes,
    }
}

/// The folders that znodes are to be created in, each once.
fn parents(edits: &[&VersionedEdit]) -> BTreeSet<String> {
    let created = edits.iter().filter(|edit| edit.expect == Expect::Absent);
    created
        .filter_map(|edit| edit.path.as_str().rsplit_once('/'))
        .map(|(parent, _)| format!("/{parent}"))
        .collect()
}

/// ULIDs of one moment in ascending order, so that the parts of an edit sort as they were written.
fn ascending_ids(count: usize) -> Vec<String> {
    let mut id = Ulid::from_datetime(SystemTime::now());
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        ids.push(id.to_string());
        // The random part is used up once in 2^80 times; a new one then sorts by luck.
        id = id.increment().unwrap_or_else(|_| Ulid::generate());
    }
    ids
}

/// A pause of up to 10 ms, 20 ms and so on, so that writers who met do not meet again.
fn jitter(attempt: u32) -> Duration {
    let random = u64::from(Uuid::new_v4().as_fields().0);
    Duration::from_micros(random % (u64::from(attempt) * 10_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(czxid: i64) -> Stat {
        Stat {
            czxid,
            mzxid: 90,
            pzxid: 0,
            ctime: 0,
            mtime: 0,
            version: 5,
            cversion: 0,
            aversion: 0,
            ephemeral_owner: 0,
            data_length: 0,
            num_children: 0,
        }
    }

    #[test]
    fn a_life_that_was_not_the_expected_one_is_told_afterwards() {
        let put = |path: &str| VersionedEdit {
            path: path.parse().unwrap(),
            op: WriteOp::Put { bytes: vec![] },
            expect: Expect::Is { czxid: 7, version: 4 },
            group: None,
        };
        let edits = [put("assets/main/charts/a"), put("assets/main/charts/b")];
        let part = Part { edits: vec![0, 1], bytes: 0 };
        let sending = sending(&edits, &Draft::default(), &part, "id", "id", (1, 1));
        let set = |czxid| MultiWriteResult::SetData { stat: stat(czxid) };
        let results =
            [MultiWriteResult::Check, MultiWriteResult::Check, MultiWriteResult::Check, set(7), set(80)];
        let written = sending.written(Zxid(90), 1, &lives(&results));
        assert_eq!(written.overwrote, [edits[1].path.clone()]);
        let ids: Vec<String> = written.changes.iter().map(ChangeId::to_string).collect();
        assert_eq!(ids, ["1:assets/main/charts/a@7.5", "1:assets/main/charts/b@80.5"]);
    }

    #[test]
    fn ids_of_one_edit_ascend() {
        let ids = ascending_ids(100);
        assert!(ids.is_sorted_by(|a, b| a < b));
    }
}
