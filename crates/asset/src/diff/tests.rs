use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::Kind;

const HEAD: &str = r#""version":"1.0.0","uuid":"00000000-0000-0000-0000-000000000001""#;

/// Compares two documents of a kind that differ in `before` and `after`, or are not there.
#[track_caller]
fn check(kind: Kind, before: Option<&str>, after: Option<&str>, expected: Expect) {
    let required = match kind {
        Kind::Database => r#""database_name":"d","sqlalchemy_uri":"hive://d""#,
        Kind::Dataset => r#""table_name":"t","database_uuid":"00000000-0000-0000-0000-000000000002""#,
        Kind::Chart => {
            r#""slice_name":"c","viz_type":"pie","dataset_uuid":"00000000-0000-0000-0000-000000000003""#
        }
        Kind::Dashboard => r#""dashboard_title":"b""#,
    };
    let document = |keys: &str| {
        let text = format!("{{{HEAD},{required},{keys}}}");
        crate::parse(kind, text.as_bytes()).expect("a document")
    };
    let changes = diff(before.map(document).as_ref(), after.map(document).as_ref());
    expected.assert_eq(&changes.iter().map(FieldChange::to_string).collect::<Vec<_>>().join("\n"));
}

#[test]
fn changed_added_and_removed_fields_are_told_by_path() {
    check(
        Kind::Chart,
        Some(r#""params":{"row_limit":100,"a b":{"c":1},"gone":true},"description":"x""#),
        Some(r#""params":{"a b":{"c":null},"row_limit":50,"new":[1,2]},"cache_timeout":60"#),
        expect![[r#"
            description: "x" → (none)
            params.row_limit: 100 → 50
            params["a b"].c: 1 → null
            params.gone: true → (none)
            params.new: (none) → [1,2]
            cache_timeout: (none) → 60"#]],
    );
}

#[test]
fn the_order_of_keys_is_no_difference() {
    check(Kind::Chart, Some(r#""params":{"a":1,"b":2}"#), Some(r#""params":{"b":2,"a":1}"#), expect![]);
}

#[test]
fn columns_and_metrics_are_matched_by_name() {
    check(
        Kind::Dataset,
        Some(
            r#""columns":[{"column_name":"a","type":"INT"},{"column_name":"b"}],"metrics":[{"metric_name":"m","expression":"1"}]"#,
        ),
        Some(
            r#""columns":[{"column_name":"c"},{"column_name":"b","is_dttm":true},{"column_name":"a"}],"metrics":[{"metric_name":"m","expression":"2"}]"#,
        ),
        expect![[r#"
            metrics[m].expression: "1" → "2"
            columns[a].type: "INT" → (none)
            columns[b].is_dttm: (none) → true
            columns[c]: (none) → {"column_name":"c"}"#]],
    );
    check(
        Kind::Dataset,
        Some(r#""columns":[{"column_name":"a"},{"column_name":"b"}]"#),
        Some(r#""columns":[{"column_name":"b"},{"column_name":"a"}]"#),
        expect![[r#"columns: ["a","b"] → ["b","a"]"#]],
    );
}

#[test]
fn native_filters_are_matched_by_id_and_other_elements_by_place() {
    check(
        Kind::Dashboard,
        Some(
            r#""metadata":{"native_filter_configuration":[{"id":"F-1","name":"x"},{"id":"F-2"}],"list":[1,2,3,4],"twice":[{"id":"a"},{"id":"a"}]}"#,
        ),
        Some(
            r#""metadata":{"native_filter_configuration":[{"id":"F-2"},{"id":"F-1","name":"y"}],"list":[1,9,2,3,5,4],"twice":[{"id":"a"},{"id":"b"}]}"#,
        ),
        expect![[r#"
            metadata.native_filter_configuration[F-1].name: "x" → "y"
            metadata.list[1]: 2 → 9
            metadata.list[2]: 3 → 2
            metadata.list[3]: (none) → 3
            metadata.list[4]: (none) → 5
            metadata.twice[1].id: "a" → "b""#]],
    );
}

#[test]
fn text_that_is_json_is_compared_inside() {
    check(
        Kind::Chart,
        Some(r#""query_context":"{\"queries\": [{\"row_limit\": 1}], \"force\": false}""#),
        Some(r#""query_context":"{\"queries\": [{\"row_limit\": 2}], \"force\": false}""#),
        expect!["query_context.queries[0].row_limit: 1 → 2"],
    );
    check(
        Kind::Chart,
        Some(r#""query_context":"{\"a\": 1}""#),
        Some(r#""query_context":"{\"a\":1}""#),
        expect![[r#"query_context: "{\"a\": 1}" → "{\"a\":1}""#]],
    );
    check(
        Kind::Chart,
        Some(r#""description":"{no json""#),
        Some(r#""description":"[no json""#),
        expect![[r#"description: "{no json" → "[no json""#]],
    );
}

#[test]
fn an_asset_that_comes_or_goes_differs_in_every_field() {
    check(
        Kind::Chart,
        None,
        Some(r#""params":{"a":1}"#),
        expect![[r#"
        slice_name: (none) → "c"
        viz_type: (none) → "pie"
        params: (none) → {"a":1}
        uuid: (none) → "00000000-0000-0000-0000-000000000001"
        version: (none) → "1.0.0"
        dataset_uuid: (none) → "00000000-0000-0000-0000-000000000003""#]],
    );
    check(
        Kind::Dashboard,
        Some(r#""slug":"s""#),
        None,
        expect![[r#"
        dashboard_title: "b" → (none)
        slug: "s" → (none)
        uuid: "00000000-0000-0000-0000-000000000001" → (none)
        version: "1.0.0" → (none)"#]],
    );
}

#[test]
fn long_values_are_shown_shortened() {
    let long = format!("\"description\":\"{}\"", "ä".repeat(200));
    check(
        Kind::Chart,
        Some(r#""description":null"#),
        Some(&long),
        expect![[
            r#"description: (none) → "äääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääääää…"#
        ]],
    );
}

#[test]
fn values_that_are_no_documents_are_compared_too() {
    let check = |before: Option<Value>, after: Option<Value>, expected: Expect| {
        let changes = diff_values(before.as_ref(), after.as_ref());
        expected.assert_eq(&changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    };
    check(Some(json!(100)), Some(json!(200)), expect!["100 → 200"]);
    check(Some(json!(true)), Some(json!(true)), expect![""]);
    check(None, Some(json!(true)), expect!["(none) → true"]);
    check(Some(json!({"a": 1})), None, expect![[r#"{"a":1} → (none)"#]]);
    check(
        Some(json!({"v": 1, "chosen": ["a:1"]})),
        Some(json!({"v": 1, "chosen": ["b:2"]})),
        expect![[r#"chosen[0]: "a:1" → "b:2""#]],
    );
    check(None, None, expect![""]);
}
