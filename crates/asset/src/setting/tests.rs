use expect_test::{Expect, expect};

use super::*;

/// Reads a setting, and shows its canonical text or the faults.
#[track_caller]
fn check(path: &str, text: &str, expected: Expect) {
    let (folder, name) = path.split_once('/').expect("a group and a name");
    let group = Group::from_folder(folder).expect("a group");
    let shown = match parse_setting(group, name, text.as_bytes()) {
        Ok(setting) => {
            let text = setting.to_json().to_string();
            assert_eq!(parse_setting(group, name, text.as_bytes()), Ok(setting));
            text
        }
        Err(faults) => {
            assert!(faults.iter().all(|fault| !fault.to_string().contains("hunter2")), "a value in a fault");
            faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
        }
    };
    expected.assert_eq(&shown);
}

#[test]
fn a_feature_flag_is_true_or_false_and_nothing_else() {
    check("feature_flags/ALERT_REPORTS", " true ", expect!["true"]);
    check("feature_flags/ALERT_REPORTS", "false", expect!["false"]);
    check("feature_flags/ALERT_REPORTS", r#""false""#, expect!["expected true or false, found a string"]);
    check("feature_flags/ALERT_REPORTS", "1", expect!["expected true or false, found an integer"]);
    check("feature_flags/ALERT_REPORTS", "null", expect!["expected true or false, found null"]);
    check(
        "feature_flags/ALERT_REPORTS",
        "",
        expect!["line 1 column 1: the text ends where a JSON value is expected"],
    );
    check("feature_flags/ALERT_REPORTS", "True", expect!["line 1 column 1: expected a JSON value"]);
    check(
        "feature_flags/alertReports",
        "true",
        expect![
            "the name is capital letters, digits and `_`, the first a letter; give the znode such a name"
        ],
    );
}

#[test]
fn a_configuration_key_has_any_json_value() {
    check("config/ROW_LIMIT", "5000", expect!["5000"]);
    check("config/APP_NAME", r#" "Sales" "#, expect![[r#""Sales""#]]);
    check("config/EXTRA_CATEGORICAL_COLOR_SCHEMES", r#"[{"id": "a"}]"#, expect![[r#"[{"id":"a"}]"#]]);
    check("config/SQLLAB_DEFAULT_DBID", "null", expect!["null"]);
    check(
        "config/X2_",
        r#"{"a":1,"a":2}"#,
        expect!["line 1 column 8: `a`: the key stands twice in one object; remove one of them"],
    );
    check(
        "config/2X",
        "1",
        expect![
            "the name is capital letters, digits and `_`, the first a letter; give the znode such a name"
        ],
    );
}

#[test]
fn configuration_keys_that_must_not_stand_in_zookeeper_are_refused() {
    for key in [
        "SECRET_KEY",
        "PREVIOUS_SECRET_KEY",
        "SMTP_PASSWORD",
        "GUEST_TOKEN_JWT_SECRET",
        "GLOBAL_ASYNC_QUERIES_JWT_SECRET",
        "SLACK_API_TOKEN",
        "AUTH_ROLE_PUBLIC",
        "AUTH_TYPE",
        "SQLALCHEMY_DATABASE_URI",
        "SQLALCHEMY_EXAMPLES_URI",
        "FEATURE_FLAGS",
        "DEFAULT_FEATURE_FLAGS",
        "GET_FEATURE_FLAGS_FUNC",
        "IS_FEATURE_ENABLED_FUNC",
        "FLASK_APP_MUTATOR",
    ] {
        let faults = parse_setting(Group::Config, key, b"1").expect_err(key);
        let kinds: Vec<FaultKind> = faults.iter().map(|fault| fault.kind).collect();
        assert!(
            matches!(kinds.as_slice(), [FaultKind::ClearSecret | FaultKind::Unsupported]),
            "{key}: {faults:?}"
        );
    }
    check(
        "config/SMTP_PASSWORD",
        r#""hunter2""#,
        expect!["named like a secret; rotate it, keep it in superset_config.py, and delete the znode"],
    );
}

#[test]
fn a_value_that_may_hold_a_secret_is_refused() {
    check(
        "config/CACHE_CONFIG",
        r#"{"CACHE_TYPE":"RedisCache","CACHE_REDIS_URL":"redis://u:hunter2@h/0","CACHE_REDIS_PASSWORD":"hunter2"}"#,
        expect![[r#"
            `CACHE_REDIS_URL`: may hold a clear secret; rotate it, and keep it in superset_config.py
            `CACHE_REDIS_PASSWORD`: may hold a clear secret; rotate it, and keep it in superset_config.py"#]],
    );
    check(
        "config/BROKER",
        r#""redis://:hunter2@h/0""#,
        expect!["may hold a clear secret; rotate it, and keep it in superset_config.py"],
    );
}

#[test]
fn a_scale_is_a_count_of_nodes() {
    check("scale/superset", r#"{"v":1,"count":3}"#, expect![[r#"{"v":1,"count":3}"#]]);
    check("scale/superset", r#"{"count":0,"v":1}"#, expect![[r#"{"v":1,"count":0}"#]]);
    check(
        "scale/superset",
        r#"{"v":"1","count":-1,"nodes":3}"#,
        expect![[r#"
            `v`: not a version of this format; write 1
            `count`: not a number of nodes; write an integer from 0 to 10000
            `nodes`: a scale setting has no such key; remove it, or mend its spelling"#]],
    );
    check("scale/superset", "3", expect!["expected an object, found an integer"]);
}

#[test]
fn what_an_endpoint_follows_omits_its_defaults() {
    check(
        "endpoints/hive-prod",
        r#"{"v":1,"registry":"hiveserver2","connect":null,"path":"/hiveserver2","choose":"sticky","check":null,"settle":"2000ms","min_hold":"30s"}"#,
        expect![[r#"{"v":1,"registry":"hiveserver2","path":"/hiveserver2"}"#]],
    );
    check(
        "endpoints/hive-prod",
        r#"{"v":1,"registry":"curator","connect":"zk9:2181,[::1]:2181/other","path":"/druid/broker","choose":"all","check":{"http":"/status/health"},"settle":"0s","min_hold":"1h 30m"}"#,
        expect![[
            r#"{"v":1,"registry":"curator","connect":"zk9:2181,[::1]:2181/other","path":"/druid/broker","choose":"all","check":{"http":"/status/health"},"settle":"0s","min_hold":"1h 30m"}"#
        ]],
    );
    check(
        "endpoints/hive-prod",
        r#"{"v":1,"registry":"hostport","path":"/a","check":{"tcp":true}}"#,
        expect![[r#"{"v":1,"registry":"hostport","path":"/a","check":{"tcp":true}}"#]],
    );
}

#[test]
fn what_an_endpoint_cannot_follow_is_refused_with_what_to_write() {
    check(
        "endpoints/hive-prod",
        r#"{"registry":"zk","connect":"admin:hunter2@zk:2181","path":"hiveserver2","choose":"best","check":{},"settle":2,"min_hold":"25h","host":"a"}"#,
        expect![[r#"
            `v`: required and missing; add it
            `registry`: no such registry; write one of `hiveserver2`, `kyuubi`, `curator`, `serverset`, `hostport`
            `connect`: not the hosts of an ensemble; write them like `zk1:2181,zk2:2181` or with a chroot, `zk1:2181/chroot`
            `path`: not the absolute path of a znode; write it like `/hiveserver2`
            `choose`: no way to choose; write one of `first`, `sticky`, `random`, `all`
            `check`: not one check; write `{"tcp": true}`, `{"http": "/path"}` or null
            `settle`: expected a string or null, found an integer
            `min_hold`: not a time of at most a day; write it like `2s` or `500ms`
            `host`: what an endpoint follows has no such key; remove it, or mend its spelling"#]],
    );
    check(
        "endpoints/hive-prod",
        r#"{"v":1,"registry":"hostport","path":"/a/../b","check":{"tcp":true,"http":"evil/","udp":1}}"#,
        expect![[r#"
            `path`: not the absolute path of a znode; write it like `/hiveserver2`
            `check.http`: not a path; write it like `/health`, the host and port are the endpoint's
            `check.udp`: `check` of an endpoint has no such key; remove it, or mend its spelling
            `check`: not one check; write `{"tcp": true}`, `{"http": "/path"}` or null"#]],
    );
    check(
        "endpoints/a b",
        r#"{"v":1,"registry":"hostport","path":"/a"}"#,
        expect!["the name is 1 to 200 of A-Z a-z 0-9 . _ -; give the znode such a name"],
    );
}

#[test]
fn groups_are_known_by_their_folders() {
    for group in Group::ALL {
        assert_eq!(Group::from_folder(group.folder()), Some(group));
    }
    assert_eq!(Group::from_folder("flags"), None);
}

#[test]
fn live_keys_are_those_that_were_tested() {
    for key in ["ROW_LIMIT", "SQL_MAX_ROW", "APP_NAME", "SQLLAB_DEFAULT_DBID"] {
        assert!(is_live_key(key), "{key}");
    }
    for key in ["SECRET_KEY", "AUTH_ROLE_PUBLIC", "TALISMAN_ENABLED", "SQLLAB_TIMEOUT", "DATA_CACHE_CONFIG"] {
        assert!(!is_live_key(key), "{key}");
    }
    assert!(is_live_flag("ALERT_REPORTS"));
    assert!(!is_live_flag("TAGGING_SYSTEM"));
}

#[test]
fn live_keys_hold_what_superset_can_use() {
    for (key, good, bad) in [
        (
            "ROW_LIMIT",
            &["0", "5000"][..],
            &["-1", "\"5\"", "5.5", "true", "null", "18446744073709551615"][..],
        ),
        ("SQL_MAX_ROW", &["7"], &["[]"]),
        (
            "DISALLOWED_SQL_FUNCTIONS",
            &["{}", r#"{"sqlite":["a"],"hive":[]}"#],
            &["[]", r#"{"sqlite":"a"}"#, r#"{"sqlite":[["a"]]}"#, r#"{"sqlite":null}"#],
        ),
        ("PREVENT_UNSAFE_DB_CONNECTIONS", &["false"], &["\"false\"", "0"]),
        (
            "OVERRIDE_HTTP_HEADERS",
            &["{}", r#"{"X-Frame-Options":"DENY"}"#],
            &[
                "\"x\"",
                r#"{"X A":"x"}"#,
                r#"{"":"x"}"#,
                r#"{"X-A":"a\r\nX-B: b"}"#,
                r#"{"X-A":"é"}"#,
                r#"{"X-A":1}"#,
                r#"{"content-length":"1"}"#,
            ],
        ),
        ("MAX_CONTENT_LENGTH", &["null", "1"], &["\"1\""]),
        ("FAB_API_MAX_PAGE_SIZE", &["-1", "100"], &["1.0"]),
        ("APP_NAME", &["\"\""], &["null", "1"]),
        ("EXTRA_CATEGORICAL_COLOR_SCHEMES", &["[]", r#"[{"id":"a"}]"#], &["{}", "[1]"]),
        ("SQLLAB_DEFAULT_DBID", &["null", "1"], &["\"1\""]),
        // What a restart reads may be anything.
        ("SQLLAB_TIMEOUT", &["7", "\"7\""], &[]),
    ] {
        for value in good {
            assert!(parse_setting(Group::Config, key, value.as_bytes()).is_ok(), "{key} = {value}");
        }
        for value in bad {
            assert!(parse_setting(Group::Config, key, value.as_bytes()).is_err(), "{key} = {value}");
        }
    }
    check("config/OVERRIDE_HTTP_HEADERS", "\"x\"", expect!["expected an object of strings, found a string"]);
}
