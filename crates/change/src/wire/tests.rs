use super::*;
use crate::{EditChange, EditOp};
use expect_test::expect;

const FENCE: Fence = Fence { generation: 3, czxid: 77 };

fn edit() -> Edit {
    Edit {
        v: 1,
        id: "01J".to_owned(),
        of: "01J".to_owned(),
        part: 1,
        parts: 1,
        author: "ana".to_owned(),
        message: "wider".to_owned(),
        traceparent: None,
        rollback_of: None,
        changes: vec![EditChange {
            path: "assets/main/charts/a".parse().expect("a path"),
            op: EditOp::Put,
            sha256: Some("ab".to_owned()),
        }],
    }
}

fn txn(bytes: &[u8]) -> Record {
    let put = Op::Put {
        version: 4,
        mzxid: Zxid(90),
        lifetime: Lifetime::Persistent,
        by_edit: true,
        bytes: bytes.to_vec(),
    };
    Record::Txn(Txn {
        zxid: Zxid(90),
        committed: Millis(1_795_417_852_367),
        seen: Millis(1_795_417_852_369),
        resync: None,
        edit: Some(edit()),
        changes: vec![
            Change { path: "assets/main/charts/a".parse().expect("a path"), czxid: 80, op: put },
            Change {
                path: "assets/main/charts/b".parse().expect("a path"),
                czxid: 81,
                op: Op::Delete { by_edit: false },
            },
        ],
    })
}

#[test]
fn a_record_reads_back_as_it_was_written() {
    let id = Uuid::from_u128(7);
    for record in [
        txn(b"{}"),
        txn(&[0xff, 0x00, 0x1f]),
        Record::Term(Term { generation: Generation { n: 3, id }, seen: Millis(5) }),
        Record::ResyncBegin(ResyncBegin { id, seen: Millis(5) }),
        Record::ResyncEnd(ResyncEnd {
            id,
            seen: Millis(5),
            count: 2,
            unreadable: vec!["assets/x".parse().expect("a path")],
        }),
    ] {
        let encoded = encode("prod", FENCE, &record);
        assert_eq!(decode(&encoded.headers, &encoded.body).expect("decodes"), record);
    }
}

#[test]
fn the_wire_form_of_a_transaction_is_fixed() {
    let encoded = encode("prod", FENCE, &txn(b"{}"));
    expect![[r#"{"specversion":"1.0","id":"3:assets/main/charts/a@80.4","source":"setkeeper/prod","type":"dev.setkeeper.txn.v1","time":"2026-11-23T07:10:52.367Z","datacontenttype":"application/json","subject":"assets/main/charts/a"}"#]].assert_eq(&encoded.headers);
    expect![[r#"{"zxid":90,"committed":1795417852367,"seen":1795417852369,"edit":{"v":1,"id":"01J","of":"01J","part":1,"parts":1,"author":"ana","message":"wider","changes":[{"path":"assets/main/charts/a","op":"put","sha256":"ab"}]},"changes":[{"path":"assets/main/charts/a","czxid":80,"op":"put","version":4,"mzxid":90,"lifetime":"persistent","text":"{}","by_edit":true},{"path":"assets/main/charts/b","czxid":81,"op":"delete","by_edit":false}]}"#]].assert_eq(std::str::from_utf8(&encoded.body).expect("JSON"));
}

#[test]
fn an_outcome_reads_back_as_it_was_written() {
    for verdict in [
        Verdict::Applied,
        Verdict::Held {
            waiting: vec![Waiting::Reference { kind: "dataset".to_owned(), uuid: Uuid::from_u128(1) }],
        },
        Verdict::Held { waiting: vec![Waiting::Endpoint { name: "hive".to_owned() }, Waiting::Policy] },
        Verdict::Rejected { reason: "no".to_owned(), place: Some("params".to_owned()) },
    ] {
        let outcome = Outcome {
            key: OutcomeKey { target: Uuid::from_u128(9), fence: FENCE, sequence: 12 },
            target: "superset".to_owned(),
            change: "3:assets/main/charts/a@80.4".parse().expect("an id"),
            cause: Cause::Reconcile,
            verdict,
            also: vec!["assets/main/dashboards/d".parse().expect("a path")],
            before: None,
            committed: Millis(9),
        };
        let encoded = encode_outcome("prod", &outcome);
        assert_eq!(decode_outcome(&encoded.headers, &encoded.body).expect("decodes"), outcome);
    }
}

#[test]
fn a_later_minor_form_is_read_and_another_major_is_refused() {
    let encoded = encode("prod", FENCE, &txn(b"{}"));
    let added = String::from_utf8(encoded.body.clone()).expect("JSON").replacen('{', r#"{"later":1,"#, 1);
    assert_eq!(decode(&encoded.headers, added.as_bytes()).expect("decodes"), txn(b"{}"));
    let major = encoded.headers.replace("txn.v1", "txn.v2");
    let refused = decode(&major, &encoded.body).expect_err("another major").to_string();
    assert!(refused.contains("dev.setkeeper.txn.v2") && refused.contains("upgrade"), "{refused}");
}

/// What a change could wait for before there were endpoints.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
enum OldWaiting {
    Reference { kind: String, uuid: Uuid },
}

#[test]
fn one_that_waits_for_an_endpoint_is_read_by_those_that_know_of_none() {
    let waiting = Waiting::Endpoint { name: "hive".to_owned() };
    let json = serde_json::to_string(&waiting).expect("JSON");
    expect![[
        r#"{"for":"reference","kind":"endpoint","uuid":"00000000-0000-0000-0000-000000000000","name":"hive"}"#
    ]]
    .assert_eq(&json);
    let old: OldWaiting = serde_json::from_str(&json).expect("an old reader reads it");
    assert_eq!(old, OldWaiting::Reference { kind: "endpoint".to_owned(), uuid: Uuid::nil() });
}

#[test]
fn what_older_ones_wrote_of_waiting_is_read() {
    let uuid = Uuid::from_u128(1);
    for (json, waiting) in [
        (
            format!(r#"{{"for":"reference","kind":"dataset","uuid":"{uuid}"}}"#),
            Waiting::Reference { kind: "dataset".to_owned(), uuid },
        ),
        (
            r#"{"for":"secret","reference":"env:A"}"#.to_owned(),
            Waiting::Secret { reference: "env:A".to_owned() },
        ),
        (
            r#"{"for":"delete_guard","deletes":6,"limit":5}"#.to_owned(),
            Waiting::DeleteGuard { deletes: 6, limit: 5 },
        ),
        (r#"{"for":"still_used","by":["a"]}"#.to_owned(), Waiting::StillUsed { by: vec!["a".to_owned()] }),
        (r#"{"for":"policy"}"#.to_owned(), Waiting::Policy),
    ] {
        assert_eq!(serde_json::from_str::<Waiting>(&json).expect(&json), waiting);
        assert_eq!(serde_json::to_string(&waiting).expect("JSON"), json);
    }
}
