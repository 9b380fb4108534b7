//! Bundles that the tests push, as files in memory.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};

use asset::bundle::Bundle;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// Path within the bundle → bytes.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// The database that every dataset of Superset's examples names.
pub(super) const EXAMPLES_DATABASE: &str = "a2dc77af-e654-49bb-b321-40f6b559a1ee";

/// Superset 5.0's own examples, with the database that they lack. Their `data:` is left out: it is not
/// configuration, and Superset's importer would go and load it.
pub(super) fn examples(uri: &str) -> Files {
    let mut files = folder(&testbed::superset::examples().expect("setup has fetched them"));
    for bytes in files.values_mut() {
        *bytes = without(bytes, "data:");
    }
    let database = serde_json::json!({
        "database_name": "examples", "sqlalchemy_uri": uri, "uuid": EXAMPLES_DATABASE, "version": "1.0.0",
        "cache_timeout": null, "expose_in_sqllab": true, "allow_run_async": false, "allow_ctas": false,
        "allow_cvas": false, "allow_csv_upload": true, "impersonate_user": false,
        "extra": {"metadata_params": {}, "engine_params": {}, "schemas_allowed_for_csv_upload": []},
    });
    files.insert("databases/examples.yaml".to_owned(), database.to_string().into_bytes());
    files
}

/// The demo's bundle, on the database at `uri`.
pub(super) fn demo(uri: &str) -> Files {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's root");
    let mut files = folder(&root.join("deploy/demo/bundle"));
    let database = files.get_mut("databases/shop.yaml").expect("the demo has a database");
    let mut lines = without(database, "sqlalchemy_uri:");
    lines.extend(format!("sqlalchemy_uri: {uri}\n").into_bytes());
    *database = lines;
    files
}

/// The same files without a top-level key and what is indented below it.
pub(super) fn without(bytes: &[u8], key: &str) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let mut inside = false;
    let kept = text.lines().filter(|line| {
        inside = line.starts_with(key) || inside && line.starts_with([' ', '-']);
        !inside
    });
    kept.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
}

/// As setkeeper reads it.
pub(super) fn read(files: &Files) -> Bundle {
    asset::bundle::of_files(files.clone()).expect("a good bundle")
}

/// Writes the files below `folder`, and returns it.
pub(super) fn write(files: &Files, folder: PathBuf) -> PathBuf {
    for (path, bytes) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("writable");
        std::fs::write(path, bytes).expect("writable");
    }
    folder
}

/// A zip file, below one root folder, as Superset's importer wants it.
pub(super) fn zip(files: &Files) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, bytes) in files {
        zip.start_file(format!("bundle/{path}"), SimpleFileOptions::default()).expect("a new file");
        zip.write_all(bytes).expect("memory takes all");
    }
    zip.finish().expect("memory takes all").into_inner()
}

fn folder(root: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(root).expect("below the root").to_str().expect("UTF-8").to_owned();
            if name.ends_with(".yaml") {
                files.insert(name, std::fs::read(&path).expect("readable"));
            }
        }
    }
    files
}
