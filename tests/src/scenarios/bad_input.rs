//! What cannot be applied is one outcome with a reason and a place; the last good state stays, and all else flows on.

use std::io::Write as _;

use serde_json::{Value, json};
use zookeeper_client::{Acls, CreateMode};

use super::world::World;
use crate::pipeline::documents::{dashboard, database, dataset, with};
use crate::pipeline::path;

super::shared![
    a_document_that_cannot_be_read_is_rejected_where_it_is_wrong,
    a_document_with_wrong_fields_is_rejected_with_the_path_of_the_key,
    a_database_that_must_not_be_connected_to_is_rejected,
    a_document_that_refers_to_nothing_is_held_in_its_last_good_state,
    a_znode_where_no_document_belongs_is_rejected,
    an_ephemeral_znode_is_rejected_and_its_end_is_no_delete,
    a_document_near_one_mebibyte_is_applied_and_a_larger_one_is_rejected,
    a_setting_that_is_no_json_is_rejected,
];

/// One bad version of a document.
struct Bad {
    what: &'static str,
    bytes: Vec<u8>,
    verdict: &'static str,
    /// What the place and the reason have to say.
    says: &'static [&'static str],
}

fn bad(what: &'static str, bytes: impl Into<Vec<u8>>, says: &'static [&'static str]) -> Bad {
    Bad { what, bytes: bytes.into(), verdict: "rejected", says }
}

/// Puts a good version, then the bad one: the good one's row stays, and another one mends it.
async fn check(w: World, tail: &str, good: &Value, column: (&str, &str), cases: Vec<Bad>) {
    let (table, name) = column;
    let rows = format!("SELECT * FROM {table} WHERE uuid = {}", literal(w, good));
    let at = w.at(tail);
    for (i, case) in cases.into_iter().enumerate() {
        let what = case.what;
        w.applied(tail, &with(good.clone(), name, format!("good {} {i}", w.n(0)))).await;
        let before = w.rows(&rows).await;
        assert!(before.contains(&format!("good {} {i}", w.n(0))), "{what}: {before}");
        let change = w.pipeline.put_bytes(&at, &case.bytes).await;
        let outcome = w.becomes(&change, case.verdict).await;
        let said = format!("{}: {}", outcome.place, outcome.reason);
        for word in case.says {
            assert!(said.contains(word), "{what}: `{word}` is not in `{said}`");
        }
        assert_eq!(w.pipeline.outcomes(&change).await.len(), 1, "{what}");
        assert_eq!(w.rows(&rows).await, before, "{what}");
        // A counter begins anew with each term, so it is not compared with what it was.
        let now = format!("setkeeper_applier_{}{{target=\"superset\"}}", case.verdict);
        let total =
            format!("setkeeper_applier_outcomes_total{{target=\"superset\",outcome=\"{}\"}}", case.verdict);
        for sample in [now, total] {
            assert!(w.metric(&sample).await >= 1.0, "{what}: {sample}");
        }
        let pending = w.pending(tail).await;
        assert_eq!(pending.len(), 1, "{what}: {pending:?}");
        assert_eq!(pending[0]["state"], case.verdict, "{what}");
        assert_eq!(pending[0]["change"], change.to_string(), "{what}");
        let told = w.history(tail).await;
        assert_eq!(told[0]["outcome"], case.verdict, "{what}: {}", told[0]);
        assert_eq!(told[0]["reason"], outcome.reason.as_str(), "{what}");
    }
    w.applied(tail, &with(good.clone(), name, format!("mended {}", w.n(0)))).await;
    assert_eq!(w.pending(tail).await.len(), 0);
}

fn literal(w: World, document: &Value) -> String {
    let uuid = document["uuid"].as_str().expect("a uuid");
    match w.pipeline.metadata.kind() {
        crate::pipeline::Metadata::Sqlite => format!("x'{}'", uuid.replace('-', "")),
        crate::pipeline::Metadata::Postgres => format!("'{uuid}'"),
    }
}

async fn a_document_that_cannot_be_read_is_rejected_where_it_is_wrong(w: World) {
    w.ground().await;
    let good = w.chart(1);
    let text = with(good.clone(), "description", "MARK").to_string();
    let pretty = serde_json::to_string_pretty(&good).expect("JSON");
    let broken = pretty.replacen("\n  \"", "\n  oops \"", 1);
    let cases = vec![
        bad("invalid JSON", broken, &["line 2", "column 3"]),
        bad("no bytes at all", "", &["line 1"]),
        bad("cut short", &text.as_bytes()[..text.len() / 2], &["line 1"]),
        bad("a key twice", text.replacen('{', "{\"slice_name\": \"x\",", 1), &["slice_name", "twice"]),
        bad(
            "a nested key twice",
            text.replacen("\"row_limit\":", "\"row_limit\":1,\"row_limit\":", 1),
            &["params.row_limit"],
        ),
        bad(
            "not UTF-8",
            text.replace("MARK", "\u{1}").into_bytes().split(|b| *b == 1).collect::<Vec<_>>().join(&0xff),
            &["UTF-8"],
        ),
        bad("NUL", text.replace("MARK", "a\0b"), &["line 1"]),
        bad("an escaped NUL", text.replace("MARK", "a\\u0000b"), &["description", "NUL"]),
        bad(
            "an integer beyond 64 bits",
            text.replace(":100", ":123456789012345678901"),
            &["params.row_limit"],
        ),
        bad("broken gzip", b"\x1f\x8bnonsense".as_slice(), &["gzip"]),
        bad("a list", "[]", &["object"]),
    ];
    check(w, "charts/a", &good, ("slices", "description"), cases).await;
}

async fn a_document_with_wrong_fields_is_rejected_with_the_path_of_the_key(w: World) {
    w.ground().await;
    let good = w.chart(1);
    let mut missing = good.clone();
    missing.as_object_mut().expect("an object").remove("slice_name");
    let json = |document: Value| document.to_string();
    let cases = vec![
        bad("a missing field", json(missing), &["slice_name"]),
        bad("a wrong type", json(with(good.clone(), "cache_timeout", "soon")), &["cache_timeout"]),
        bad("an unknown field", json(with(good.clone(), "colour", "red")), &["colour"]),
        bad("no uuid", json(with(good.clone(), "uuid", "nonsense")), &["uuid"]),
        bad("another version", json(with(good.clone(), "version", "9.9.9")), &["version", "1.0.0"]),
        bad(
            "our keys where none belong",
            json(with(good.clone(), "setkeeper", json!({"owners": []}))),
            &["setkeeper"],
        ),
    ];
    check(w, "charts/a", &good, ("slices", "description"), cases).await;
    let good = dataset(w.n(1), w.n(0));
    let mut column = good.clone();
    column["columns"][0]["type"] = json!(7);
    let mut same = good.clone();
    same["metrics"] = json!([good["metrics"][0], good["metrics"][0]]);
    let cases = vec![
        bad("a wrong type in a list", json(column), &["columns[0].type"]),
        bad("two metrics of one name", json(same), &["metrics[1]"]),
        bad("data", json(with(good.clone(), "data", "https://example.com/x.csv")), &["data"]),
    ];
    check(w, "datasets/a", &good, ("tables", "description"), cases).await;
    let good = dashboard(w.n(1), &[]);
    let cases =
        vec![bad("a position that is text", json(with(good.clone(), "position", "{}")), &["position"])];
    check(w, "dashboards/a", &good, ("dashboards", "description"), cases).await;
}

async fn a_database_that_must_not_be_connected_to_is_rejected(w: World) {
    let good = database(w.n(0));
    let uri = |uri: &str| with(good.clone(), "sqlalchemy_uri", uri).to_string();
    let secret =
        |text: &str| with(good.clone(), "setkeeper", json!({"secrets": {"password": text}})).to_string();
    let mut unread = bad(
        "a secret that is not there",
        secret("env:SETKEEPER_SECRET_ABSENT"),
        &["env:SETKEEPER_SECRET_ABSENT"],
    );
    unread.verdict = "held";
    let mut ours = bad("a variable that is not for documents", secret("env:PATH"), &["env:PATH"]);
    ours.verdict = "held";
    let cases = vec![
        bad("a file of Superset's host", uri("sqlite:////etc/passwd"), &["sqlalchemy_uri", "sqlite"]),
        bad("no URI", uri("somewhere"), &["sqlalchemy_uri"]),
        bad("a clear password", uri("postgresql://u:hunter2@h/d"), &["sqlalchemy_uri", "rotate"]),
        bad("a password of its own", with(good.clone(), "password", "hunter2").to_string(), &["password"]),
        bad("a broken reference", secret("vault:shop"), &["setkeeper.secrets.password", "env:NAME"]),
        unread,
        ours,
    ];
    check(w, "databases/a", &good, ("dbs", "external_url"), cases).await;
}

async fn a_document_that_refers_to_nothing_is_held_in_its_last_good_state(w: World) {
    w.ground().await;
    let nowhere =
        |document: Value, key: &str| with(document, key, "00000000-0000-4000-8000-000000000000").to_string();
    let good = w.chart(1);
    let mut case =
        bad("no such dataset", nowhere(good.clone(), "dataset_uuid"), &["dataset 00000000-0000-4000"]);
    case.verdict = "held";
    check(w, "charts/a", &good, ("slices", "description"), vec![case]).await;
    let good = dataset(w.n(1), w.n(0));
    let mut case =
        bad("no such database", nowhere(good.clone(), "database_uuid"), &["database 00000000-0000-4000"]);
    case.verdict = "held";
    check(w, "datasets/a", &good, ("tables", "description"), vec![case]).await;
}

async fn a_znode_where_no_document_belongs_is_rejected(w: World) {
    w.ground().await;
    for (tail, word) in [
        ("widgets/a", "widgets"),
        ("charts/two words", "two words"),
        ("charts/ümlaut", "allowed"),
        ("charts/a/b/c", "nothing of setkeeper's"),
    ] {
        let change = w.put(tail, &w.chart(1)).await;
        let outcome = w
            .pipeline
            .until(tail, async || {
                let sql = format!(
                    "SELECT verdict, reason FROM audit_outcome WHERE change_id LIKE '%@{}.0'",
                    change.czxid
                );
                w.pipeline.audit(&sql).await.pop().ok_or("no outcome")
            })
            .await;
        assert_eq!(outcome[0], "rejected", "{tail}");
        assert!(outcome[1].contains(word), "{tail}: {}", outcome[1]);
    }
    // All that is wrong with them is their names.
    w.applied("charts/a", &w.chart(1)).await;
}

async fn an_ephemeral_znode_is_rejected_and_its_end_is_no_delete(w: World) {
    w.ground().await;
    w.applied("charts/a", &w.chart(1)).await;
    let id = w.of_chart("id", &format!("chart {}", w.n(1))).await;
    let node = format!("/{}", w.at("charts/e"));
    let options = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
    let document = w.chart(2).to_string();
    let (stat, _) =
        w.pipeline.session.client().create(&node, document.as_bytes(), &options).await.expect("a create");
    let change = change::ChangeId {
        generation: w.pipeline.generation,
        path: path(&w.at("charts/e")),
        czxid: stat.czxid,
        version: Some(0),
    };
    let outcome = w.becomes(&change, "rejected").await;
    assert!(outcome.reason.contains("ephemeral"), "{outcome:?}");
    assert_eq!(w.of_chart("id", &format!("chart {}", w.n(2))).await, "");
    // The document that stands where it should is not touched by one of the same uuid that vanishes.
    let same = w.chart(1).to_string();
    let node = format!("/{}", w.at("charts/same"));
    let (stat, _) =
        w.pipeline.session.client().create(&node, same.as_bytes(), &options).await.expect("a create");
    // It has to be seen before it goes: what came and went between two looks is no change.
    let change = change::ChangeId { path: path(&w.at("charts/same")), czxid: stat.czxid, ..change };
    w.becomes(&change, "rejected").await;
    let gone = w.delete("charts/same").await;
    w.becomes(&gone, "deleted").await;
    assert_eq!(w.of_chart("id", &format!("chart {}", w.n(1))).await, id);
    w.delete("charts/e").await;
}

async fn a_document_near_one_mebibyte_is_applied_and_a_larger_one_is_rejected(w: World) {
    w.ground().await;
    let near = with(w.chart(1), "description", "x".repeat((1 << 20) - 2_000));
    w.applied("charts/near", &near).await;
    let name = format!("chart {}", w.n(1));
    assert_eq!(w.of_chart("length(description)", &name).await, ((1 << 20) - 2_000).to_string());
    let packed = |document: &Value| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(document.to_string().as_bytes()).expect("memory");
        gzip.finish().expect("memory")
    };
    let larger = with(w.chart(1), "description", "y".repeat(3 << 20));
    let change = w.pipeline.put_bytes(&w.at("charts/near"), &packed(&larger)).await;
    w.becomes(&change, "applied").await;
    assert_eq!(w.of_chart("length(description)", &name).await, (3 << 20).to_string());
    let bomb = with(w.chart(1), "description", "z".repeat(9 << 20));
    let change = w.pipeline.put_bytes(&w.at("charts/near"), &packed(&bomb)).await;
    let outcome = w.becomes(&change, "rejected").await;
    assert!(outcome.reason.contains("larger than"), "{outcome:?}");
    assert_eq!(w.of_chart("length(description)", &name).await, (3 << 20).to_string());
    w.delete("charts/near").await;
}

async fn a_setting_that_is_no_json_is_rejected(w: World) {
    let at = format!("settings/config/KEY_{}", w.n(0));
    let good = w.pipeline.put_bytes(&at, b"{\"a\": 1}").await;
    w.becomes(&good, "applied").await;
    let bad = w.pipeline.put_bytes(&at, b"{\"a\": }").await;
    let outcome = w.becomes(&bad, "rejected").await;
    assert!(outcome.reason.contains("line 1 column 7"), "{outcome:?}");
    let again = w.pipeline.put_bytes(&at, b"{\"a\": 1}").await;
    w.becomes(&again, "unchanged").await;
}
