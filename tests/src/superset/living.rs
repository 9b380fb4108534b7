//! What becomes of assets that are served: changed, renamed, deleted, and their passwords rotated.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use testbed::Postgres;
use testbed::superset::Token;

use super::bundle;
use super::data;
use super::site::Site;
use crate::pipeline::{Metadata, Options, path};

const DATABASE: &str = "assets/main/databases/shop";
const ORDERS: &str = "assets/main/datasets/shop.orders";
const REVENUE: &str = "assets/main/charts/revenue";
const BY_REGION: &str = "assets/main/charts/revenue_by_region";
const BY_REGION_UUID: &str = "5d0c6f0e-2f60-4d5e-8d0b-0e6f7c1a0012";
const DATABASE_UUID: &str = "5d0c6f0e-2f60-4d5e-8d0b-0e6f7c1a0001";
const ORDERS_UUID: &str = "5d0c6f0e-2f60-4d5e-8d0b-0e6f7c1a0002";
/// The password in `deploy/demo/data.sql`.
const PASSWORD: &str = "demo-shop-password";

#[tokio::test]
async fn what_is_served_follows_every_change_rename_rotation_and_delete() {
    let secrets = tempfile::tempdir().expect("a temporary folder");
    let target = format!("secret_folders = [\"{}\"]\nsecret_retry = \"200ms\"", secrets.path().display());
    let env = vec![("SETKEEPER_SECRET_SHOP".to_owned(), PASSWORD.to_owned())];
    let options = Options { target, env, ..Options::default() };
    let cache = secrets.path().join("cache");
    let python = format!(
        "DATA_CACHE_CONFIG = {{'CACHE_TYPE': 'FileSystemCache', 'CACHE_DIR': {:?}, 'CACHE_DEFAULT_TIMEOUT': 3600}}",
        cache.display().to_string()
    );
    let site = Site::start_with(Metadata::Postgres, options, &python).await;
    let sql = format!("{}; GRANT guarded TO shop;", include_str!("../../../deploy/demo/data.sql"));
    let server = data::database("shop", &sql).await;
    let uri = format!("postgresql+psycopg2://shop:XXXXXXXXXX@127.0.0.1:{}/shop", server.port());
    site.push(&bundle::demo(&uri)).await;
    let chart = site.id("slices", BY_REGION_UUID).await;
    let wanted = revenue(server).await;
    assert_eq!(site.chart_data(chart).await, Ok(wanted.clone()));

    a_change_is_served_at_once(&site, chart).await;
    a_changed_metric_is_not_answered_from_the_cache(&site, server, chart).await;
    let own = what_people_make_in_superset_is_theirs(&site).await;
    let gina = one_who_may_see_orders(&site).await;
    names_change_and_rights_stay(&site, server, &gina, chart, &wanted).await;
    a_rotated_password_is_used_without_a_restart(&site, server, secrets.path(), chart, &wanted).await;
    what_is_deleted_is_gone(&site, chart, own).await;
    site.pipeline.await_equal().await;
    site.pipeline.must(&["verify"]).await;
}

/// The rows that the chart has to show, by PostgreSQL's own account.
async fn revenue(server: &Postgres) -> Value {
    // One digit after the point, as Python writes these sums.
    let sql = "SELECT json_agg(json_build_object('region', region, 'revenue', revenue) ORDER BY revenue DESC) \
               FROM (SELECT region, SUM(amount)::numeric(12, 1) AS revenue FROM orders GROUP BY region) r";
    serde_json::from_str(&server.psql("shop", sql).await.expect("postgresql takes it")).expect("JSON")
}

/// Prints how long a change takes from ZooKeeper's commit to the first answer that has it.
async fn a_change_is_served_at_once(site: &Site, chart: i64) {
    let mut served = Vec::new();
    for n in 0..15 {
        let text = json!(format!("change {n}"));
        edit(site, BY_REGION, "description", text.clone()).await;
        let found = site.pipeline.session.read(&path(BY_REGION)).await.expect("an answer").expect("a znode");
        let place = format!("/api/v1/chart/{chart}");
        let now = site
            .pipeline
            .until("the chart's description", async || {
                let seen = site.get(&place).await["result"]["description"].clone();
                if seen == text { Ok(SystemTime::now()) } else { Err(seen) }
            })
            .await;
        let now =
            i64::try_from(now.duration_since(UNIX_EPOCH).expect("after 1970").as_millis()).expect("small");
        served.push(now - found.mtime.0);
    }
    served.sort_unstable();
    let sql = "SELECT delay_ms FROM config_history WHERE path = 'assets/main/charts/revenue_by_region' \
               AND outcome = 'applied' ORDER BY delay_ms";
    let committed = site.pipeline.audit(sql).await.concat();
    println!(
        "latency: ms from zookeeper's commit to the first REST answer that has it: median {}, least {}, most {}; \
         to the metadata database's commit: median {}",
        served[served.len() / 2],
        served[0],
        served[served.len() - 1],
        committed[committed.len() / 2],
    );
}

async fn a_changed_metric_is_not_answered_from_the_cache(site: &Site, server: &Postgres, chart: i64) {
    let before = site.cached_data(chart).await;
    server.psql("shop", "UPDATE orders SET amount = amount + 1").await.expect("postgresql takes it");
    assert_eq!(site.cached_data(chart).await, before, "the cache does its work");
    let found = site.pipeline.session.read(&path(ORDERS)).await.expect("an answer").expect("a znode");
    let document: Value = serde_json::from_slice(&found.bytes).expect("a document");
    let mut metrics = document["metrics"].clone();
    metrics[0]["expression"] = json!("SUM(amount - 1)");
    edit(site, ORDERS, "metrics", metrics).await;
    let expression = "SELECT expression FROM sql_metrics WHERE metric_name = 'revenue'";
    await_rows(site, expression, &["SUM(amount - 1)"]).await;
    server.psql("shop", "UPDATE orders SET amount = amount + 1").await.expect("postgresql takes it");
    let after = site.cached_data(chart).await.expect("rows");
    let (before, after) = (before.expect("rows")[0]["revenue"].as_f64(), after[0]["revenue"].as_f64());
    // Two were added to each of the region's 1,250 orders, and the metric takes one off.
    assert_eq!(after.zip(before).map(|(after, before)| after - before), Some(1250.0));
    server.psql("shop", "UPDATE orders SET amount = amount - 2").await.expect("postgresql takes it");
    edit(site, ORDERS, "metrics", document["metrics"].clone()).await;
    await_rows(site, expression, &["SUM(amount)"]).await;
}

/// Superset makes rows after ours without a clash, and they stay whatever comes from ZooKeeper. Returns the ids of a
/// chart and a dashboard.
async fn what_people_make_in_superset_is_theirs(site: &Site) -> (i64, i64) {
    let dataset = site.id("tables", ORDERS_UUID).await;
    let make = async |resource: &str, body: Value| {
        let place = format!("/api/v1/{resource}/");
        let (status, answer) =
            site.superset.post(&site.admin, &place, &body).await.expect("superset answers");
        assert_eq!(status, 201, "POST {place}: {answer}");
        answer["id"].as_i64().expect("an id")
    };
    let chart = json!({
        "slice_name": "mine", "viz_type": "table", "params": "{}", "datasource_id": dataset,
        "datasource_type": "table",
    });
    (make("chart", chart).await, make("dashboard", json!({"dashboard_title": "mine"})).await)
}

/// A user with no right but the one to the dataset of the orders.
async fn one_who_may_see_orders(site: &Site) -> Token {
    let dataset = site.id("tables", ORDERS_UUID).await;
    let right = site.permission("datasource_access", &format!("[shop].[orders](id:{dataset})")).await;
    let role = site.superset.create_role(&site.admin, "orders").await.expect("superset answers");
    site.superset.grant(&site.admin, role, &[right]).await.expect("superset answers");
    let gamma = site.superset.roles(&site.admin).await.expect("superset answers")["Gamma"];
    site.superset.create_user(&site.admin, "gina", "secret", &[gamma, role]).await.expect("superset answers");
    site.superset.login("gina", "secret").await.expect("superset answers")
}

async fn names_change_and_rights_stay(
    site: &Site,
    server: &Postgres,
    gina: &Token,
    chart: i64,
    wanted: &Value,
) {
    let sees = async || {
        let seen = [site.count(gina, "dataset").await, site.count(gina, "chart").await];
        (seen, site.count(gina, "dashboard").await)
    };
    // One of the three charts is made by people, on the same dataset.
    assert_eq!(sees().await, ([1, 3], 1));
    let view = "CREATE VIEW sales AS SELECT * FROM orders; GRANT SELECT ON sales TO shop";
    server.psql("shop", view).await.expect("postgresql takes it");
    edit(site, ORDERS, "table_name", json!("sales")).await;
    let perms = "SELECT DISTINCT s.perm, s.datasource_name FROM slices s JOIN tables t ON t.id = s.datasource_id \
                 WHERE s.perm = t.perm AND t.table_name IN ('orders', 'sales')";
    let dataset = site.id("tables", ORDERS_UUID).await;
    await_rows(site, perms, &[&format!("[shop].[sales](id:{dataset})"), "sales"]).await;
    assert_eq!(sees().await, ([1, 3], 1), "the renamed dataset keeps its grants");
    assert_eq!(site.chart_data(chart).await.as_ref(), Ok(wanted));

    edit(site, DATABASE, "database_name", json!("store")).await;
    await_rows(site, perms, &[&format!("[store].[sales](id:{dataset})"), "sales"]).await;
    assert_eq!(sees().await, ([1, 3], 1), "and so do the datasets of a renamed database");
    let old = "SELECT count(*) FROM ab_view_menu WHERE name LIKE '[shop]%'";
    assert_eq!(site.pipeline.superset(old).await, [["0"]], "nothing is left under the old name");
    assert_eq!(site.chart_data(chart).await.as_ref(), Ok(wanted));
}

async fn a_rotated_password_is_used_without_a_restart(
    site: &Site,
    server: &Postgres,
    secrets: &std::path::Path,
    chart: i64,
    wanted: &Value,
) {
    let file = secrets.join("shop");
    edit(site, DATABASE, "setkeeper", json!({"secrets": {"password": format!("file:{}", file.display())}}))
        .await;
    let held = "SELECT count(*) FROM setkeeper_asset WHERE pending_change IS NOT NULL";
    await_rows(site, held, &["1"]).await;
    assert_eq!(site.chart_data(chart).await.as_ref(), Ok(wanted), "the last good state stays meanwhile");
    std::fs::write(&file, format!("{PASSWORD}\n")).expect("writable");
    await_rows(site, held, &["0"]).await;
    assert_eq!(site.chart_data(chart).await.as_ref(), Ok(wanted));

    server.psql("shop", "ALTER ROLE shop PASSWORD 'rotated пароль @:/'").await.expect("postgresql takes it");
    let refused = site.chart_data(chart).await.expect_err("the old password is no good");
    assert!(refused.1.to_string().contains("password"), "{refused:?}");
    std::fs::write(&file, "rotated пароль @:/").expect("writable");
    let answers = async || site.chart_data(chart).await;
    let answered = site.pipeline.until("the chart answers with the new password", answers).await;
    assert_eq!(&answered, wanted);

    let extra = json!({"connect_args": {"application_name": "ключ"}});
    std::fs::write(secrets.join("extra"), extra.to_string()).expect("writable");
    let references = ["shop", "extra"].map(|name| format!("file:{}", secrets.join(name).display()));
    let both = json!({"secrets": {"password": references[0], "encrypted_extra": references[1]}});
    edit(site, DATABASE, "setkeeper", both).await;
    let place = format!("/api/v1/database/{}/connection", site.id("dbs", DATABASE_UUID).await);
    site.pipeline
        .until("superset decrypts the secure extra", async || {
            let seen = site.get(&place).await["result"]["masked_encrypted_extra"].clone();
            let text = seen.as_str().unwrap_or_default();
            if serde_json::from_str(text).ok().as_ref() == Some(&extra) { Ok(()) } else { Err(seen) }
        })
        .await;
    assert_eq!(site.chart_data(chart).await.as_ref(), Ok(wanted));
}

async fn what_is_deleted_is_gone(site: &Site, chart: i64, own: (i64, i64)) {
    site.pipeline.must(&["rm", BY_REGION, "-m", "no longer needed", "--wait"]).await;
    let gone = site.superset.get(&site.admin, &format!("/api/v1/chart/{chart}")).await;
    assert_eq!(gone.expect("superset answers").0, 404);
    let charts = site.get("/api/v1/dashboard/shop/charts").await;
    assert_eq!(charts["result"].as_array().map(Vec::len), Some(2), "{charts}");
    // A dataset that charts are drawn from stays until they go.
    site.pipeline.must(&["rm", ORDERS]).await;
    let held = "SELECT path FROM setkeeper_asset WHERE pending_change IS NOT NULL";
    await_rows(site, held, &[ORDERS]).await;
    assert_eq!(site.count(&site.admin, "dataset").await, 2);
    let rest = ["assets/main/dashboards/shop", "assets/main/charts/targets_by_region"];
    site.pipeline.must(&["rm", rest[0], rest[1], REVENUE, "--wait"]).await;
    site.pipeline.must(&["rm", "assets/main/datasets/shop.targets", DATABASE, "--wait"]).await;
    for (resource, left) in [("dashboard", 1), ("chart", 1), ("dataset", 0), ("database", 0)] {
        assert_eq!(site.count(&site.admin, resource).await, left, "{resource}s");
    }
    // What people made stays, even on a dataset that is gone.
    assert_eq!(site.get(&format!("/api/v1/chart/{}", own.0)).await["result"]["slice_name"], "mine");
    assert_eq!(site.get(&format!("/api/v1/dashboard/{}", own.1)).await["result"]["dashboard_title"], "mine");
    let rights = "SELECT count(*) FROM ab_view_menu WHERE name LIKE '[s%'";
    assert_eq!(site.pipeline.superset(rights).await, [["0"]], "their rights went with them");
}

/// Sets one key of a document that is there, as a stranger with a plain client does.
async fn edit(site: &Site, at: &str, key: &str, value: Value) {
    let found = site.pipeline.session.read(&path(at)).await.expect("an answer").expect("a znode");
    let mut document: Value = serde_json::from_slice(&found.bytes).expect("a document");
    document[key] = value;
    site.pipeline.put(at, &document).await;
}

/// Waits for the only row of a query.
async fn await_rows(site: &Site, sql: &str, wanted: &[&str]) {
    site.pipeline
        .until(sql, async || {
            let rows = site.pipeline.superset(sql).await;
            if rows == [wanted] { Ok(()) } else { Err(rows) }
        })
        .await;
}
