//! No secret leaves ZooKeeper and its queue, whichever way it came there.

use change::{Topic, wire};
use serde_json::json;

use super::world::{CANARY, RESOLVED, World, page};
use crate::pipeline::documents::{database, with};
use crate::pipeline::{ENV, Pipeline};

super::shared![
    a_clear_secret_shows_up_nowhere_but_in_zookeeper_and_the_queue,
    a_secret_that_a_document_names_is_stored_encrypted_and_shows_up_nowhere,
];

async fn a_clear_secret_shows_up_nowhere_but_in_zookeeper_and_the_queue(w: World) {
    let good = database(w.n(0));
    w.applied("databases/a", &good).await;
    let uri = with(good.clone(), "sqlalchemy_uri", format!("postgresql://u:{CANARY}@h/d"));
    let extra = json!({"engine_params": {"connect_args": {"password": CANARY}}});
    let reference = json!({"secrets": {"password": CANARY}});
    let broken = uri.to_string().replace('}', "");
    for bytes in [
        uri.to_string(),
        broken,
        with(good.clone(), "password", CANARY).to_string(),
        with(uri.clone(), "unknown", true).to_string(),
        with(good.clone(), "setkeeper", reference).to_string(),
    ] {
        let change = w.pipeline.put_bytes(&w.at("databases/a"), bytes.as_bytes()).await;
        let outcome = w.becomes(&change, "rejected").await;
        assert!(!outcome.reason.contains(CANARY), "{outcome:?}");
    }
    let change = w.put("databases/a", &with(good.clone(), "extra", extra)).await;
    w.pipeline.until("an outcome", async || w.pipeline.outcomes(&change).await.pop().ok_or(())).await;
    // Where nothing of ours belongs, and where a name itself is one.
    let odd = w.pipeline.put_bytes(&w.at("widgets/a"), uri.to_string().as_bytes()).await;
    w.becomes(&odd, "rejected").await;
    let mended = w.put("databases/a", &good).await;
    w.becomes(&mended, "unchanged").await;
    shows_nowhere(w.pipeline, CANARY).await;
}

async fn a_secret_that_a_document_names_is_stored_encrypted_and_shows_up_nowhere(w: World) {
    let secrets = json!({"secrets": {"password": "env:SETKEEPER_SECRET_CANARY"}});
    w.applied("databases/a", &with(database(w.n(0)), "setkeeper", secrets)).await;
    let stored = format!("SELECT password FROM dbs WHERE database_name = 'warehouse {}'", w.n(0));
    let stored = w.rows(&stored).await;
    assert!(stored.ends_with(" bytes"), "{stored}");
    shows_nowhere(w.pipeline, RESOLVED).await;
}

async fn shows_nowhere(pipeline: &Pipeline, secret: &str) {
    let mut places = Vec::new();
    for entry in std::fs::read_dir(pipeline.folder()).expect("the folder") {
        let file = entry.expect("an entry").path();
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        // The queue is as secret as ZooKeeper: it carries what stands there.
        if !name.starts_with("queue.db") && file.is_file() {
            places.push((name, std::fs::read(&file).expect("readable")));
        }
    }
    let queue = pipeline.queue().await;
    let topic = Topic::Outcomes.name(ENV);
    let mut from = queue.first(&topic).await.expect("the queue answers");
    loop {
        let batch = queue.read(&topic, &from, 500, 1 << 24).await.expect("the queue answers");
        if batch.entries.is_empty() {
            break;
        }
        for entry in &batch.entries {
            wire::decode_outcome(&entry.headers, &entry.body).expect("an outcome");
            places.push(("an outcome".to_owned(), [entry.headers.as_bytes(), &entry.body].concat()));
        }
        from = batch.next;
    }
    for command in ["status", "history", "check"] {
        for form in ["table", "json"] {
            let output = pipeline.setkeeper(&[command, "-o", form]).await;
            places.push((format!("{command} -o {form}"), [output.stdout, output.stderr].concat()));
        }
    }
    for name in ["metrics", "readyz"] {
        places.push((name.to_owned(), page(pipeline, name).await.into_bytes()));
    }
    assert!(places.len() > 10, "{} places", places.len());
    for (name, bytes) in places {
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{name} shows a secret");
    }
}
