//! The kinds of documents and what they have in common.

pub(crate) mod chart;
pub(crate) mod dashboard;
pub(crate) mod database;
pub(crate) mod dataset;
pub(crate) mod reference;

use std::fmt;

use uuid::Uuid;

use crate::{Chart, Dashboard, Database, Dataset};

/// The only version of Superset's export format there is; every document names it.
pub const VERSION: &str = "1.0.0";

/// A kind of document. The order is the order of dependence: what comes later may refer to what comes earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A connection to a database (`dbs`).
    Database,
    /// A table or a query (`tables` with its columns and metrics).
    Dataset,
    /// A chart (`slices`).
    Chart,
    /// A dashboard (`dashboards`).
    Dashboard,
}

impl Kind {
    /// All kinds, in order of dependence.
    pub const ALL: [Kind; 4] = [Kind::Database, Kind::Dataset, Kind::Chart, Kind::Dashboard];

    /// Returns the kind of the documents below `folder` (`databases`, `datasets`, `charts`, `dashboards`).
    #[must_use]
    pub fn from_folder(folder: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.folder() == folder)
    }

    /// Returns the folder that holds documents of this kind, in a bundle and in ZooKeeper.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Kind::Database => "databases",
            Kind::Dataset => "datasets",
            Kind::Chart => "charts",
            Kind::Dashboard => "dashboards",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Database => "database",
            Kind::Dataset => "dataset",
            Kind::Chart => "chart",
            Kind::Dashboard => "dashboard",
        })
    }
}

/// One of Superset's assets, whole.
///
/// Fields whose column may be NULL are `Option`s, and `None` is NULL (`null` in JSON). What an omitted key means
/// stands at each field as its default; it is what Superset's ORM gives a new row.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "documents are few, and boxes would be in every caller's way")]
pub enum Document {
    /// A connection to a database.
    Database(Database),
    /// A table or a query.
    Dataset(Dataset),
    /// A chart.
    Chart(Chart),
    /// A dashboard.
    Dashboard(Dashboard),
}

impl Document {
    /// Returns the kind of this document.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Document::Database(_) => Kind::Database,
            Document::Dataset(_) => Kind::Dataset,
            Document::Chart(_) => Kind::Chart,
            Document::Dashboard(_) => Kind::Dashboard,
        }
    }

    /// Returns the uuid, which is the identity of the asset.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        match self {
            Document::Database(database) => database.uuid,
            Document::Dataset(dataset) => dataset.uuid,
            Document::Chart(chart) => chart.uuid,
            Document::Dashboard(dashboard) => dashboard.uuid,
        }
    }

    /// Returns the name that people know: the database's, table's, chart's name or the dashboard's title.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Document::Database(database) => &database.database_name,
            Document::Dataset(dataset) => &dataset.table_name,
            Document::Chart(chart) => &chart.slice_name,
            Document::Dashboard(dashboard) => &dashboard.dashboard_title,
        }
    }
}
