//! One Superset behind one pipeline, and what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use testbed::Superset;
use testbed::superset::{ADMIN, ADMIN_PASSWORD, Metadata as Served, Options as Server, Token};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::bundle::{self, Files};
use crate::pipeline::{Metadata, Options, Pipeline};

/// A Superset takes a core while it starts, and more of them at once only take longer.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// Waits for the turn to start one.
pub(crate) async fn turn() -> SemaphorePermit<'static> {
    AT_ONCE.acquire().await.expect("never closed")
}

/// The pipeline and the Superset whose metadata database it writes.
pub(super) struct Site {
    pub(super) superset: Superset,
    pub(super) admin: Token,
    pub(super) pipeline: Pipeline,
    _turn: SemaphorePermit<'static>,
}

impl Site {
    /// Starts all of it.
    pub(super) async fn start(metadata: Metadata, options: Options) -> Site {
        Site::start_with(metadata, options, "").await
    }

    /// The same with lines of Python at the end of Superset's configuration.
    pub(super) async fn start_with(metadata: Metadata, options: Options, python: &str) -> Site {
        let turn = turn().await;
        // Sessions of four seconds: while a Superset starts, everything else is slow.
        let options = Options { tick: Duration::from_secs(2), ..options };
        // The guard holds deletes of whole test sets otherwise.
        let pipeline = Pipeline::start(metadata, options.set("deletes.guard_count", 1000)).await;
        let served = match &pipeline.metadata.file {
            Some(file) => Served::Sqlite(file.clone()),
            None => Served::Url(pipeline.metadata.url().to_owned()),
        };
        let server = Server { extra_config: python.to_owned(), ..Server::default() };
        let superset = Superset::start(served, server).await.expect("superset starts");
        let admin = superset.login(ADMIN, ADMIN_PASSWORD).await.expect("superset answers");
        Site { superset, admin, pipeline, _turn: turn }
    }

    /// Pushes a bundle, and returns when all of it has come to an outcome; none may be bad.
    pub(super) async fn push(&self, files: &Files) -> String {
        let folder = bundle::write(files, self.pipeline.folder().join(format!("bundle-{}", files.len())));
        let folder = folder.to_str().expect("UTF-8");
        self.pipeline
            .must(&["push", folder, "-m", "a test", "--author", "ana", "--wait", "--wait-max", "100"])
            .await
    }

    /// The answer to a GET by an admin, which has to be one.
    pub(super) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.superset.get(&self.admin, path).await.expect("superset answers");
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// How many of a resource (`chart`, `dashboard`, …) its list has for `token`.
    pub(super) async fn count(&self, token: &Token, resource: &str) -> i64 {
        let path = format!("/api/v1/{resource}/?q=(page_size:1)");
        let (status, body) = self.superset.get(token, &path).await.expect("superset answers");
        assert_eq!(status, 200, "GET {path}: {body}");
        body["count"].as_i64().expect("a list has a count")
    }

    /// The uuids of a resource that its list has for `token`, by way of their row ids.
    pub(super) async fn listed(&self, token: &Token, resource: &str) -> BTreeSet<String> {
        let table = match resource {
            "database" => "dbs",
            "dataset" => "tables",
            "chart" => "slices",
            _ => "dashboards",
        };
        let uuids = self.uuids(table).await;
        let mut listed = BTreeSet::new();
        for page in 0.. {
            let path = format!("/api/v1/{resource}/?q=(page:{page},page_size:100)");
            let (status, body) = self.superset.get(token, &path).await.expect("superset answers");
            assert_eq!(status, 200, "GET {path}: {body}");
            let rows = body["result"].as_array().expect("a list");
            if rows.is_empty() {
                break;
            }
            listed.extend(rows.iter().map(|row| uuids[&row["id"].as_i64().expect("an id")].clone()));
        }
        listed
    }

    /// Row id → uuid of a table.
    pub(super) async fn uuids(&self, table: &str) -> BTreeMap<i64, String> {
        let rows = self.pipeline.superset(&format!("SELECT id, uuid FROM {table}")).await;
        rows.into_iter().map(|row| (row[0].parse().expect("an id"), row[1].clone())).collect()
    }

    /// The row id of an asset.
    pub(super) async fn id(&self, table: &str, uuid: &str) -> i64 {
        let uuids = self.uuids(table).await;
        let found = uuids.iter().find(|(_, of)| *of == uuid);
        *found.unwrap_or_else(|| panic!("{table} has {uuid}: {uuids:?}")).0
    }

    /// The rows that a saved chart draws, or the status and Superset's words why not. Asks the database, whatever is
    /// in Superset's cache.
    pub(super) async fn chart_data(&self, chart: i64) -> Result<Value, (u16, Value)> {
        self.draw(&format!("/api/v1/chart/{chart}/data/?force=true")).await
    }

    /// The same, of Superset's cache if they are there.
    pub(super) async fn cached_data(&self, chart: i64) -> Result<Value, (u16, Value)> {
        self.draw(&format!("/api/v1/chart/{chart}/data/")).await
    }

    async fn draw(&self, path: &str) -> Result<Value, (u16, Value)> {
        match self.superset.get(&self.admin, path).await.expect("superset answers") {
            (200, body) => Ok(body["result"][0]["data"].clone()),
            refused => Err(refused),
        }
    }

    /// The rows that a query on a dataset gives `token`.
    pub(super) async fn query(
        &self,
        token: &Token,
        dataset: i64,
        column: &str,
        metric: &str,
    ) -> Result<Value, (u16, Value)> {
        let query = json!({
            "columns": [column], "metrics": [metric], "orderby": [[column, true]], "row_limit": 100,
            "filters": [], "extras": {"having": "", "where": ""},
        });
        let body = json!({
            "datasource": {"id": dataset, "type": "table"}, "queries": [query], "force": true,
            "result_format": "json", "result_type": "full",
        });
        match self.superset.post(token, "/api/v1/chart/data", &body).await.expect("superset answers") {
            (200, body) => Ok(body["result"][0]["data"].clone()),
            refused => Err(refused),
        }
    }

    /// The id of a permission on something, as Superset names it: `datasource_access` on `[db].[table](id:7)`.
    pub(super) async fn permission(&self, permission: &str, on: &str) -> i64 {
        let sql = format!(
            "SELECT v.id FROM ab_permission_view v JOIN ab_permission p ON p.id = v.permission_id \
             JOIN ab_view_menu m ON m.id = v.view_menu_id WHERE p.name = '{permission}' AND m.name = '{on}'"
        );
        let rows = self.pipeline.superset(&sql).await;
        assert_eq!(rows.len(), 1, "{permission} on {on} exists once");
        rows[0][0].parse().expect("an id")
    }
}
