use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    Chart, Column, Dashboard, Database, Dataset, Document, Extras, Metric, Object, SecretRef, Secrets,
};

/// Text that is never taken for a secret or a URI.
fn text() -> impl Strategy<Value = String> {
    "[a-cA-C0-9é😀\"\\\\\n\t/ _.-]{1,8}"
}

fn maybe<T: std::fmt::Debug>(some: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    proptest::option::of(some)
}

fn flag() -> impl Strategy<Value = Option<bool>> {
    maybe(any::<bool>())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has only finite numbers", |float| float.is_finite())
            .prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            entries(inner).prop_map(Value::Object),
        ]
    })
}

fn entries(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Object> {
    proptest::collection::vec((text(), value), 0..4).prop_map(|entries| entries.into_iter().collect())
}

fn object() -> impl Strategy<Value = Option<Object>> {
    maybe(entries(value()))
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn integer() -> impl Strategy<Value = Option<i64>> {
    maybe(any::<i64>())
}

fn secret() -> impl Strategy<Value = Option<SecretRef>> {
    let references = prop_oneof!["env:[A-Z_][A-Z0-9_]{0,6}", "file:/[a-z/]{0,6}[a-z](#[a-z#]{1,4})?"];
    maybe(references.prop_map(|text| text.parse().expect("a reference")))
}

fn database() -> impl Strategy<Value = Document> {
    let flags = (flag(), flag(), flag(), flag(), flag(), flag(), flag(), any::<bool>());
    let texts = (text(), maybe(text()), maybe(Just("dynamic_form".to_owned())));
    let extra = prop_oneof![Just(Some(Database::default_extra())), object()];
    let ours = (maybe("[A-Za-z0-9._-]{1,9}"), secret(), secret());
    (flags, texts, integer(), extra, uuid(), ours).prop_map(
        |(
            flags,
            (name, external_url, configuration_method),
            cache_timeout,
            extra,
            uuid,
            (endpoint, password, encrypted_extra),
        )| {
            let host = name.replace(['\n', ' '], "");
            let host = if endpoint.is_some() { "{endpoint}/name".to_owned() } else { host };
            Document::Database(Database {
                sqlalchemy_uri: format!("hive://user:XXXXXXXXXX@{host}"),
                database_name: name,
                cache_timeout,
                expose_in_sqllab: flags.0,
                allow_run_async: flags.1,
                allow_ctas: flags.2,
                allow_cvas: flags.3,
                allow_dml: flags.4,
                allow_csv_upload: flags.5,
                extra,
                impersonate_user: flags.6,
                configuration_method,
                uuid,
                is_managed_externally: flags.7,
                external_url,
                setkeeper: Extras { secrets: Secrets { password, encrypted_extra }, endpoint },
            })
        },
    )
}

fn column() -> impl Strategy<Value = Column> {
    let flags = (flag(), flag(), flag(), flag());
    let texts = (maybe(text()), maybe(text()), maybe(text()), maybe(text()));
    (flags, texts, object(), maybe(uuid())).prop_map(|(flags, texts, extra, uuid)| Column {
        column_name: String::new(),
        verbose_name: texts.0.clone(),
        is_dttm: flags.0,
        is_active: flags.1,
        r#type: texts.1.clone(),
        advanced_data_type: texts.2.clone(),
        groupby: flags.2,
        filterable: flags.3,
        expression: texts.3.clone(),
        description: texts.0,
        python_date_format: texts.1,
        datetime_format: texts.2,
        extra,
        uuid,
    })
}

/// Its keys are known; what stands under them is Superset's affair.
fn currency() -> impl Strategy<Value = Option<Object>> {
    let keys = ["symbol", "symbolPosition"];
    let values = proptest::collection::vec(maybe(value()), keys.len());
    maybe(values.prop_map(move |values| {
        let entries = keys.into_iter().zip(values);
        entries.filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }))
}

fn metric() -> impl Strategy<Value = Metric> {
    let texts = (maybe(text()), maybe(text()), maybe(text()), text());
    (texts, currency(), object(), maybe(uuid())).prop_map(|(texts, currency, extra, uuid)| Metric {
        metric_name: String::new(),
        verbose_name: texts.0.clone(),
        metric_type: texts.1.clone(),
        expression: texts.3,
        description: texts.2.clone(),
        d3format: texts.0,
        currency,
        extra,
        warning_text: texts.2,
        uuid,
    })
}

fn dataset() -> impl Strategy<Value = Document> {
    let texts = (text(), maybe(text()), maybe(text()), maybe(text()), maybe(text()));
    let flags = (flag(), flag(), flag(), any::<bool>());
    let objects = (object(), object(), object(), maybe(proptest::collection::vec(value(), 0..3)));
    let children = (proptest::collection::vec(column(), 0..4), proptest::collection::vec(metric(), 0..4));
    (texts, flags, objects, children, (integer(), integer()), (uuid(), uuid())).prop_map(
        |(texts, flags, objects, (mut columns, mut metrics), integers, uuids)| {
            columns
                .iter_mut()
                .enumerate()
                .for_each(|(index, column)| column.column_name = format!("c{index}"));
            metrics
                .iter_mut()
                .enumerate()
                .for_each(|(index, metric)| metric.metric_name = format!("m{index}"));
            Document::Dataset(Dataset {
                table_name: texts.0,
                main_dttm_col: texts.1.clone(),
                currency_code_column: texts.2.clone(),
                description: texts.3.clone(),
                default_endpoint: texts.4.clone(),
                offset: integers.0,
                cache_timeout: integers.1,
                catalog: texts.1.clone(),
                schema: texts.2.clone(),
                sql: texts.3,
                params: objects.0,
                template_params: objects.1,
                filter_select_enabled: flags.0,
                fetch_values_predicate: texts.4,
                extra: objects.2,
                normalize_columns: flags.1,
                always_filter_main_dttm: flags.2,
                folders: objects.3,
                uuid: uuids.0,
                metrics,
                columns,
                database_uuid: uuids.1,
                is_managed_externally: flags.3,
                external_url: texts.1,
            })
        },
    )
}

fn chart() -> impl Strategy<Value = Document> {
    let texts = (text(), maybe(text()), maybe(text()), maybe(text()));
    let tags = proptest::collection::vec(text(), 0..3);
    let query_context = maybe(value().prop_map(|value| value.to_string()));
    (texts, object(), query_context, integer(), (uuid(), uuid()), any::<bool>(), tags).prop_map(
        |(texts, params, query_context, cache_timeout, uuids, is_managed_externally, tags)| {
            Document::Chart(Chart {
                viz_type: format!("{}_v2", texts.0),
                slice_name: texts.0,
                description: texts.1.clone(),
                certified_by: texts.2,
                certification_details: texts.3,
                params,
                query_context,
                cache_timeout,
                uuid: uuids.0,
                dataset_uuid: uuids.1,
                is_managed_externally,
                external_url: texts.1,
                tags,
            })
        },
    )
}

fn dashboard() -> impl Strategy<Value = Document> {
    let texts = (text(), maybe(text()), maybe(text()), maybe(text()));
    let tags = proptest::collection::vec(text(), 0..3);
    (texts, object(), object(), flag(), (uuid(), maybe(uuid()), integer()), any::<bool>(), tags).prop_map(
        |(
            texts,
            position,
            metadata,
            published,
            (uuid, theme_uuid, theme_id),
            is_managed_externally,
            tags,
        )| {
            Document::Dashboard(Dashboard {
                dashboard_title: texts.0,
                description: texts.1.clone(),
                css: texts.2.clone(),
                slug: texts.3.clone(),
                certified_by: texts.1,
                certification_details: texts.2,
                published,
                uuid,
                position,
                metadata,
                theme_uuid,
                theme_id,
                is_managed_externally,
                external_url: texts.3,
                tags,
            })
        },
    )
}

fn document() -> impl Strategy<Value = Document> {
    prop_oneof![database(), dataset(), chart(), dashboard()]
}

/// Uuids of columns and metrics may be equal by chance only; names are made different above.
fn parsed(document: &Document, text: &str) -> Result<Document, TestCaseError> {
    let parsed = crate::parse(document.kind(), text.as_bytes());
    parsed.map_err(|faults| TestCaseError::fail(format!("{faults:?} in {text}")))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_canonical_text_of_a_document_is_read_as_that_document(document in document()) {
        let canonical = document.canonical();
        let again = parsed(&document, &canonical)?;
        prop_assert_eq!(&again, &document);
        prop_assert_eq!(again.canonical(), canonical);
    }

    #[test]
    fn defaults_written_out_and_keys_in_another_order_change_nothing(document in document()) {
        let defaults = match &document {
            Document::Database(_) => json!({"expose_in_sqllab": true, "allow_dml": false, "cache_timeout": null,
                "extra": Database::default_extra(), "configuration_method": "sqlalchemy_form", "setkeeper": {}}),
            Document::Dataset(_) => json!({"offset": 0, "filter_select_enabled": true, "folders": null, "columns": []}),
            Document::Chart(_) => json!({"params": null, "query_context": null, "is_managed_externally": false}),
            Document::Dashboard(_) => json!({"published": false, "theme_uuid": null, "slug": null, "tags": []}),
        };
        let mut written: Object = document.to_json().into_iter().rev().collect();
        for (key, value) in defaults.as_object().expect("an object") {
            written.entry(key.clone()).or_insert(value.clone());
        }
        let again = parsed(&document, &Value::Object(written).to_string())?;
        prop_assert_eq!(again.canonical(), document.canonical());
    }

    #[test]
    fn a_document_never_differs_from_itself_and_always_from_nothing(document in document()) {
        prop_assert!(crate::diff(Some(&document), Some(&document)).is_empty());
        prop_assert_eq!(crate::diff(None, Some(&document)).len(), document.to_json().len());
        prop_assert_eq!(crate::diff(Some(&document), None).len(), document.to_json().len());
    }

    #[test]
    fn our_json_and_serde_s_agree_on_what_is_json(document in document(), at in any::<proptest::sample::Index>(), with in "[\\[\\]{}\",:0-9eE+\\\\. a-]{0,2}") {
        let mut text: Vec<char> = document.canonical().chars().collect();
        let at = at.index(text.len());
        text.splice(at..=at, with.chars());
        let text: String = text.into_iter().collect();
        let (ours, theirs) = (crate::json::read(&text), serde_json::from_str::<Value>(&text));
        // What is JSON and refused all the same (equal keys, large numbers) is a fault beside the value.
        let is_json = ours.is_ok();
        let is_accepted = ours.is_ok_and(|(_, faults)| faults.is_empty());
        prop_assert!(theirs.is_ok() || !is_accepted, "only ours: {}", text);
        prop_assert!(theirs.is_err() || is_json, "only serde's: {}", text);
    }

    #[test]
    fn no_bytes_make_parse_or_redact_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in "[\\[\\]{}\",:0-9a-u\\\\. -]{0,64}") {
        for kind in crate::Kind::ALL {
            prop_assert!(crate::parse(kind, &bytes).is_err() && crate::parse(kind, text.as_bytes()).is_err());
            prop_assert!(!crate::redact(kind, &bytes).is_empty());
            prop_assert!(!crate::redact(kind, text.as_bytes()).is_empty());
        }
    }
}
