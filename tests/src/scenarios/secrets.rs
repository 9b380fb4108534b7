//! No secret leaves ZooKeeper and its queue, whichever way it came there.

use change::{Topic, wire};
use serde_json::json;

use super::world::{CANARY, RESOLVED, World, page};
use crate::pipeline::documents::{database, with};
use crate::pipeline::{ENV, Metadata, Options, Pipeline};

super::shared![
    a_clear_secret_shows_up_nowhere_but_in_zookeeper_and_the_queue,
    a_secret_that_a_document_names_is_stored_encrypted_and_shows_up_nowhere,
];

/// Each in a module of its own: a scenario that has a pipeline for itself.
mod files {
    crate::scenarios::alone![a_secret_that_comes_later_is_awaited_and_a_rotated_one_is_written_again];

    use super::comes_and_is_rotated as a_secret_that_comes_later_is_awaited_and_a_rotated_one_is_written_again;
}

async fn comes_and_is_rotated(metadata: Metadata) {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        target: format!("secret_folders = [\"{}\"]\nsecret_retry = \"200ms\"", folder.path().display()),
        ..Options::default()
    };
    let pipeline = Pipeline::start(metadata, options).await;
    let file = folder.path().join("warehouse");
    let secrets = json!({"secrets": {"password": format!("file:{}", file.display())}});
    let put = pipeline.put("assets/main/databases/wh", &with(database(1), "setkeeper", secrets)).await;
    let held = pipeline.await_outcome(&put, "held").await;
    assert!(held.reason.contains(&file.display().to_string()), "{held:?}");
    for secret in [format!("{CANARY}-1"), format!("{CANARY}-2")] {
        std::fs::write(&file, &secret).expect("writable");
        pipeline
            .until("the secret is stored", async || {
                let found = stored(&pipeline).await;
                if found.as_ref() == Some(&secret) { Ok(()) } else { Err(found) }
            })
            .await;
    }
    let applied = pipeline.await_outcome(&put, "applied").await;
    assert_eq!(applied.cause, "reconcile");
    // A secret that cannot be read any more leaves the last one in place.
    std::fs::remove_file(&file).expect("a file");
    pipeline.put("assets/main/databases/other", &database(2)).await;
    pipeline.await_equal().await;
    assert_eq!(stored(&pipeline).await, Some(format!("{CANARY}-2")));
    shows_nowhere(&pipeline, CANARY).await;
}

/// The password of the only database that has one, decrypted.
async fn stored(pipeline: &Pipeline) -> Option<String> {
    let sql = match pipeline.metadata.kind() {
        Metadata::Sqlite => "SELECT hex(password) FROM dbs WHERE password IS NOT NULL",
        Metadata::Postgres => "SELECT encode(password, 'hex') FROM dbs WHERE password IS NOT NULL",
    };
    let hex = pipeline.superset(sql).await.concat().pop()?;
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    let cipher = superset::Cipher::new(testbed::superset::SECRET_KEY);
    Some(cipher.decrypt(&bytes).expect("encrypted with Superset's key"))
}

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
    let number = json!({"engine_params": {"connect_args": {"passcode": 71_905_566}}});
    for (key, value) in
        [("extra", extra), ("extra", number), ("external_url", json!(format!("https://u:{CANARY}@h")))]
    {
        let change = w.put("databases/a", &with(good.clone(), key, value)).await;
        w.becomes(&change, "rejected").await;
    }
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
    // What stands in the metadata database, if that is no file of the folder.
    for table in ["setkeeper_asset", "setkeeper_reference", "setkeeper_outbox", "setkeeper_stream", "dbs"] {
        let rows = pipeline.superset(&format!("SELECT * FROM {table}")).await;
        places.push((table.to_owned(), rows.concat().join("\n").into_bytes()));
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
