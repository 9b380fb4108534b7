use std::io::Write as _;

use expect_test::{Expect, expect};

use super::*;

const DATABASE: &str = r#"{"database_name":"sales","sqlalchemy_uri":"postgresql://superset:XXXXXXXXXX@db/sales","uuid":"a2dc77af-e654-49bb-b321-40f6b559a1ee","version":"1.0.0"}"#;
const DATASET: &str = r#"{"table_name":"orders","uuid":"0e4a4ec3-0d51-4d7c-bd59-a9a1a6b9f0b7","version":"1.0.0","database_uuid":"a2dc77af-e654-49bb-b321-40f6b559a1ee"}"#;
const CHART: &str = r#"{"slice_name":"Orders","viz_type":"table","uuid":"6a4d7d4a-5c5b-4dff-9c8b-0f9f1a7c1d11","version":"1.0.0","dataset_uuid":"0e4a4ec3-0d51-4d7c-bd59-a9a1a6b9f0b7"}"#;
const DASHBOARD: &str =
    r#"{"dashboard_title":"Sales","uuid":"9b1f7a2c-3c4d-4e5f-8a9b-0c1d2e3f4a5b","version":"1.0.0"}"#;

/// Reads the smallest document of a kind with `keys` added, and shows the canonical text or the faults.
#[track_caller]
fn check(kind: Kind, keys: &str, expected: Expect) {
    let smallest = match kind {
        Kind::Database => DATABASE,
        Kind::Dataset => DATASET,
        Kind::Chart => CHART,
        Kind::Dashboard => DASHBOARD,
    };
    let comma = if keys.is_empty() { "" } else { "," };
    check_text(kind, &format!("{}{comma}{keys}}}", &smallest[..smallest.len() - 1]), expected);
}

#[track_caller]
fn check_text(kind: Kind, text: &str, expected: Expect) {
    check_bytes(kind, text.as_bytes(), expected);
}

#[track_caller]
fn check_bytes(kind: Kind, bytes: &[u8], expected: Expect) {
    let shown = match parse(kind, bytes) {
        Ok(document) => {
            assert_eq!(parse(kind, document.canonical().as_bytes()).as_ref(), Ok(&document));
            document.canonical()
        }
        Err(faults) => {
            assert!(faults.iter().all(|fault| !fault.to_string().contains("hunter2")), "a secret in a fault");
            faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
        }
    };
    expected.assert_eq(&shown);
}

#[test]
fn the_smallest_documents_are_their_own_canonical_text() {
    for (kind, text) in Kind::ALL.into_iter().zip([DATABASE, DATASET, CHART, DASHBOARD]) {
        let document = parse(kind, text.as_bytes()).expect("the smallest document");
        assert_eq!((document.canonical().as_str(), document.kind()), (text, kind));
    }
}

#[test]
fn an_explicit_default_is_the_same_as_an_omitted_field() {
    check(
        Kind::Database,
        r#""cache_timeout":null,"expose_in_sqllab":true,"allow_run_async":false,"allow_ctas":false,"allow_cvas":false,"allow_dml":false,"allow_csv_upload":false,"extra":{"metadata_params":{},"engine_params":{},"metadata_cache_timeout":{},"schemas_allowed_for_csv_upload":[]},"impersonate_user":false,"configuration_method":"sqlalchemy_form","is_managed_externally":null,"external_url":null,"password":null,"encrypted_extra":null,"ssh_tunnel":null,"setkeeper":{"secrets":{"password":null}}"#,
        expect![[
            r#"{"database_name":"sales","sqlalchemy_uri":"postgresql://superset:XXXXXXXXXX@db/sales","uuid":"a2dc77af-e654-49bb-b321-40f6b559a1ee","version":"1.0.0"}"#
        ]],
    );
    check(
        Kind::Dataset,
        r#""offset":0,"filter_select_enabled":true,"normalize_columns":false,"always_filter_main_dttm":false,"folders":null,"metrics":[],"columns":null,"data":null,"params":null,"template_params":"""#,
        expect![[
            r#"{"table_name":"orders","uuid":"0e4a4ec3-0d51-4d7c-bd59-a9a1a6b9f0b7","version":"1.0.0","database_uuid":"a2dc77af-e654-49bb-b321-40f6b559a1ee"}"#
        ]],
    );
    check(
        Kind::Chart,
        r#""params":null,"query_context":null,"cache_timeout":null,"tags":[]"#,
        expect![[
            r#"{"slice_name":"Orders","viz_type":"table","uuid":"6a4d7d4a-5c5b-4dff-9c8b-0f9f1a7c1d11","version":"1.0.0","dataset_uuid":"0e4a4ec3-0d51-4d7c-bd59-a9a1a6b9f0b7"}"#
        ]],
    );
    check(
        Kind::Dashboard,
        r#""published":false,"slug":null,"theme_uuid":null,"theme_id":null,"tags":null"#,
        expect![[
            r#"{"dashboard_title":"Sales","uuid":"9b1f7a2c-3c4d-4e5f-8a9b-0c1d2e3f4a5b","version":"1.0.0"}"#
        ]],
    );
}

#[test]
fn a_null_that_is_not_the_default_is_kept() {
    check(
        Kind::Dataset,
        r#""offset":null,"filter_select_enabled":null,"folders":[],"extra":{},"columns":[{"column_name":"city","is_active":null,"is_dttm":null,"groupby":true,"extra":{}}]"#,
        expect![[
            r#"{"table_name":"orders","offset":null,"filter_select_enabled":null,"extra":{},"folders":[],"uuid":"0e4a4ec3-0d51-4d7c-bd59-a9a1a6b9f0b7","columns":[{"column_name":"city","is_dttm":null,"is_active":null,"extra":{}}],"version":"1.0.0","database_uuid":"a2dc77af-e654-49bb-b321-40f6b559a1ee"}"#
        ]],
    );
}

#[test]
fn top_level_keys_are_put_in_order_and_inner_keys_keep_theirs() {
    check_text(
        Kind::Chart,
        r#"{"version":"1.0.0","params":{"z":1,"a":[1.0,1e3,-0.0],"m":{"b":1,"a":2}},"dataset_uuid":"0E4A4EC30D514D7CBD59A9A1A6B9F0B7","uuid":"6a4d7d4a-5c5b-4dff-9c8b-0f9f1a7c1d11","viz_type":"table","slice_name":"Größe 😀"}"#,
        expect![[
            r#"{"slice_name":"Größe 😀","viz_type":"table","params":{"z":1,"a":[1.0,1000.0,-0.0],"m":{"b":1,"a":2}},"uuid":"6a4d7d4a-5c5b-4dff-9c8b-0f9f1a7c1d11","version":"1.0.0","dataset_uuid":"0e4a4ec3-0d51-4d7c-bd59-a9a1a6b9f0b7"}"#
        ]],
    );
}

#[test]
fn other_names_and_texts_of_older_exports_are_read() {
    check(
        Kind::Database,
        r#""allow_file_upload":true,"extra":{"schemas_allowed_for_file_upload":["a"],"allow_multi_catalog":true}"#,
        expect![[
            r#"{"database_name":"sales","sqlalchemy_uri":"postgresql://superset:XXXXXXXXXX@db/sales","allow_csv_upload":true,"extra":{"schemas_allowed_for_csv_upload":["a"],"allow_multi_catalog":true},"uuid":"a2dc77af-e654-49bb-b321-40f6b559a1ee","version":"1.0.0"}"#
        ]],
    );
    check(
        Kind::Dataset,
        r#""params":"{\"a\": 1}","metrics":[{"metric_name":"count","expression":"COUNT(*)","currency":"{\"symbol\": \"EUR\", \"symbolPosition\": \"prefix\"}","extra":""}]"#,
        expect![[
            r#"{"table_name":"orders","params":{"a":1},"uuid":"0e4a4ec3-0d51-4d7c-bd59-a9a1a6b9f0b7","metrics":[{"metric_name":"count","expression":"COUNT(*)","currency":{"symbol":"EUR","symbolPosition":"prefix"}}],"version":"1.0.0","database_uuid":"a2dc77af-e654-49bb-b321-40f6b559a1ee"}"#
        ]],
    );
}

#[test]
fn every_fault_of_a_document_is_told() {
    check_text(
        Kind::Dataset,
        r#"{"table_name": 5, "uuid": "x", "version": "2.0.0", "offset": 1.5, "Schema": null, "is_managed_externally": "yes",
            "columns": [{"column_name": "a", "tpye": "INT"}, {"type": []}, 7, {"column_name": "a"}],
            "metrics": [{"metric_name": ""}], "params": "no json", "folders": {}}"#,
        expect![[r#"
            `version`: not the version of this format; write "1.0.0"
            `table_name`: expected a string, found an integer
            `offset`: expected an integer or null, found a float
            `params`: text that is not a JSON object; write the object itself or null
            `folders`: expected a list or null
            `uuid`: not a uuid; it looks like `123e4567-e89b-12d3-a456-426614174000`
            `metrics[0].metric_name`: a name must not be empty
            `metrics[0].expression`: required and missing; add it
            `columns[0].tpye`: a column has no such key; remove it, or mend its spelling
            `columns[1].column_name`: required and missing; add it
            `columns[1].type`: expected a string or null, found a list
            `columns[2]`: expected an object, found an integer
            `database_uuid`: required and missing; add it
            `is_managed_externally`: expected true, false or null, found a string
            `columns[3].column_name`: an earlier one has the same name; remove or rename one of them
            `Schema`: a dataset has no such key; remove it, or mend its spelling"#]],
    );
}

#[test]
fn what_is_not_a_document_at_all_is_told_with_its_place() {
    check_text(Kind::Chart, "", expect!["line 1 column 1: the text ends where a JSON value is expected"]);
    check_text(Kind::Chart, "[]", expect!["expected an object, found a list"]);
    check_text(
        Kind::Chart,
        "{\"a\": {\"b\": [1,\n  2 3]}}",
        expect!["line 2 column 5: `a.b`: expected `,` or `]`"],
    );
    check_text(
        Kind::Chart,
        "{\"a\": NaN}",
        expect!["line 1 column 7: `a`: NaN and Infinity are not JSON; write a number or null"],
    );
    check_text(
        Kind::Chart,
        "{\"a\": 012}",
        expect![
            "line 1 column 7: `a`: a number must not begin with 0; write it without, or in double quotes"
        ],
    );
    check_text(Kind::Chart, "{\"a\": 1.}", expect!["line 1 column 9: `a`: expected a digit"]);
    check_text(Kind::Chart, "{'a': 1}", expect!["line 1 column 2: expected a key in double quotes"]);
    check_text(Kind::Chart, "{\"a\": 1,}", expect!["line 1 column 9: expected a key in double quotes"]);
    check_text(Kind::Chart, "{\"a\": nul}", expect!["line 1 column 7: `a`: expected a JSON value"]);
    check_text(
        Kind::Chart,
        "{\"a\": \"\u{1}\"}",
        expect!["line 1 column 8: `a`: a control character in a string; write it as an escape"],
    );
    check_text(
        Kind::Chart,
        "{\"ä\": \"\\ud800\"}",
        expect!["line 1 column 14: `ä`: half of a surrogate pair, which is not a character"],
    );
    check_text(
        Kind::Chart,
        "{\"a\": \"\\ud83d\\ue000\"}",
        expect!["line 1 column 20: `a`: half of a surrogate pair, which is not a character"],
    );
    check_text(
        Kind::Chart,
        "{\"a\": \"\\u12",
        expect!["line 1 column 10: `a`: expected four hexadecimal digits"],
    );
    check_text(Kind::Chart, "{\"a\": \"\\x\"}", expect!["line 1 column 9: `a`: not an escape of JSON"]);
    check_text(Kind::Chart, "{\"a\": \"b", expect!["line 1 column 9: `a`: the text ends within a string"]);
    check_text(
        Kind::Chart,
        "{} {}",
        expect!["line 1 column 4: more text after the end of the document; one document is one JSON object"],
    );
    check_text(
        Kind::Chart,
        "\u{feff}{}",
        expect!["line 1 column 1: the text begins with a byte order mark; save it without one"],
    );
    check_bytes(
        Kind::Chart,
        b"{\"a\": \"\xff\"}",
        expect!["not UTF-8 from byte 7 on; save the text as UTF-8"],
    );
    check_bytes(
        Kind::Chart,
        b"\x1f\x8b nothing packed",
        expect!["begins as gzip and cannot be unpacked (invalid gzip header); write it again"],
    );
}

#[test]
fn equal_keys_large_integers_and_nul_are_refused_together() {
    check(
        Kind::Chart,
        "\n\"params\": {\"a\": 1, \"b\": [18446744073709551616],\n \"a\": 2, \"c d\": \"x\\u0000\", \"e\": 1e999,\n \"f\": 18446744073709551615, \"g\": -9223372036854775808}, \"uuid\": 1",
        expect![[r#"
            line 2 column 26: `params.b[0]`: an integer beyond 64 bits; write it in double quotes or smaller
            line 3 column 2: `params.a`: the key stands twice in one object; remove one of them
            line 3 column 17: `params["c d"]`: the string holds NUL (`\u0000`); remove it
            line 3 column 33: `params.e`: a number beyond the largest float; write a smaller one
            line 4 column 57: `uuid`: the key stands twice in one object; remove one of them"#]],
    );
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("\"params\": {{\"a\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
    let comma = |keys: String| format!("{},{keys}}}", &CHART[..CHART.len() - 1]);
    assert!(parse(Kind::Chart, comma(nested(126)).as_bytes()).is_ok());
    check(Kind::Chart, &nested(127), expect!["line 1 column 303: nested deeper than 128 levels"]);
    check_text(
        Kind::Chart,
        &"[".repeat(1_000_000),
        expect!["line 1 column 129: nested deeper than 128 levels"],
    );
}

#[test]
fn clear_secrets_of_a_database_are_refused_and_never_told() {
    check(
        Kind::Database,
        r#""password": "hunter2", "encrypted_extra": "{\"a\": \"hunter2\"}", "masked_encrypted_extra": {}, "setkeeper": {"secrets": {"password": "hunter2", "encrypted_extra": 5}},
           "extra": {"engine_params": {"connect_args": {"auth_token": "hunter2", "url": "http://a:hunter2@b"}}, "credentials_path": "/run/key"}"#,
        expect![[r#"
            `password`: may hold a clear secret; rotate it, remove it and write a reference instead: "setkeeper": {"secrets": {"password": "env:NAME"}}
            `encrypted_extra`: may hold a clear secret; rotate it, remove it and write a reference instead: "setkeeper": {"secrets": {"encrypted_extra": "file:/path"}}
            `masked_encrypted_extra`: may hold a clear secret; rotate it, remove it and write a reference instead: "setkeeper": {"secrets": {"encrypted_extra": "file:/path"}}
            `extra.engine_params.connect_args.auth_token`: may hold a clear secret; rotate it, move it into the encrypted extra and write a reference instead: "setkeeper": {"secrets": {"encrypted_extra": "file:/path"}}
            `extra.engine_params.connect_args.url`: may hold a clear secret; rotate it, move it into the encrypted extra and write a reference instead: "setkeeper": {"secrets": {"encrypted_extra": "file:/path"}}
            `setkeeper.secrets.password`: not a reference to a secret; write `env:NAME` or `file:/absolute/path`, in 1,000 bytes at most, never the secret itself
            `setkeeper.secrets.encrypted_extra`: expected a string or null, found an integer"#]],
    );
    let uri = |uri: &str| DATABASE.replace("postgresql://superset:XXXXXXXXXX@db/sales", uri);
    check_text(
        Kind::Database,
        &uri("postgresql://superset:hunter2@db/sales"),
        expect![[
            r#"`sqlalchemy_uri`: holds a clear secret; rotate it, put `XXXXXXXXXX` in its place and write a reference instead: "setkeeper": {"secrets": {"password": "env:NAME"}}"#
        ]],
    );
    check_text(
        Kind::Database,
        &uri("hive://db/sales?password=hunter2"),
        expect![[
            r#"`sqlalchemy_uri`: holds a clear secret; rotate it, put `XXXXXXXXXX` in its place and write a reference instead: "setkeeper": {"secrets": {"password": "env:NAME"}}"#
        ]],
    );
    check_text(
        Kind::Database,
        &uri("hunter2"),
        expect!["`sqlalchemy_uri`: not a URI of SQLAlchemy; write it like `postgresql://user@host/name`"],
    );
    check_text(
        Kind::Database,
        &DATABASE.replace("\"sales\"", "[\"hunter2\"]"),
        expect!["`database_name`: expected a string, found a list"],
    );
}

#[test]
fn numbers_and_other_names_of_secrets_are_refused_in_a_database() {
    check(
        Kind::Database,
        r#""extra":{"engine_params":{"connect_args":{"password":12345,"pin":{"token":[1]},"Authorization":"hunter2","passcode":"hunter2","db_pass":"hunter2","dbPass":"hunter2",
            "token_lifetime":30,"bypass":"x","passenger":"x","credentials_path":"/x"}}}"#,
        expect![[r#"
            `extra.engine_params.connect_args.password`: may hold a clear secret; rotate it, move it into the encrypted extra and write a reference instead: "setkeeper": {"secrets": {"encrypted_extra": "file:/path"}}
            `extra.engine_params.connect_args.pin.token[0]`: may hold a clear secret; rotate it, move it into the encrypted extra and write a reference instead: "setkeeper": {"secrets": {"encrypted_extra": "file:/path"}}
            `extra.engine_params.connect_args.Authorization`: may hold a clear secret; rotate it, move it into the encrypted extra and write a reference instead: "setkeeper": {"secrets": {"encrypted_extra": "file:/path"}}
            `extra.engine_params.connect_args.passcode`: may hold a clear secret; rotate it, move it into the encrypted extra and write a reference instead: "setkeeper": {"secrets": {"encrypted_extra": "file:/path"}}
            `extra.engine_params.connect_args.db_pass`: may hold a clear secret; rotate it, move it into the encrypted extra and write a reference instead: "setkeeper": {"secrets": {"encrypted_extra": "file:/path"}}
            `extra.engine_params.connect_args.dbPass`: may hold a clear secret; rotate it, move it into the encrypted extra and write a reference instead: "setkeeper": {"secrets": {"encrypted_extra": "file:/path"}}"#]],
    );
}

#[test]
fn passwords_in_uris_are_refused_everywhere() {
    for kind in [Kind::Database, Kind::Chart, Kind::Dashboard] {
        check(
            kind,
            r#""external_url":"https://u:hunter2@h/x""#,
            expect!["`external_url`: holds a clear secret; rotate it and take it out of the address"],
        );
    }
    check(
        Kind::Dataset,
        r#""default_endpoint":"https://h?token=hunter2","external_url":"https://u:hunter2@h","sql":"SELECT * FROM dblink('postgresql://u:hunter2@h/d')","template_params":{"a":["b://u:hunter2@h"]}"#,
        expect![[r#"
            `sql`: holds a URI with a clear password; rotate it and take it out
            `template_params.a[0]`: holds a URI with a clear password; rotate it and take it out
            `default_endpoint`: holds a clear secret; rotate it and take it out of the address
            `external_url`: holds a clear secret; rotate it and take it out of the address"#]],
    );
    check(
        Kind::Chart,
        r#""params":{"a":{"b":"x://u:hunter2@h"}},"query_context":"{\"a\": \"x://u:hunter2@h\"}""#,
        expect![[r#"
            `params.a.b`: holds a URI with a clear password; rotate it and take it out
            `query_context`: holds a URI with a clear password; rotate it and take it out"#]],
    );
}

#[test]
fn what_only_looks_like_a_password_may_stand_in_a_text() {
    check(
        Kind::Dashboard,
        r#""description":"see https://h:8088 or mail a@b; pg://u:XXXXXXXXXX@h, pg://u:***@h, pg://u:${PW}@h, pg://u:{pw}@h, pg://u:<pw>@h","css":"a[href='http://h/?token=1']","metadata":{"token":"t","password":7}"#,
        expect![[
            r#"{"dashboard_title":"Sales","description":"see https://h:8088 or mail a@b; pg://u:XXXXXXXXXX@h, pg://u:***@h, pg://u:${PW}@h, pg://u:{pw}@h, pg://u:<pw>@h","css":"a[href='http://h/?token=1']","uuid":"9b1f7a2c-3c4d-4e5f-8a9b-0c1d2e3f4a5b","metadata":{"token":"t","password":7},"version":"1.0.0"}"#
        ]],
    );
}

#[test]
fn a_currency_has_two_keys() {
    check(
        Kind::Dataset,
        r#""metrics":[{"metric_name":"a","expression":"1","currency":{"symbol":"EUR","symbolPosition":"prefix","symbolPositon":1}}]"#,
        expect![
            "`metrics[0].currency.symbolPositon`: a currency has no such key; remove it, or mend its spelling"
        ],
    );
}

#[test]
fn a_query_context_is_read_as_strictly_as_the_document() {
    check(
        Kind::Chart,
        r#""query_context":"{\"a\": 1, \"a\": 2, \"b\": [123456789012345678901234567890]}""#,
        expect![[r#"
            `query_context`: in the JSON that it holds: line 1 column 10: `a`: the key stands twice in one object; remove one of them
            `query_context`: in the JSON that it holds: line 1 column 24: `b[0]`: an integer beyond 64 bits; write it in double quotes or smaller"#]],
    );
}

#[track_caller]
fn check_endpoint(uri: &str, setkeeper: &str, expected: Expect) {
    let database = DATABASE.replace("postgresql://superset:XXXXXXXXXX@db/sales", uri);
    let text = format!("{},\"setkeeper\":{setkeeper}}}", &database[..database.len() - 1]);
    check_text(Kind::Database, &text, expected);
}

#[test]
fn a_uri_has_a_place_for_the_endpoint() {
    for uri in [
        "hive://{endpoint}/default",
        "hive://{endpoint}",
        "trino://u@{endpoint}?x=1",
        "hive://u:XXXXXXXXXX@{endpoint}/default",
    ] {
        let expected = format!(
            r#"{{"database_name":"sales","sqlalchemy_uri":"{uri}","uuid":"a2dc77af-e654-49bb-b321-40f6b559a1ee","version":"1.0.0","setkeeper":{{"endpoint":"hive-prod"}}}}"#
        );
        let document = parse(Kind::Database, expected.as_bytes()).expect(uri);
        assert_eq!(document.canonical(), expected);
    }
}

#[test]
fn an_endpoint_and_its_place_in_the_uri_go_together() {
    check_endpoint(
        "hive://{endpoint}/default",
        "{}",
        expect![[
            r#"`sqlalchemy_uri`: holds `{endpoint}`, and no endpoint is named; add "setkeeper": {"endpoint": "NAME"}, or write host and port"#
        ]],
    );
    check_endpoint(
        "hive://host:1/default",
        r#"{"endpoint":"hive"}"#,
        expect![
            "`setkeeper.endpoint`: `sqlalchemy_uri` has no place for the endpoint; write `{endpoint}` there for host and port, or remove this key"
        ],
    );
    check_endpoint(
        "hive://{endpoint},{endpoint}/default",
        r#"{"endpoint":"hive"}"#,
        expect!["`sqlalchemy_uri`: holds `{endpoint}` more than once; write it once"],
    );
}

#[test]
fn an_endpoint_stands_where_a_host_does_and_nowhere_else() {
    check_endpoint(
        "hive://{endpoint}.example/default",
        r#"{"endpoint":"hive"}"#,
        expect![
            "`sqlalchemy_uri`: `{endpoint}` is no host there; write it like `hive://user@{endpoint}/name`"
        ],
    );
    check_endpoint(
        "hive://host/{endpoint}",
        r#"{"endpoint":"hive"}"#,
        expect![
            "`sqlalchemy_uri`: `{endpoint}` is no host there; write it like `hive://user@{endpoint}/name`"
        ],
    );
    check_endpoint(
        "hive://host/x@{endpoint}",
        r#"{"endpoint":"hive"}"#,
        expect![
            "`sqlalchemy_uri`: `{endpoint}` is no host there; write it like `hive://user@{endpoint}/name`"
        ],
    );
    check_endpoint(
        "hive://a,{endpoint}/default",
        r#"{"endpoint":"hive"}"#,
        expect![
            "`sqlalchemy_uri`: `{endpoint}` is no host there; write it like `hive://user@{endpoint}/name`"
        ],
    );
    check_endpoint(
        "{endpoint}://host/default",
        r#"{"endpoint":"hive"}"#,
        expect![
            "`sqlalchemy_uri`: `{endpoint}` is no host there; write it like `hive://user@{endpoint}/name`"
        ],
    );
    check_endpoint(
        "hive://u:{endpoint}@host/default",
        r#"{"endpoint":"hive"}"#,
        expect![[r#"
        `sqlalchemy_uri`: holds a clear secret; rotate it, put `XXXXXXXXXX` in its place and write a reference instead: "setkeeper": {"secrets": {"password": "env:NAME"}}
        `sqlalchemy_uri`: `{endpoint}` is no host there; write it like `hive://user@{endpoint}/name`"#]],
    );
    check_endpoint(
        "hive://{endpoint}/default?a=b@c",
        r#"{"endpoint":"hive"}"#,
        expect![[
            r#"`sqlalchemy_uri`: holds a clear secret; rotate it, put `XXXXXXXXXX` in its place and write a reference instead: "setkeeper": {"secrets": {"password": "env:NAME"}}"#
        ]],
    );
    check_endpoint(
        "hive://{endpoint}/default",
        r#"{"endpoint":"hive prod/x"}"#,
        expect!["`setkeeper.endpoint`: not the name of an endpoint; that is 1 to 200 of A-Z a-z 0-9 . _ -"],
    );
    check_endpoint(
        "hive://{endpoint}/default",
        r#"{"endpoint":7}"#,
        expect![[r#"
        `setkeeper.endpoint`: expected a string or null, found an integer
        `sqlalchemy_uri`: holds `{endpoint}`, and no endpoint is named; add "setkeeper": {"endpoint": "NAME"}, or write host and port"#]],
    );
}

#[test]
fn references_to_secrets_are_read() {
    check(
        Kind::Database,
        r#""password": "XXXXXXXXXX", "setkeeper": {"secrets": {"encrypted_extra": "file:/run/secrets.json#sales", "password": "env:SALES_PASSWORD"}}"#,
        expect![[
            r#"{"database_name":"sales","sqlalchemy_uri":"postgresql://superset:XXXXXXXXXX@db/sales","uuid":"a2dc77af-e654-49bb-b321-40f6b559a1ee","version":"1.0.0","setkeeper":{"secrets":{"password":"env:SALES_PASSWORD","encrypted_extra":"file:/run/secrets.json#sales"}}}"#
        ]],
    );
}

#[test]
fn what_setkeeper_does_not_know_is_refused() {
    check(
        Kind::Database,
        r#""ssh_tunnel": {"server_address": "a"}, "configuration_method": "magic", "allow_file_upload": true, "allow_csv_upload": true, "setkeeper": {"owners": []}, "extra": {"schemas_allowed_for_csv_upload": [], "schemas_allowed_for_file_upload": []}"#,
        expect![[r#"
            `ssh_tunnel`: ssh tunnels are not supported yet; remove it
            `allow_file_upload`: another name of `allow_csv_upload`, which is there too; remove one
            `extra`: `schemas_allowed_for_file_upload` is another name of `schemas_allowed_for_csv_upload`, which is there too; remove one
            `configuration_method`: write `sqlalchemy_form` or `dynamic_form`
            `setkeeper.owners`: `setkeeper` of a database has no such key; remove it, or mend its spelling"#]],
    );
    check(
        Kind::Dataset,
        r#""data": "https://example.org/a.csv", "data_file": "a.parquet", "source_db_engine": "hive", "setkeeper": {}"#,
        expect![[r#"
            `data`: loads or translates example data, which setkeeper does not; strip it
            `data_file`: loads or translates example data, which setkeeper does not; strip it
            `source_db_engine`: loads or translates example data, which setkeeper does not; strip it
            `setkeeper`: a dataset has no such key; remove it, or mend its spelling"#]],
    );
    check(
        Kind::Chart,
        r#""tags": ["a", 1], "query_context": "{", "data": null, "a b\n": 1"#,
        expect![[r#"
        `query_context`: text that is not JSON; write the JSON as text, or null
        `tags[1]`: expected a string, found an integer
        `data`: a chart has no such key; remove it, or mend its spelling
        `["a b\n"]`: a chart has no such key; remove it, or mend its spelling"#]],
    );
    check(
        Kind::Dashboard,
        r#""position": [], "metadata": "{}", "theme_id": "1", "theme_uuid": 1"#,
        expect![[r#"
            `position`: expected an object or null, found a list
            `metadata`: expected an object or null, found a string
            `theme_uuid`: expected a uuid in double quotes, found an integer
            `theme_id`: expected an integer or null, found a string"#]],
    );
}

#[test]
fn charts_of_types_that_superset_migrates_are_refused() {
    for viz_type in ["treemap", "line", "filter_box"] {
        let faults = parse(Kind::Chart, CHART.replace("\"table\"", &format!("\"{viz_type}\"")).as_bytes());
        let fault = faults.expect_err("an old type").remove(0);
        let expected = match viz_type {
            "treemap" => expect![
                "`viz_type`: `treemap` was replaced by `treemap_v2`; import the chart into Superset, which rewrites its parameters too, and export it again"
            ],
            "line" => expect![
                "`viz_type`: `line` was replaced by `echarts_timeseries_line`, `echarts_timeseries_smooth` or `echarts_timeseries_step`; import the chart into Superset, which rewrites its parameters too, and export it again"
            ],
            _ => expect![
                "`viz_type`: Superset has removed `filter_box`; use native filters of the dashboard instead"
            ],
        };
        expected.assert_eq(&fault.to_string());
    }
}

#[test]
fn faults_are_bounded_and_on_one_line() {
    let keys: Vec<_> = (0..150).map(|index| format!("\"k{index}\\n\": 1")).collect();
    let text = format!("{},{}}}", &CHART[..CHART.len() - 1], keys.join(","));
    let faults = parse(Kind::Chart, text.as_bytes()).expect_err("unknown keys");
    assert_eq!((faults.len(), faults[100].to_string().as_str()), (101, "50 more faults"));
    assert!(faults.iter().all(|fault| !fault.to_string().contains('\n')));
}

#[test]
fn a_great_many_faults_are_counted_in_time() {
    let keys = "\"a\":0,".repeat(DOCUMENT_BYTES_MAX / 8);
    let faults =
        parse(Kind::Chart, format!("{{\"params\":{{{keys}\"a\":0}}}}").as_bytes()).expect_err("equal keys");
    assert_eq!(faults.len(), 101);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

#[test]
fn gzip_is_read_up_to_a_bound() {
    let document = parse(Kind::Chart, &gzip(CHART.as_bytes())).expect("packed");
    assert_eq!(document.canonical(), CHART);
    let spaces = |count: usize| gzip(format!("{CHART}{}", " ".repeat(count - CHART.len())).as_bytes());
    assert!(parse(Kind::Chart, &spaces(DOCUMENT_BYTES_MAX)).is_ok());
    check_bytes(
        Kind::Chart,
        &spaces(DOCUMENT_BYTES_MAX + 1),
        expect!["larger than 8388608 bytes unpacked; make the document smaller"],
    );
}

#[test]
fn the_hash_is_of_the_canonical_text() {
    let with_space = CHART.replace(':', " : ");
    let hash = |text: &str| parse(Kind::Chart, text.as_bytes()).expect("a chart").document_hash();
    assert_eq!(hash(CHART), hash(&with_space));
    assert_eq!(hash(CHART), crate::canonical::hex_sha256(CHART.as_bytes()));
}
