use change::{Millis, Zxid};
use expect_test::expect;

use super::*;

fn found(text: &str) -> Found {
    Found {
        czxid: 1,
        mzxid: Zxid(1),
        version: 0,
        mtime: Millis(0),
        lifetime: Lifetime::Persistent,
        bytes: text.as_bytes().to_vec(),
    }
}

/// Folds znodes, with the folders above them.
fn fold(settings: &mut Settings, nodes: &[(&str, &str)], unreadable: &[&str]) -> bool {
    let mut all: BTreeMap<String, Found> =
        ["", "config", "feature_flags"].map(|folder| (folder.to_owned(), found(""))).into();
    all.extend(nodes.iter().map(|(path, text)| ((*path).to_owned(), found(text))));
    settings.fold(&all, &unreadable.iter().map(|path| (*path).to_owned()).collect())
}

fn settings(nodes: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    fold(&mut settings, nodes, &[]);
    settings
}

fn note(had: &Settings) -> Note {
    let had = had.good.iter().map(|(path, value)| (path.clone(), digest(value))).collect();
    Note { pid: 1, started: "1".to_owned(), version: None, had }
}

#[test]
fn the_file_says_what_is_on_what_is_set_and_what_of_it_is_live() {
    let settings = settings(&[
        ("config/ROW_LIMIT", "7"),
        ("config/TALISMAN_CONFIG", r#"{"z":1,"a":[true,null]}"#),
        ("feature_flags/ALERT_REPORTS", "true"),
        ("feature_flags/TAGGING_SYSTEM", "false"),
        ("scale/superset", r#"{"v":1,"count":3}"#),
    ]);
    expect![[r#"
        {
          "v": 1,
          "feature_flags": {
            "ALERT_REPORTS": {
              "value": true,
              "live": true,
              "digest": "b5bea41b6c623f7c09f1bf24dcae58eb"
            },
            "TAGGING_SYSTEM": {
              "value": false,
              "live": false,
              "digest": "fcbcf165908dd18a9e49f7ff27810176"
            }
          },
          "config": {
            "ROW_LIMIT": {
              "value": 7,
              "live": true,
              "digest": "7902699be42c8a8e46fbbb4501726517"
            },
            "TALISMAN_CONFIG": {
              "value": {
                "z": 1,
                "a": [
                  true,
                  null
                ]
              },
              "live": false,
              "digest": "37a27af7f61ac856b2f6f65a8ad9b84f"
            }
          }
        }
    "#]]
    .assert_eq(&String::from_utf8(settings.render()).expect("UTF-8"));
    assert!(settings.faults().is_empty());
}

#[test]
fn what_was_written_is_read_back() {
    let settings = settings(&[("config/ROW_LIMIT", "7"), ("feature_flags/ALERT_REPORTS", "true")]);
    assert_eq!(Settings::read_back(&settings.render()), Some(settings));
    for other in ["", "{}", "[]", r#"{"v":2,"feature_flags":{},"config":{}}"#, r#"{"v":1}"#] {
        assert_eq!(Settings::read_back(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn a_bad_version_leaves_the_last_good_one_and_is_told() {
    let mut settings = settings(&[("config/ROW_LIMIT", "7"), ("feature_flags/ALERT_REPORTS", "true")]);
    let good = settings.render();
    let bad = [("config/ROW_LIMIT", "{"), ("feature_flags/ALERT_REPORTS", "\"false\"")];
    assert!(fold(&mut settings, &bad, &[]), "the faults are news");
    assert!(!fold(&mut settings, &bad, &[]));
    assert_eq!(settings.render(), good);
    let told: Vec<&String> = settings.faults().keys().collect();
    assert_eq!(told, ["settings/config/ROW_LIMIT", "settings/feature_flags/ALERT_REPORTS"]);
    assert!(fold(&mut settings, &[("config/ROW_LIMIT", "8")], &[]));
    assert!(settings.faults().is_empty());
    assert_eq!(settings.good, [("config/ROW_LIMIT".to_owned(), json!(8))].into());
}

#[test]
fn what_must_not_be_a_setting_is_told_and_left_out() {
    let settings = settings(&[
        ("config/SECRET_KEY", "\"hunter2\""),
        ("config/AUTH_TYPE", "1"),
        ("config/SQLALCHEMY_DATABASE_URI", "\"sqlite://\""),
        ("config/ROW_LIMIT/deeper", "1"),
        ("feature_flags/lower", "true"),
    ]);
    assert_eq!(settings.good, BTreeMap::new());
    assert_eq!(settings.faults().len(), 5);
    assert!(!format!("{:?}", settings.faults()).contains("hunter2"));
}

#[test]
fn a_znode_that_would_go_with_its_session_is_no_setting() {
    let mut settings = settings(&[("config/ROW_LIMIT", "7")]);
    let mut nodes: BTreeMap<String, Found> = [(String::new(), found(""))].into();
    nodes.insert("config/ROW_LIMIT".to_owned(), Found { lifetime: Lifetime::of_owner(77), ..found("8") });
    settings.fold(&nodes, &BTreeSet::new());
    assert_eq!(settings.good["config/ROW_LIMIT"], json!(7));
    assert!(settings.faults()["settings/config/ROW_LIMIT"].contains("persistent"));
}

#[test]
fn what_may_not_be_read_is_not_gone() {
    let mut settings = settings(&[("config/ROW_LIMIT", "7"), ("feature_flags/ALERT_REPORTS", "true")]);
    let good = settings.clone();
    for unreadable in [&[""][..], &["config", "feature_flags"]] {
        fold(&mut settings, &[], unreadable);
        assert_eq!(settings.good, good.good, "{unreadable:?}");
        assert!(!settings.faults().is_empty());
    }
    fold(&mut settings, &[], &["config/ROW_LIMIT", "scale"]);
    assert_eq!(settings.good.keys().collect::<Vec<_>>(), ["config/ROW_LIMIT"]);
    assert_eq!(settings.faults().keys().collect::<Vec<_>>(), ["settings/config/ROW_LIMIT"]);
}

#[test]
fn a_tree_without_settings_is_not_an_order_to_drop_them_all() {
    let mut settings = settings(&[("config/ROW_LIMIT", "7")]);
    settings.fold(&BTreeMap::new(), &BTreeSet::new());
    assert_eq!(settings.good.len(), 1);
    assert!(settings.faults().contains_key("settings"));
    fold(&mut settings, &[], &[]);
    assert_eq!(settings.good.len(), 0);
}

#[test]
fn a_process_lacks_what_it_did_not_begin_with_and_only_a_restart_brings() {
    let old =
        settings(&[("config/ROW_LIMIT", "7"), ("config/A", "1"), ("config/B", "1"), ("config/GONE", "1")]);
    let new = settings(&[
        ("config/ROW_LIMIT", "8"),
        ("config/A", "1"),
        ("config/B", "2"),
        ("config/C", "3"),
        ("feature_flags/ALERT_REPORTS", "true"),
        ("feature_flags/TAGGING_SYSTEM", "true"),
    ]);
    let lacks = |processes: &[Note]| new.lacks(processes).into_iter().collect::<Vec<_>>();
    let wanted = ["config/B", "config/C", "config/GONE", "feature_flags/TAGGING_SYSTEM"];
    assert_eq!(lacks(&[note(&new), note(&old)]), wanted);
    assert_eq!(lacks(&[note(&new)]), Vec::<String>::new());
    assert_eq!(lacks(&[]), Vec::<String>::new());
}
