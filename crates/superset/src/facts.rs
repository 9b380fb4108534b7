//! All that the pure functions may look at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use asset::{Chosen, SecretRef};
use time::PrimitiveDateTime;
use uuid::Uuid;

use crate::ask::{Lookup, Query};
use crate::cipher::Cipher;
use crate::diff::Spot;
use crate::fault::{Fault, FaultKind};
use crate::read;
use crate::rows::{Mark, Rows};
use crate::schema::Schema;
use crate::table::{IdSource, Table};

/// A secret in the clear. `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Ids that new rows may take, in order. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserved {
    ids: Arc<BTreeMap<Table, Vec<i64>>>,
    used: BTreeMap<Table, usize>,
}

impl Reserved {
    /// Returns how many ids of a table are left.
    #[must_use]
    pub fn left(&self, table: Table) -> usize {
        self.of(table).len()
    }

    /// Returns the ids of a table that are left.
    #[must_use]
    pub fn of(&self, table: Table) -> &[i64] {
        let used = self.used.get(&table).copied().unwrap_or(0);
        self.ids.get(&table).and_then(|ids| ids.get(used..)).unwrap_or_default()
    }

    /// Says whether an id was reserved, used or not: then no row had it when the rows were observed.
    pub(crate) fn contains(&self, table: Table, id: i64) -> bool {
        self.ids.get(&table).is_some_and(|ids| ids.contains(&id))
    }

    pub(crate) fn next(&mut self, table: Table) -> Result<i64, Fault> {
        let Some(id) = self.of(table).first().copied() else {
            let message = format!("make a row in `{}`: no reserved id is left", table.name());
            return Err(Fault::new(FaultKind::NoIds(table), message));
        };
        *self.used.entry(table).or_insert(0) += 1;
        Ok(id)
    }
}

/// All that [`crate::put`], [`crate::remove`] and [`crate::lift`] may look at, and their working copy.
///
/// Made once for a batch, filled by what [`crate::ask`] says is missing; then `rows` is cloned, changed by `put`
/// and `remove`, and [`crate::diff`] compares it with the clone.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What this database has.
    pub schema: Schema,
    /// The time of this batch, naive, in Superset's timezone.
    pub now: PrimitiveDateTime,
    /// Secrets, resolved before the transaction. One that could not be resolved is not here.
    pub secrets: BTreeMap<SecretRef, Secret>,
    /// What each endpoint that is there has chosen, by its name.
    pub endpoints: BTreeMap<String, Chosen>,
    /// With Superset's SECRET_KEY.
    pub cipher: Cipher,
    /// Drivers that a database may use; [`crate::DRIVERS`] by default.
    pub drivers: BTreeSet<String>,
    /// Assets that came through ZooKeeper. Their use of a dataset keeps it from being deleted; charts that are
    /// not among them lose their link, as with Superset's REST API.
    pub managed: BTreeSet<Uuid>,
    /// Assets that the Txn in hand also changes or deletes: the unique values they hold now may be taken. After
    /// the Txn, [`crate::conflicts`] says whether they really let go.
    pub yielding: BTreeSet<Uuid>,
    /// What was observed, and then the working copy.
    pub rows: Rows,
    /// Ids for new rows.
    pub reserved: Reserved,
    known: BTreeSet<Lookup>,
}

/// A moment to which [`Facts::roll_back`] can return. Valid until an earlier one is returned to.
#[derive(Debug, Clone)]
pub struct Savepoint {
    mark: Mark,
    used: BTreeMap<Table, usize>,
}

impl Facts {
    /// Makes facts that know no rows yet.
    #[must_use]
    pub fn new(schema: Schema, cipher: Cipher, now: PrimitiveDateTime) -> Facts {
        Facts {
            schema,
            now,
            secrets: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            cipher,
            drivers: crate::DRIVERS.iter().map(|driver| (*driver).to_owned()).collect(),
            managed: BTreeSet::new(),
            yielding: BTreeSet::new(),
            rows: Rows::new(),
            reserved: Reserved::default(),
            known: BTreeSet::new(),
        }
    }

    /// Takes in what a query of [`crate::queries`] returned: rows of values in the order of `query.columns`.
    ///
    /// Values may come as the database's driver gives them: a uuid as bytes, a boolean as an integer, a time or
    /// JSON as text.
    ///
    /// # Errors
    /// A row without an integer for its id.
    pub fn learn(&mut self, query: &Query, rows: Vec<Vec<sea_query::Value>>) -> Result<(), Fault> {
        for values in rows {
            let (id, row) = read::row(query, values)?;
            self.rows.learn(query.table, id, row);
        }
        self.known.extend(query.answers.iter().cloned());
        Ok(())
    }

    /// Adds ids for new rows of a table, in the order in which they are to be used.
    ///
    /// On SQLite ids are the highest one and up, and a second reservation within one transaction gives the same ones
    /// again, because no row has them yet: those are moved behind the ones already here.
    pub fn reserve(&mut self, table: Table, ids: impl IntoIterator<Item = i64>) {
        let is_above_highest = table.id_source(self.schema.dialect()) == IdSource::MaxPlusOne;
        let reserved = Arc::make_mut(&mut self.reserved.ids).entry(table).or_default();
        for id in ids {
            let next = reserved.last().map_or(id, |last| id.max(last + 1));
            reserved.push(if is_above_highest { next } else { id });
        }
    }

    /// Says whether the answer to a lookup is among these facts.
    #[must_use]
    pub fn knows(&self, lookup: &Lookup) -> bool {
        self.known.contains(lookup) || self.known.contains(&lookup.clone().full())
    }

    /// Remembers this moment.
    #[must_use]
    pub fn savepoint(&self) -> Savepoint {
        Savepoint { mark: self.rows.mark(), used: self.reserved.used.clone() }
    }

    /// Returns what `put` and `remove` changed since, so that a refusal of the database can be laid to them.
    #[must_use]
    pub fn spots_since(&self, savepoint: &Savepoint) -> BTreeSet<Spot> {
        self.rows.spots_since(savepoint.mark)
    }

    /// Takes back all that `put` and `remove` did since.
    pub fn roll_back(&mut self, savepoint: &Savepoint) {
        self.rows.roll_back(savepoint.mark);
        self.reserved.used.clone_from(&savepoint.used);
    }

    /// Refuses to decide on what was never looked up.
    pub(crate) fn must_know(&self, lookup: Lookup) -> Result<(), Fault> {
        if self.knows(&lookup) {
            return Ok(());
        }
        let message = format!("decide without having looked up {lookup}");
        Err(Fault::new(FaultKind::Unasked(Box::new(lookup)), message))
    }
}
