//! The one transaction that writes Superset's tables, in the order that makes it exact.

use change::{Fence, Millis, Outcome};
use sql::{CommitError, Database, Mode, Transaction};
use superset::{Ask, Facts, Spot, Statement};

use crate::book::Stream;
use crate::decide::{Plan, Shortfall};
use crate::fail::{self, Broken, Fail, FailPoint};
use crate::ledger::{self, LedgerError, Tables};
use crate::observe::{self, ObserveError};
use crate::outbox;

/// How a transaction is made.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) tables: Tables,
    pub(crate) env: String,
    pub(crate) fence: Fence,
    /// Rounds of asking and observing.
    pub(crate) rounds: usize,
    pub(crate) pace: Pace,
    pub(crate) fail: Option<Fail>,
    pub(crate) broken: Option<Broken>,
}

/// How many operations a statement may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As many as go into one.
    Together,
    /// One, so that a refusal says which.
    Singly,
}

/// Why nothing was committed.
#[derive(Debug)]
pub(crate) enum Failure {
    Sql(sql::Error),
    Observe(ObserveError),
    Ledger(LedgerError),
    /// A newer applier is at work.
    Fenced,
    /// The ledger does not stand where we left it.
    Moved {
        found: Box<Stream>,
    },
    /// Superset was upgraded under us.
    Upgraded {
        version: String,
    },
    Decide(Shortfall),
    /// A statement was refused; the plan says which changes it was to write, `spot` what it was about, if that was one
    /// row.
    Refused {
        error: sql::Error,
        plan: Box<Plan>,
        spot: Option<Box<Spot>>,
    },
    /// Rows that were looked at are not there any more.
    Vanished,
    /// The connection was lost in COMMIT, and the ledger does not have the plan.
    Lost(CommitError),
}

impl From<sql::Error> for Failure {
    fn from(error: sql::Error) -> Self {
        Failure::Sql(error)
    }
}

impl From<ObserveError> for Failure {
    fn from(error: ObserveError) -> Self {
        match error {
            ObserveError::Sql(error) => Failure::Sql(error),
            other => Failure::Observe(other),
        }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Sql(error) => Failure::Sql(error),
            other => Failure::Ledger(other),
        }
    }
}

/// So many times deciding may turn out to lack something.
pub(crate) const SHORTFALLS_MAX: usize = 50;

/// Fence, position, observe, decide, execute, commit.
///
/// `stood` is where the ledger stood when we left it; `ask` and `decide` are pure. Returns the plan with its
/// outcomes stamped. Only a statement that the database refuses as bad data gives [`Failure::Refused`].
pub(crate) async fn transact(
    database: &Database,
    terms: &Terms,
    stood: &Stream,
    mut facts: Facts,
    ask: impl Fn(&Facts) -> Ask,
    decide: impl Fn(Facts) -> Result<Plan, Shortfall>,
) -> Result<Plan, Failure> {
    let mut transaction = database.begin(Mode::Write).await?;
    if !ledger::raise_fence(&terms.tables, &mut transaction, terms.fence).await? {
        return Err(Failure::Fenced);
    }
    let stands = ledger::stream(&terms.tables, &mut transaction).await?;
    if stands != *stood {
        return Err(Failure::Moved { found: Box::new(stands) });
    }
    let versions = observe::versions(&mut transaction).await?;
    if !versions.contains(&facts.schema.version) {
        return Err(Failure::Upgraded { version: versions.join(", ") });
    }
    observe::observe(&mut transaction, &mut facts, terms.rounds, ask).await?;
    let mut plan = {
        let mut left = SHORTFALLS_MAX;
        loop {
            match decide(facts.clone()) {
                Ok(plan) => break plan,
                Err(Shortfall::Rows(missing)) if left > 0 => {
                    left -= 1;
                    observe::supply(&mut transaction, &mut facts, &missing).await?;
                }
                Err(Shortfall::Lookups(lookups)) if left > 0 => {
                    left -= 1;
                    observe::look(&mut transaction, &mut facts, lookups).await?;
                }
                Err(shortfall) => return Err(Failure::Decide(shortfall)),
            }
        }
    };
    match execute(&mut transaction, &facts, &plan, terms.pace).await {
        Ok(()) => {}
        Err(Unexecuted::Vanished) => return Err(Failure::Vanished),
        Err(Unexecuted::Sql { error, spot }) if error.class() == sql::Class::Refused => {
            return Err(Failure::Refused { error, plan: Box::new(plan), spot });
        }
        Err(Unexecuted::Sql { error, .. }) => return Err(Failure::Sql(error)),
    }
    record(&mut transaction, terms, &mut plan).await?;
    fail::pass(deadly(terms, &plan), FailPoint::BeforeCommit);
    match transaction.commit().await {
        Ok(()) => {}
        Err(CommitError::NotCommitted(error)) => return Err(Failure::Sql(error)),
        Err(unknown @ CommitError::Unknown(_)) => settle_unknown(database, terms, &plan, unknown).await?,
    }
    record_late(database, terms, &plan).await?;
    fail::pass(deadly(terms, &plan), FailPoint::AfterCommit);
    Ok(plan)
}

/// A transaction that came to nothing, as a start's look at what is pending often does, is nothing to die for.
fn deadly(terms: &Terms, plan: &Plan) -> Option<Fail> {
    terms.fail.filter(|_| !plan.outcomes.is_empty())
}

/// Why the rows are not as planned.
enum Unexecuted {
    /// The database said no: to what was about `spot`, if that was one row.
    Sql { error: sql::Error, spot: Option<Box<Spot>> },
    /// Somebody else has removed rows.
    Vanished,
}

async fn execute(
    transaction: &mut Transaction,
    facts: &Facts,
    plan: &Plan,
    pace: Pace,
) -> Result<(), Unexecuted> {
    let ops = superset::diff(&facts.rows, &plan.rows);
    let run = match pace {
        Pace::Together => ops.len().max(1),
        Pace::Singly => 1,
    };
    for run in ops.chunks(run) {
        for Statement { sql, values, rows } in superset::render(run, &facts.schema) {
            let spot = || run.first().filter(|_| run.len() == 1).map(|op| Box::new(op.spot()));
            let changed = transaction.execute(&sql, values).await;
            let changed = changed.map_err(|error| Unexecuted::Sql { error, spot: spot() })?;
            if rows.is_some_and(|rows| changed < rows) {
                return Err(Unexecuted::Vanished);
            }
        }
    }
    Ok(())
}

/// Ledger, outbox and position go with the rows.
async fn record(transaction: &mut Transaction, terms: &Terms, plan: &mut Plan) -> Result<(), sql::Error> {
    let committed = now();
    for outcome in &mut plan.outcomes {
        outcome.committed = committed;
    }
    if terms.broken != Some(Broken::OutboxOutsideTransaction) {
        outbox::insert(&terms.tables, transaction, &parcels(terms, &plan.outcomes)).await?;
    }
    if terms.broken != Some(Broken::PositionAfterCommit) {
        ledger::write(&terms.tables, transaction, &plan.changes).await?;
        ledger::advance(&terms.tables, transaction, &plan.stream).await?;
    }
    Ok(())
}

/// What a broken build does too late.
async fn record_late(database: &Database, terms: &Terms, plan: &Plan) -> Result<(), Failure> {
    match terms.broken {
        Some(Broken::OutboxOutsideTransaction | Broken::PositionAfterCommit) => {}
        Some(Broken::NoDedupe | Broken::AcceptOldFence | Broken::ComputesLong) | None => return Ok(()),
    }
    fail::pass(deadly(terms, plan), FailPoint::AfterCommit);
    let mut transaction = database.begin(Mode::Write).await?;
    if terms.broken == Some(Broken::OutboxOutsideTransaction) {
        outbox::insert(&terms.tables, &mut transaction, &parcels(terms, &plan.outcomes)).await?;
    } else {
        ledger::write(&terms.tables, &mut transaction, &plan.changes).await?;
        ledger::advance(&terms.tables, &mut transaction, &plan.stream).await?;
    }
    transaction.commit().await.map_err(Failure::Lost)
}

fn parcels(terms: &Terms, outcomes: &[Outcome]) -> Vec<outbox::Parcel> {
    outcomes.iter().map(|outcome| outbox::pack(&terms.env, outcome)).collect()
}

/// The ledger says whether a commit whose answer was lost has happened: nobody else writes it under our fence.
async fn settle_unknown(
    database: &Database,
    terms: &Terms,
    plan: &Plan,
    unknown: CommitError,
) -> Result<(), Failure> {
    // A newer applier may have come to the very same end: then it is its commit that stands there, with its outcomes.
    let mut transaction = database.begin(Mode::Write).await?;
    if !ledger::raise_fence(&terms.tables, &mut transaction, terms.fence).await? {
        return Err(Failure::Fenced);
    }
    let stands = ledger::stream(&terms.tables, &mut transaction).await?;
    transaction.rollback().await;
    if stands == plan.stream { Ok(()) } else { Err(Failure::Lost(unknown)) }
}

/// By this host's clock.
pub(crate) fn now() -> Millis {
    Millis(jiff::Timestamp::now().as_millisecond())
}

/// What a target's database holds before anything is written.
pub(crate) struct Examined {
    pub(crate) ledger: crate::book::Ledger,
    pub(crate) schema: superset::Schema,
    /// Secrets as Superset has encrypted them.
    pub(crate) stored_secrets: Vec<Vec<u8>>,
}

/// Reads all of it in one snapshot.
pub(crate) async fn examine(database: &Database, tables: &Tables) -> Result<Examined, Failure> {
    let mut transaction = database.begin(Mode::Read).await?;
    let schema = observe::schema(&mut transaction).await?;
    let stored_secrets = observe::stored_secrets(&mut transaction, &schema).await?;
    if !tables.exist(&mut transaction).await? {
        return Err(Failure::Ledger(LedgerError::Missing { database: database.label().to_owned() }));
    }
    let ledger = ledger::load(tables, &mut transaction).await?;
    transaction.rollback().await;
    Ok(Examined { ledger, schema, stored_secrets })
}

/// Reads applied documents outside of the writing transaction: nobody else writes the ledger under our fence, and
/// the position tells if somebody did.
pub(crate) async fn documents(
    database: &Database,
    tables: &Tables,
    paths: &[change::ZnodePath],
) -> Result<Vec<(change::ZnodePath, std::sync::Arc<str>)>, Failure> {
    let mut transaction = database.begin(Mode::Read).await?;
    let documents = ledger::documents(tables, &mut transaction, paths).await?;
    transaction.rollback().await;
    Ok(documents)
}

/// The oldest outcomes that were not relayed.
pub(crate) async fn unrelayed(
    database: &Database,
    tables: &Tables,
    count: u64,
) -> Result<Vec<outbox::Parcel>, LedgerError> {
    let mut transaction = database.begin(Mode::Read).await?;
    let parcels = outbox::oldest(tables, &mut transaction, count).await?;
    transaction.rollback().await;
    Ok(parcels)
}

/// Forgets the outcomes that the queue has acknowledged, and (with `tombstones`: where the log starts, and before
/// when) the deletes that nothing can repeat any more.
pub(crate) async fn tidy(
    database: &Database,
    tables: &Tables,
    fence: Fence,
    relayed: Option<i64>,
    tombstones: Option<(i64, Millis)>,
) -> Result<(), Failure> {
    let mut transaction = database.begin(Mode::Write).await?;
    // In a database restored meanwhile the same sequences may be a newer applier's, not relayed yet.
    if !ledger::raise_fence(tables, &mut transaction, fence).await? {
        return Err(Failure::Fenced);
    }
    if let Some(up_to) = relayed {
        outbox::forget(tables, &mut transaction, up_to).await?;
    }
    if let Some((log_starts, before)) = tombstones {
        ledger::forget_tombstones(tables, &mut transaction, log_starts, before).await?;
    }
    match transaction.commit().await {
        // Done twice, it does nothing the second time.
        Ok(()) | Err(CommitError::Unknown(_)) => Ok(()),
        Err(CommitError::NotCommitted(error)) => Err(Failure::Sql(error)),
    }
}
