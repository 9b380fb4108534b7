//! One Superset metadata database, with its ledger: work goes in, outcomes come out.

use std::collections::{BTreeMap, BTreeSet};

use asset::Document;
use change::{ChangeId, Fence, Millis, Outcome, Verdict, ZnodePath};
use jiff::tz::TimeZone;
use superset::{Cipher, Schema, Spot};
use time::{Date, PrimitiveDateTime, Time};

use crate::book::{Ledger, State, Stream, Until};
use crate::decide::{self, Plan, Shortfall};
use crate::fail::{Broken, Fail, compute_long};
use crate::ledger::{LedgerError, Tables};
use crate::observe::ObserveError;
use crate::secrets::SecretSources;
use crate::transact::{self, Examined, Failure, Pace, Terms};
use crate::work::{self, Policy, Rejection, Selection, Work};

/// How a target is written.
#[derive(Debug, Clone)]
pub struct TargetConfig {
    /// The target's name; its ledger must have the same.
    pub name: String,
    /// The environment, which outcomes name as their source.
    pub env: String,
    /// With the SECRET_KEY of this Superset.
    pub cipher: Cipher,
    /// The timezone of Superset's processes: its times are naive and local. Default UTC.
    pub timezone: TimeZone,
    /// Drivers that databases may use. Default [`superset::DRIVERS`].
    pub drivers: BTreeSet<String>,
    /// The ledger's schema, if it has one of its own (PostgreSQL). Default `None`.
    pub ledger_schema: Option<String>,
    /// What is allowed.
    pub policy: Policy,
    /// Where secrets come from.
    pub secrets: SecretSources,
    /// Rounds of asking and observing. Default 4.
    pub rounds: usize,
    /// How often a transaction is tried that others got in the way of. Default 3.
    pub attempts: usize,
    /// Where to die, in crash tests. Default `None`.
    pub fail: Option<Fail>,
    /// What to do wrong, in tests of the checkers. Default `None`.
    #[cfg(feature = "broken")]
    pub broken: Option<Broken>,
}

impl TargetConfig {
    /// The defaults, for a target.
    #[must_use]
    pub fn new(name: impl Into<String>, env: impl Into<String>, cipher: Cipher) -> TargetConfig {
        TargetConfig {
            name: name.into(),
            env: env.into(),
            cipher,
            timezone: TimeZone::UTC,
            drivers: superset::DRIVERS.iter().map(|driver| (*driver).to_owned()).collect(),
            ledger_schema: None,
            policy: Policy::default(),
            secrets: SecretSources::default(),
            rounds: 4,
            attempts: 3,
            fail: None,
            #[cfg(feature = "broken")]
            broken: None,
        }
    }

    #[cfg(feature = "broken")]
    fn broken(&self) -> Option<Broken> {
        self.broken
    }

    #[cfg(not(feature = "broken"))]
    #[expect(clippy::unused_self, reason = "the same call as with the feature `broken`")]
    fn broken(&self) -> Option<Broken> {
        None
    }
}

/// Why a target must not be written.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database cannot be reached or read.
    #[error("look at target `{target}`")]
    Sql {
        /// The target.
        target: String,
        /// What it said.
        #[source]
        source: Box<sql::Error>,
    },
    /// Not a Superset that we know how to write.
    #[error("look at target `{target}`")]
    Superset {
        /// The target.
        target: String,
        /// What is wrong.
        #[source]
        source: Box<ObserveError>,
    },
    /// The ledger is not there, or cannot be read.
    #[error("open the ledger of target `{target}`")]
    Ledger {
        /// The target.
        target: String,
        /// What is wrong.
        #[source]
        source: Box<LedgerError>,
    },
    /// Another target's ledger: a cloned database.
    #[error(
        "open target `{target}`: its database holds the ledger of target `{found}`; if it is a copy, drop its \
         four tables setkeeper_* and run `setkeeper init-db`, else correct the target's name or url"
    )]
    OtherTarget {
        /// The target.
        target: String,
        /// The name there.
        found: String,
    },
    /// The SECRET_KEY is not this Superset's.
    #[error(
        "open target `{target}`: a secret that Superset stored cannot be decrypted; correct the target's `secret_key`: it \
         must lead to the SECRET_KEY that this Superset runs with"
    )]
    SecretKey {
        /// The target.
        target: String,
    },
}

/// Why a piece of work was not applied. Nothing of it was committed, unless said otherwise.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A newer applier is at work: this one's term is over.
    #[error("write target `{target}` under fence {fence}: a newer applier has taken over")]
    Fenced {
        /// The target.
        target: String,
        /// Our fence.
        fence: Fence,
    },
    /// The ledger does not stand where this worker left it: the database was restored, or somebody else wrote.
    #[error(
        "write target `{target}`: its ledger stands at {found}, this worker left it at {left}; it starts again \
         from there"
    )]
    Moved {
        /// The target.
        target: String,
        /// Where it stands.
        found: String,
        /// Where we left it.
        left: String,
    },
    /// Superset was upgraded while we ran.
    #[error("write target `{target}`: Superset's schema is now `{version}`; look at it anew")]
    Upgraded {
        /// The target.
        target: String,
        /// `alembic_version`.
        version: String,
    },
    /// Too much is pending.
    #[error(
        "write target `{target}`: {pending} changes would be pending, more than `pending_max`; mend them (see \
         `setkeeper status`) or raise it"
    )]
    Full {
        /// The target.
        target: String,
        /// How many.
        pending: usize,
    },
    /// Several records together cannot be applied: fewer at a time may be, and one alone shows what hinders it.
    #[error("write target `{target}`: several records cannot be applied at once; fewer must be tried")]
    Split {
        /// The target.
        target: String,
        /// Why.
        #[source]
        source: Box<ApplyError>,
    },
    /// Somebody else keeps removing rows that were looked at.
    #[error("write target `{target}`: rows that were looked at are removed meanwhile, again and again")]
    Vanished {
        /// The target.
        target: String,
    },
    /// The database said no.
    #[error("write target `{target}`")]
    Sql {
        /// The target.
        target: String,
        /// What it said.
        #[source]
        source: Box<sql::Error>,
    },
    /// The connection was lost in COMMIT, and nothing was committed.
    #[error("write target `{target}`")]
    Commit {
        /// The target.
        target: String,
        /// What it said.
        #[source]
        source: Box<sql::CommitError>,
    },
    /// Superset's rows could not be looked at.
    #[error("write target `{target}`")]
    Observe {
        /// The target.
        target: String,
        /// What is wrong.
        #[source]
        source: Box<ObserveError>,
    },
    /// The ledger could not be read.
    #[error("write target `{target}`")]
    Ledger {
        /// The target.
        target: String,
        /// What is wrong.
        #[source]
        source: Box<LedgerError>,
    },
    /// A fault of setkeeper.
    #[error("write target `{target}`: {what}; report this as a fault of setkeeper")]
    Internal {
        /// The target.
        target: String,
        /// What is wrong.
        what: String,
    },
}

/// One target. It holds its ledger in memory, which nobody else writes under a fence that is ours.
#[derive(Debug)]
pub struct Target {
    config: TargetConfig,
    database: sql::Database,
    tables: Tables,
    schema: Schema,
    ledger: Ledger,
    /// The change, refused by the database, that was tried again last.
    retried: Option<ChangeId>,
}

impl Target {
    /// Reads the ledger, and proves that this target may be written: its name, Superset's schema, the SECRET_KEY.
    /// Writes nothing.
    ///
    /// # Errors
    /// See [`OpenError`], which says what to do.
    pub async fn open(database: sql::Database, config: TargetConfig) -> Result<Target, OpenError> {
        let tables = Tables::new(config.ledger_schema.as_deref(), database.dialect());
        let target = || config.name.clone();
        let examined = transact::examine(&database, &tables).await;
        let Examined { ledger, schema, stored_secrets } = examined.map_err(|failure| match failure {
            Failure::Sql(source) => OpenError::Sql { target: target(), source: source.into() },
            Failure::Observe(source) => OpenError::Superset { target: target(), source: source.into() },
            Failure::Ledger(source) => OpenError::Ledger { target: target(), source: source.into() },
            other => OpenError::Ledger { target: target(), source: strange(&other).into() },
        })?;
        if ledger.stream.name != config.name {
            return Err(OpenError::OtherTarget { target: target(), found: ledger.stream.name });
        }
        if stored_secrets.iter().any(|stored| config.cipher.decrypt(stored).is_err()) {
            return Err(OpenError::SecretKey { target: target() });
        }
        Ok(Target { config, database, tables, schema, ledger, retried: None })
    }

    /// The target's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The ledger as this worker knows it.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Superset's schema, as found.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Applies a piece of work in one transaction and returns what it came to, in order. The outcomes are in the
    /// outbox too, until [`Target::forget_outcomes`].
    ///
    /// Not cancel-safe: dropped half-way, it may or may not have been committed, and the target must be opened
    /// anew.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn apply(&mut self, work: &Work, fence: Fence) -> Result<Vec<Outcome>, ApplyError> {
        let refused = self.refused(work);
        let failure = match self.attempt(work, fence, &refused, Pace::Together).await {
            Ok(outcomes) => return Ok(outcomes),
            Err(failure) => failure,
        };
        match work {
            Work::Records { records, .. } if records.len() > 1 && may_pass_in_parts(&failure) => {
                let source = Box::new(self.error(fence, failure));
                Err(ApplyError::Split { target: self.config.name.clone(), source })
            }
            Work::Records { .. } | Work::Reconcile(_) => match failure {
                Failure::Refused { .. } => self.find_guilty(work, fence, refused).await,
                other => Err(self.error(fence, other)),
            },
        }
    }

    /// The changes that the database has refused and that are not to be tried now: all but one of them, in turn, so
    /// that a look at what is pending costs the same however many there are.
    fn refused(&mut self, work: &Work) -> BTreeMap<ChangeId, State> {
        if !matches!(work, Work::Reconcile(Selection::Pending)) {
            return BTreeMap::new();
        }
        let pending = self.ledger.pending().iter();
        let pending = pending.filter_map(|path| self.ledger.entries().get(path)?.pending.as_ref());
        let is_refused =
            |state: &State| matches!(state, State::Rejected { until: Until::DatabaseTakesIt, .. });
        let mut refused: BTreeMap<ChangeId, State> = pending
            .filter(|pending| is_refused(&pending.state))
            .map(|pending| (pending.id.clone(), pending.state.clone()))
            .collect();
        let last = self.retried.take();
        let next = refused.keys().find(|id| last.as_ref().is_none_or(|last| *id > last));
        self.retried = next.or_else(|| refused.keys().next()).cloned();
        if let Some(next) = &self.retried {
            refused.remove(next);
        }
        refused
    }

    /// Finds the changes whose statements the database refuses, one after the other, so that they alone are rejected.
    async fn find_guilty(
        &mut self,
        work: &Work,
        fence: Fence,
        mut refused: BTreeMap<ChangeId, State>,
    ) -> Result<Vec<Outcome>, ApplyError> {
        loop {
            let (error, plan, spot) = match self.attempt(work, fence, &refused, Pace::Singly).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(Failure::Refused { error, plan, spot }) => (error, plan, spot),
                Err(other) => return Err(self.error(fence, other)),
            };
            let guilty = guilty(&plan, spot.as_deref(), &refused);
            if guilty.is_empty() {
                return Err(ApplyError::Sql { target: self.config.name.clone(), source: error.into() });
            }
            let state = Rejection::by_database(&said(&error)).state();
            refused.extend(guilty.into_iter().map(|id| (id, state.clone())));
        }
    }

    /// One transaction, tried again while others get in its way. A unique value that another row has is tried once
    /// more: if somebody has made that row meanwhile, it is known by then.
    async fn attempt(
        &mut self,
        work: &Work,
        fence: Fence,
        refused: &BTreeMap<ChangeId, State>,
        pace: Pace,
    ) -> Result<Vec<Outcome>, Failure> {
        let mut left = self.config.attempts.max(1);
        let mut is_known = false;
        loop {
            left -= 1;
            match self.attempt_once(work, fence, refused, pace).await {
                Err(Failure::Sql(error)) if error.class() == sql::Class::Conflict && left > 0 => {}
                Err(Failure::Vanished) if left > 0 => {}
                Err(Failure::Refused { error, .. })
                    if error.is_unique_violation() && !is_known && left > 0 =>
                {
                    is_known = true;
                }
                other => return other,
            }
        }
    }

    async fn attempt_once(
        &mut self,
        work: &Work,
        fence: Fence,
        refused: &BTreeMap<ChangeId, State>,
        pace: Pace,
    ) -> Result<Vec<Outcome>, Failure> {
        let mut brief = work::brief(work, &self.ledger, &self.config.policy);
        self.load_documents(&brief.load).await?;
        work::add_loaded(&mut brief, &self.ledger);
        let documents: Vec<&Document> = brief.documents();
        let deletes: Vec<_> = brief.deletes.iter().copied().collect();
        let mut facts = superset::Facts::new(self.schema.clone(), self.config.cipher.clone(), self.now());
        facts.secrets = self.config.secrets.resolve(brief.secrets());
        facts.drivers.clone_from(&self.config.drivers);
        facts.managed = self.ledger.managed();
        let terms = Terms {
            tables: self.tables.clone(),
            env: self.config.env.clone(),
            fence,
            rounds: self.config.rounds,
            pace,
            fail: self.config.fail,
            broken: self.config.broken(),
        };
        let ask = |facts: &superset::Facts| superset::ask(&documents, &deletes, facts);
        let decide = |rows: superset::Facts| {
            if self.config.broken() == Some(Broken::ComputesLong) {
                compute_long();
            }
            let facts = decide::Facts {
                rows,
                ledger: &self.ledger,
                brief: &brief,
                policy: &self.config.policy,
                fence,
                refused,
                broken: self.config.broken(),
            };
            decide::decide(work, facts)
        };
        let stood = &self.ledger.stream;
        let plan = transact::transact(&self.database, &terms, stood, facts, ask, decide).await?;
        let paths: Vec<ZnodePath> = plan.changes.keys().cloned().collect();
        self.ledger.take_in(plan.changes, plan.stream);
        self.ledger.forget_documents(paths.iter().chain(&brief.load));
        Ok(plan.outcomes)
    }

    async fn load_documents(&mut self, paths: &BTreeSet<ZnodePath>) -> Result<(), Failure> {
        let missing = |path: &&ZnodePath| {
            let applied = self.ledger.entries().get(*path).and_then(|entry| entry.applied.as_ref());
            applied.is_some_and(|applied| applied.asset.is_some() && applied.document.is_none())
        };
        let missing: Vec<ZnodePath> = paths.iter().filter(missing).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        for (path, document) in transact::documents(&self.database, &self.tables, &missing).await? {
            self.ledger.remember_document(&path, document);
        }
        Ok(())
    }

    /// Now as Superset writes it: naive, in the timezone of its processes.
    fn now(&self) -> PrimitiveDateTime {
        let now = self.config.timezone.to_datetime(jiff::Timestamp::now());
        let date = u8::try_from(now.month()).ok().and_then(|month| {
            let month = time::Month::try_from(month).ok()?;
            Date::from_calendar_date(now.year().into(), month, u8::try_from(now.day()).ok()?).ok()
        });
        let small = |value: i8| u8::try_from(value).unwrap_or(0);
        let micros = u32::try_from(now.subsec_nanosecond() / 1_000).unwrap_or(0);
        let time = Time::from_hms_micro(small(now.hour()), small(now.minute()), small(now.second()), micros);
        PrimitiveDateTime::new(date.unwrap_or(Date::MIN), time.unwrap_or(Time::MIDNIGHT))
    }

    /// Outcomes that were committed and not forgotten, oldest first: at most `count`. With each its sequence.
    pub(crate) async fn unrelayed(&self, count: u64) -> Result<Vec<crate::outbox::Parcel>, ApplyError> {
        let parcels = transact::unrelayed(&self.database, &self.tables, count).await;
        parcels.map_err(|source| ApplyError::Ledger {
            target: self.config.name.clone(),
            source: Box::new(source),
        })
    }

    pub(crate) fn pack(&self, outcomes: &[Outcome]) -> Vec<crate::outbox::Parcel> {
        outcomes.iter().map(|outcome| crate::outbox::pack(&self.config.env, outcome)).collect()
    }

    /// Forgets the outcomes up to a sequence, once they are safe elsewhere.
    ///
    /// # Errors
    /// A newer applier is at work, or the database said no.
    pub async fn forget_outcomes(&self, up_to: u64, fence: Fence) -> Result<(), ApplyError> {
        let up_to = i64::try_from(up_to).unwrap_or(i64::MAX);
        let tidied = transact::tidy(&self.database, &self.tables, fence, Some(up_to), None).await;
        tidied.map_err(|failure| self.error(fence, failure))
    }

    /// Forgets deletes that can neither come again, since the log starts after them at offset `log_starts`, nor
    /// count for the guard any more.
    ///
    /// # Errors
    /// A newer applier is at work, or the database said no.
    pub async fn forget_deletes(&mut self, log_starts: i64, fence: Fence) -> Result<(), ApplyError> {
        let before = Millis(self.ledger.stream.effective.0 - self.config.policy.guard_window);
        if !self.ledger.forget_tombstones(log_starts, before) {
            return Ok(());
        }
        let tombstones = Some((log_starts, before));
        let tidied = transact::tidy(&self.database, &self.tables, fence, None, tombstones).await;
        tidied.map_err(|failure| self.error(fence, failure))
    }

    fn error(&self, fence: Fence, failure: Failure) -> ApplyError {
        let target = self.config.name.clone();
        match failure {
            Failure::Sql(source) => ApplyError::Sql { target, source: source.into() },
            Failure::Observe(source) => ApplyError::Observe { target, source: source.into() },
            Failure::Ledger(source) => ApplyError::Ledger { target, source: source.into() },
            Failure::Fenced => ApplyError::Fenced { target, fence },
            Failure::Moved { found } => {
                ApplyError::Moved { target, found: stand(&found), left: stand(&self.ledger.stream) }
            }
            Failure::Upgraded { version } => ApplyError::Upgraded { target, version },
            Failure::Refused { error, .. } => ApplyError::Sql { target, source: error.into() },
            Failure::Vanished => ApplyError::Vanished { target },
            Failure::Lost(source) => ApplyError::Commit { target, source: source.into() },
            Failure::Decide(Shortfall::Full(pending)) => ApplyError::Full { target, pending },
            Failure::Decide(Shortfall::Rows(missing)) => {
                ApplyError::Internal { target, what: format!("deciding lacks {missing:?}") }
            }
            Failure::Decide(Shortfall::Lookups(missing)) => {
                ApplyError::Internal { target, what: format!("deciding lacks {} lookups", missing.len()) }
            }
            Failure::Decide(Shortfall::Unread(path)) => {
                ApplyError::Internal { target, what: format!("the document of `{path}` was not read") }
            }
        }
    }
}

/// Whether what hinders many records may leave fewer of them alone: neither a lost connection nor a lost term.
fn may_pass_in_parts(failure: &Failure) -> bool {
    match failure {
        Failure::Refused { .. } | Failure::Decide(_) | Failure::Observe(_) | Failure::Vanished => true,
        Failure::Sql(error) => match error.class() {
            sql::Class::Conflict
            | sql::Class::Refused
            | sql::Class::Slow
            | sql::Class::NoSpace
            | sql::Class::Other => true,
            // The server gives up on a session that thinks for too long between two statements.
            sql::Class::Unreachable => matches!(error.code.as_deref(), Some("25P03" | "25P04")),
            sql::Class::ReadOnly | sql::Class::Denied | sql::Class::Schema => false,
        },
        Failure::Ledger(_)
        | Failure::Fenced
        | Failure::Moved { .. }
        | Failure::Upgraded { .. }
        | Failure::Lost(_) => false,
    }
}

/// The change that last worked on what the database refuses; where that is not known, all that are written.
fn guilty(plan: &Plan, spot: Option<&Spot>, refused: &BTreeMap<ChangeId, State>) -> Vec<ChangeId> {
    let is_written = |outcome: &Outcome| matches!(outcome.verdict, Verdict::Applied | Verdict::Deleted);
    let suspects: Vec<(&Outcome, &BTreeSet<Spot>)> = plan
        .outcomes
        .iter()
        .zip(&plan.spots)
        .filter(|(outcome, _)| is_written(outcome) && !refused.contains_key(&outcome.change))
        .collect();
    let last = spot.and_then(|spot| suspects.iter().rev().find(|(_, spots)| spots.contains(spot)));
    match last {
        Some((outcome, _)) => vec![outcome.change.clone()],
        None => suspects.into_iter().map(|(outcome, _)| outcome.change.clone()).collect(),
    }
}

fn stand(stream: &Stream) -> String {
    match stream.position {
        Some(position) => format!("offset {} (outcome {})", position.offset, stream.sequence),
        None => "the beginning".to_owned(),
    }
}

/// The database's words on what it refuses, without values.
fn said(error: &sql::Error) -> String {
    let code = error.code.as_deref().unwrap_or("no code");
    match &error.violated {
        Some(violated) => format!("{} ({code}, {violated:?})", error.message),
        None => format!("{} ({code})", error.message),
    }
}

fn strange(_: &Failure) -> LedgerError {
    LedgerError::Strange { table: crate::ledger::STREAM, column: "id" }
}
