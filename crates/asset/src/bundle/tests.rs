use std::fs;
use std::io::Write as _;

use expect_test::{Expect, expect};

use super::*;

const METADATA: (&str, &str) =
    ("metadata.yaml", "version: 1.0.0\ntype: assets\ntimestamp: '2026-11-24T03:00:00+00:00'\n");
const DATABASE: (&str, &str) = (
    "databases/sales.yaml",
    "database_name: Sales\nsqlalchemy_uri: postgresql://superset:XXXXXXXXXX@db/sales\ncache_timeout: null\n\
     expose_in_sqllab: true\nallow_run_async: false\nallow_csv_upload: false\nextra:\n  metadata_params: {}\n  \
     engine_params: {}\n  metadata_cache_timeout: {}\n  schemas_allowed_for_csv_upload: []\n\
     uuid: a2dc77af-e654-49bb-b321-40f6b559a1ee\nversion: 1.0.0\n",
);
const DATASET: (&str, &str) = (
    "datasets/Sales/orders.yaml",
    "table_name: orders\nmain_dttm_col: null\noffset: 0\nextra: null\nuuid: 0e4a4ec3-0d51-4d7c-bd59-a9a1a6b9f0b7\n\
     metrics:\n- metric_name: count\n  expression: COUNT(*)\ncolumns:\n- column_name: city\n  is_active: null\n  \
     type: VARCHAR\n- column_name: zip\n  expression: null\nversion: 1.0.0\n\
     database_uuid: a2dc77af-e654-49bb-b321-40f6b559a1ee\n",
);
const CHART: (&str, &str) = (
    "charts/Orders_by_city.yaml",
    "slice_name: Orders by city\nviz_type: pie\nparams:\n  adhoc_filters:\n  - comparator:\n    - 08540\n    - 1e10\n    \
     - 123e4567\nquery_context: null\nuuid: 6a4d7d4a-5c5b-4dff-9c8b-0f9f1a7c1d11\nversion: 1.0.0\n\
     dataset_uuid: 0e4a4ec3-0d51-4d7c-bd59-a9a1a6b9f0b7\n",
);

fn files(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

fn shown(bundle: Result<Bundle, Vec<Fault>>) -> String {
    let lines: Vec<_> = match bundle {
        Ok(bundle) => {
            let documents =
                bundle.documents.iter().map(|file| format!("{} {}", file.file, file.document.canonical()));
            documents.chain(bundle.warnings.iter().map(|warning| format!("warning: {warning}"))).collect()
        }
        Err(faults) => faults.iter().map(Fault::to_string).collect(),
    };
    lines.join("\n")
}

#[track_caller]
fn check(bundle: &[(&str, &str)], expected: Expect) {
    expected.assert_eq(&shown(of_files(files(bundle))));
}

#[test]
fn an_export_is_read_whatever_its_scalars() {
    check(
        &[METADATA, DATABASE, DATASET, CHART],
        expect![[r#"
        charts/Orders_by_city.yaml {"slice_name":"Orders by city","viz_type":"pie","params":{"adhoc_filters":[{"comparator":["08540","1e10","123e4567"]}]},"uuid":"6a4d7d4a-5c5b-4dff-9c8b-0f9f1a7c1d11","version":"1.0.0","dataset_uuid":"0e4a4ec3-0d51-4d7c-bd59-a9a1a6b9f0b7"}
        databases/sales.yaml {"database_name":"Sales","sqlalchemy_uri":"postgresql://superset:XXXXXXXXXX@db/sales","uuid":"a2dc77af-e654-49bb-b321-40f6b559a1ee","version":"1.0.0"}
        datasets/Sales/orders.yaml {"table_name":"orders","uuid":"0e4a4ec3-0d51-4d7c-bd59-a9a1a6b9f0b7","metrics":[{"metric_name":"count","expression":"COUNT(*)"}],"columns":[{"column_name":"city","is_active":null,"type":"VARCHAR"},{"column_name":"zip"}],"version":"1.0.0","database_uuid":"a2dc77af-e654-49bb-b321-40f6b559a1ee"}"#]],
    );
}

#[test]
fn one_root_folder_may_hold_it_all_and_json_is_read_too() {
    let chart = r#"{"slice_name":"a","viz_type":"pie","uuid":"6a4d7d4a-5c5b-4dff-9c8b-0f9f1a7c1d11","version":"1.0.0","dataset_uuid":"0e4a4ec3-0d51-4d7c-bd59-a9a1a6b9f0b7"}"#;
    check(
        &[
            ("export/metadata.yaml", METADATA.1),
            ("export/charts/a folder/a.json", chart),
            ("__MACOSX/._a.yaml", "\0"),
        ],
        expect![[
            r#"charts/a folder/a.json {"slice_name":"a","viz_type":"pie","uuid":"6a4d7d4a-5c5b-4dff-9c8b-0f9f1a7c1d11","version":"1.0.0","dataset_uuid":"0e4a4ec3-0d51-4d7c-bd59-a9a1a6b9f0b7"}"#
        ]],
    );
}

#[test]
fn what_is_not_used_is_said_and_what_superset_skips_is_skipped() {
    check(
        &[
            METADATA,
            CHART,
            ("tags.yaml", "a"),
            ("themes/a.yaml", "a"),
            ("themes/b.yaml", "a"),
            ("queries/q.yaml", ":"),
            ("charts/.hidden.yaml", "a"),
            ("charts/_part.yaml", "a"),
            ("charts/readme.md", "a"),
            ("README.md", "a"),
        ],
        expect![[r#"
            charts/Orders_by_city.yaml {"slice_name":"Orders by city","viz_type":"pie","params":{"adhoc_filters":[{"comparator":["08540","1e10","123e4567"]}]},"uuid":"6a4d7d4a-5c5b-4dff-9c8b-0f9f1a7c1d11","version":"1.0.0","dataset_uuid":"0e4a4ec3-0d51-4d7c-bd59-a9a1a6b9f0b7"}
            warning: queries/: not used: setkeeper knows databases, datasets, charts and dashboards
            warning: tags.yaml: not used: setkeeper knows databases, datasets, charts and dashboards
            warning: themes/: not used: setkeeper knows databases, datasets, charts and dashboards"#]],
    );
}

#[test]
fn example_data_is_stripped_and_equal_columns_are_merged_with_a_warning() {
    let text = format!(
        "{}data: https://example.org/a.csv.gz\ndata_file: null\n",
        DATASET.1.replace("- column_name: zip\n", "- column_name: city\n  type: null\n")
    );
    check(
        &[METADATA, (DATASET.0, &text)],
        expect![[r#"
        datasets/Sales/orders.yaml {"table_name":"orders","uuid":"0e4a4ec3-0d51-4d7c-bd59-a9a1a6b9f0b7","metrics":[{"metric_name":"count","expression":"COUNT(*)"}],"columns":[{"column_name":"city","is_active":null}],"version":"1.0.0","database_uuid":"a2dc77af-e654-49bb-b321-40f6b559a1ee"}
        warning: datasets/Sales/orders.yaml: `data` is stripped: setkeeper does not load or translate example data
        warning: datasets/Sales/orders.yaml: `columns` has `city` more than once: the last one counts, as in Superset"#]],
    );
}

#[test]
fn what_stays_in_the_document_alone_is_told() {
    let warnings = |tags: &str| {
        let text = format!("{}tags: {tags}\n", CHART.1);
        let bundle = of_files(files(&[METADATA, (CHART.0, &text)])).expect("a bundle");
        bundle.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().concat()
    };
    let told = "charts/Orders_by_city.yaml: `tags` stay in the document: setkeeper does not write them into Superset";
    assert_eq!((warnings("[finance]"), warnings("[]")), (told.to_owned(), String::new()));
}

#[test]
fn every_fault_of_every_file_is_told_with_its_file() {
    check(
        &[
            METADATA,
            ("charts/a.yaml", "slice_name: a\nviz_type: on\nversion: 1.0.0\nuuid: 2020-01-01\nextra: {}\n"),
            ("charts/b.yaml", "a: [\n"),
            ("charts/c.json", "{\"a\": 1,}"),
            ("charts/d.yaml", ""),
            ("databases/e.yaml", "password: hunter2\nssh_tunnel: {}\n"),
        ],
        expect![[r#"
            charts/a.yaml: line 4 column 7: `uuid`: a date or time in YAML 1.1, which JSON does not have; quote it
            charts/a.yaml: `viz_type`: expected a string, found a boolean
            charts/a.yaml: `uuid`: expected a uuid in double quotes, found null
            charts/a.yaml: `dataset_uuid`: required and missing; add it
            charts/a.yaml: `extra`: a chart has no such key; remove it, or mend its spelling
            charts/b.yaml: line 1 column 4: `a`: not YAML from here on
            charts/c.json: line 1 column 9: expected a key in double quotes
            charts/d.yaml: expected an object, found null
            databases/e.yaml: `version`: required and missing; add it
            databases/e.yaml: `password`: may hold a clear secret; rotate it, remove it and write a reference instead: "setkeeper": {"secrets": {"password": "env:NAME"}}
            databases/e.yaml: `ssh_tunnel`: ssh tunnels are not supported yet; remove it
            databases/e.yaml: `database_name`: required and missing; add it
            databases/e.yaml: `sqlalchemy_uri`: required and missing; add it
            databases/e.yaml: `uuid`: required and missing; add it"#]],
    );
}

#[test]
fn one_uuid_in_two_files_is_refused() {
    check(
        &[METADATA, CHART, ("charts/copy.yaml", CHART.1)],
        expect![
            "charts/copy.yaml: `uuid`: `charts/Orders_by_city.yaml` has the same uuid; remove one of the two files"
        ],
    );
}

#[test]
fn files_that_are_no_bundle_are_refused() {
    check(
        &[],
        expect!["no `metadata.yaml` at the top or in the one root folder; a bundle is what Superset exports"],
    );
    check(
        &[CHART],
        expect!["no `metadata.yaml` at the top or in the one root folder; a bundle is what Superset exports"],
    );
    check(
        &[("a/metadata.yaml", METADATA.1), ("b/charts/c.yaml", CHART.1)],
        expect!["no `metadata.yaml` at the top or in the one root folder; a bundle is what Superset exports"],
    );
    check(
        &[("metadata.yaml", "version: 2.0.0\n")],
        expect![[
            r#"metadata.yaml: `version`: not the version of this format; setkeeper reads bundles of version "1.0.0""#
        ]],
    );
    check(
        &[("metadata.yaml", "version: [")],
        expect!["metadata.yaml: line 1 column 10: `version`: not YAML from here on"],
    );
}

#[test]
fn a_zip_and_a_folder_of_the_same_files_are_the_same_bundle() {
    let folder = tempfile::tempdir().expect("a folder");
    let zip_path = folder.path().join("bundle.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&zip_path).expect("a file"));
    for (name, text) in [METADATA, DATABASE, DATASET, CHART, ("a.bin", "x")] {
        let path = folder.path().join("export").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, text).expect("a file");
        zip.start_file(format!("export/{name}"), zip::write::SimpleFileOptions::default()).expect("an entry");
        zip.write_all(text.as_bytes()).expect("an entry");
    }
    zip.finish().expect("a zip file");
    let of_zip = read(&zip_path).expect("a bundle");
    assert_eq!(of_zip.documents.len(), 3);
    assert_eq!(read(&folder.path().join("export")).expect("a bundle"), of_zip);
    assert_eq!(of_files(files(&[METADATA, DATABASE, DATASET, CHART])).expect("a bundle"), of_zip);
}

#[test]
fn what_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = read(&folder.path().join("missing.zip")).expect_err("no file");
    assert!(missing[0].to_string().contains("missing.zip: cannot be read: "), "{}", missing[0]);
    let no_zip = folder.path().join("a.zip");
    fs::write(&no_zip, "no zip").expect("a file");
    let no_zip = read(&no_zip).expect_err("no zip");
    assert_eq!((no_zip[0].kind, no_zip.len()), (FaultKind::Bundle, 1));
}

/// Shows the znodes for these files; the uuid of the n-th begins and ends with n.
#[track_caller]
fn check_names(names: &[&str], existing: &[(u128, &str)], expected: Expect) {
    let uuid = |number: u128| Uuid::from_u128(number << 96 | number);
    let documents = names.iter().zip(1..).map(|(file, number)| {
        let kind = Kind::from_folder(first_part(file).trim_end_matches('/')).expect("a kind");
        let keys = match kind {
            Kind::Dataset => "\"table_name\":\"a\",\"database_uuid\"",
            _ => "\"slice_name\":\"a\",\"viz_type\":\"pie\",\"dataset_uuid\"",
        };
        let text = format!("{{{keys}:\"{0}\",\"uuid\":\"{0}\",\"version\":\"1.0.0\"}}", uuid(number));
        let document = crate::parse(kind, text.as_bytes()).expect("a document");
        BundleFile { file: (*file).to_owned(), document }
    });
    let bundle = Bundle { documents: documents.collect(), warnings: Vec::new() };
    let existing = existing.iter().map(|(number, path)| (uuid(*number), (*path).to_owned()));
    let paths = znode_names(&bundle, "main", &existing.collect());
    expected.assert_eq(
        &paths.iter().map(|(path, index)| format!("{index} {path}")).collect::<Vec<_>>().join("\n"),
    );
}

#[test]
fn znodes_are_named_after_files_and_datasets_after_their_database_too() {
    check_names(
        &[
            "charts/Orders by city.yaml",
            "charts/group/Größe.v2.yml",
            "datasets/Sales DB/orders.yaml",
            "datasets/plain.yaml",
        ],
        &[],
        expect![[r#"
            0 assets/main/charts/Orders_by_city
            1 assets/main/charts/Gr__e.v2
            2 assets/main/datasets/Sales_DB.orders
            3 assets/main/datasets/plain"#]],
    );
}

#[test]
fn a_uuid_keeps_its_znode_and_nobody_elses_is_taken() {
    check_names(
        &["charts/a.yaml", "charts/b.yaml", "charts/c.yaml", "charts/d/c.yaml"],
        &[(2, "assets/other/charts/z"), (9, "assets/main/charts/a"), (8, "assets/main/charts/c-00000004")],
        expect![[r#"
            0 assets/main/charts/a-00000001
            1 assets/other/charts/z
            2 assets/main/charts/c
            3 assets/main/charts/c-00000004-0000-0000-0000-000000000004"#]],
    );
}

#[test]
fn names_that_zookeeper_cannot_have_get_a_part_of_the_uuid() {
    let long = format!("charts/{}.yaml", "x".repeat(300));
    check_names(
        &["charts/..yaml", "charts/...yaml", &long],
        &[],
        expect![[r#"
        0 assets/main/charts/.-00000001
        1 assets/main/charts/..-00000002
        2 assets/main/charts/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-00000003"#]],
    );
}
