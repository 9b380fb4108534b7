//! The small world that the writer changes: one database, three datasets, five charts, two dashboards.

use change::ZnodePath;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::Value;
use uuid::Uuid;

use super::evidence::Number;
use crate::pipeline::documents::{chart, dashboard, database, dataset, uuid, with};
use crate::pipeline::path;

/// An asset of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asset {
    kind: Kind,
    n: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Database,
    Dataset,
    Chart,
    Dashboard,
}

const DATASETS: u32 = 3;
const CHARTS: u32 = 5;

impl Asset {
    /// All of the world, what is referred to first.
    pub(crate) fn all() -> Vec<Asset> {
        let some = |kind, count: u32| (1..=count).map(move |n| Asset { kind, n });
        let world = some(Kind::Database, 1).chain(some(Kind::Dataset, DATASETS));
        world.chain(some(Kind::Chart, CHARTS)).chain(some(Kind::Dashboard, 2)).collect()
    }

    /// Its identity.
    pub(crate) fn uuid(self) -> Uuid {
        match self.kind {
            Kind::Database => uuid('d', self.n),
            Kind::Dataset => uuid('t', self.n),
            Kind::Chart => uuid('c', self.n),
            Kind::Dashboard => uuid('b', self.n),
        }
    }

    /// Others cannot be applied without it.
    pub(crate) fn is_needed(self) -> bool {
        matches!(self.kind, Kind::Database | Kind::Dataset)
    }

    /// The database stays: everything would wait for it.
    pub(crate) fn may_go(self) -> bool {
        self.kind != Kind::Database
    }

    /// One of the two paths that it moves between.
    pub(crate) fn path(self, other: bool) -> ZnodePath {
        let folder = match self.kind {
            Kind::Database => "databases",
            Kind::Dataset => "datasets",
            Kind::Chart => "charts",
            Kind::Dashboard => "dashboards",
        };
        let suffix = if other { "-moved" } else { "" };
        path(&format!("assets/main/{folder}/{}{suffix}", self.n))
    }

    /// Its document with that number; what else stands in it is chance.
    pub(crate) fn document(self, n: Number, chance: &mut StdRng) -> Value {
        match self.kind {
            Kind::Database => with(database(self.n), "cache_timeout", n),
            Kind::Dataset => {
                let table = format!("sales_{}_{}", self.n, chance.random_range(0..2));
                with(with(dataset(self.n, 1), "table_name", table), "description", format!("n={n}"))
            }
            Kind::Chart => with(chart(self.n, self.n % DATASETS + 1), "description", format!("n={n}")),
            Kind::Dashboard => {
                let charts: Vec<u32> = (1..=CHARTS).filter(|_| chance.random_bool(0.5)).collect();
                with(dashboard(self.n, &charts), "description", format!("n={n}"))
            }
        }
    }
}
