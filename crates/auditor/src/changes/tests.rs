use change::{Generation, Lifetime, Tree, Zxid};
use expect_test::expect;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::chain::Head;

const FENCE: Fence = Fence { generation: 1, czxid: 7 };

fn stream() -> Stream {
    Stream {
        env: "prod".to_owned(),
        changes: None,
        outcomes: None,
        fence: FENCE,
        watcher: None,
        effective: Millis(0),
        resync: None,
        resync_needed: None,
        head: Head::genesis("prod"),
    }
}

fn entries(records: &[Record]) -> Vec<Entry<(Fence, Record)>> {
    let at = |offset| At { log: Uuid::from_u128(1), offset };
    let numbered = (1..).zip(records);
    numbered.map(|(offset, record)| Entry { at: at(offset), content: Ok((FENCE, record.clone())) }).collect()
}

fn put(path: &str, czxid: i64, version: i32, bytes: &str) -> Change {
    let op = Op::Put {
        version,
        mzxid: Zxid(czxid + i64::from(version)),
        lifetime: Lifetime::Persistent,
        by_edit: true,
        bytes: bytes.as_bytes().to_vec(),
    };
    Change { path: path.parse().expect("a path"), czxid, op }
}

fn delete(path: &str, czxid: i64) -> Change {
    Change { path: path.parse().expect("a path"), czxid, op: Op::Delete { by_edit: false } }
}

fn txn(zxid: i64, edit: Option<Edit>, changes: Vec<Change>) -> Record {
    let (committed, seen) = (Millis(1_000 + zxid), Millis(1_005 + zxid));
    Record::Txn(Txn { zxid: Zxid(zxid), committed, seen, resync: None, edit, changes })
}

#[test]
fn the_rows_and_hashes_of_a_history_are_these_for_ever() {
    let edit = Edit {
        v: 1,
        id: "01B".to_owned(),
        of: "01A".to_owned(),
        part: 2,
        parts: 3,
        author: "ada".to_owned(),
        message: "why".to_owned(),
        traceparent: None,
        rollback_of: Some("019".to_owned()),
        changes: vec![],
    };
    let generation = Generation { n: 1, id: Uuid::from_u128(5) };
    let records = [
        Record::Term(Term { generation, seen: Millis(900) }),
        txn(10, Some(edit), vec![put("settings/feature_flags/X", 10, 2, " true ")]),
        txn(20, None, vec![delete("settings/feature_flags/X", 10)]),
    ];
    let (mut stream, mut facts) = (stream(), ChangeFacts::default());
    let mut fold = Fold::new(&mut stream, &mut facts);
    entries(&records).iter().for_each(|entry| fold.entry(entry));
    let mut told = String::new();
    let mut head = Head::genesis("prod");
    for row in fold.rows {
        head = head.after(&row);
        let cell = |field: &Field| match field {
            Field::Null => "-".to_owned(),
            Field::Int(value) => value.to_string(),
            Field::Text(text) => format!("'{text}'"),
        };
        let cells: Vec<String> = row.fields.iter().map(cell).collect();
        told += &format!("{} {}\n{head}\n", row.table.format(), cells.join(" "));
    }
    expect![[r#"
        event.1 'term' 900 '{"generation":1,"id":"00000000-0000-0000-0000-000000000005","seen":900}' '1-7' '00000000-0000-0000-0000-000000000001' 1
        1:cd71d59d6325e54b07faa53622dfb7b1ae387420f6dbf153e2fa6d24b878ea8b
        change.1 '1:settings/feature_flags/X@10.2' 1 'settings/feature_flags/X' 10 2 10 12 'put' 'stream' - 'setting' - 'X' 'persistent' 'ada' 'why' '01B' '01A' 2 3 '019' - 1010 1015 1010 6 '9a9ca42e5a322a32318306752b402a7466fb1a98c27d3d8aa1af364b6d550832' 'true' 'canonical' - 2 0 - '1-7' '00000000-0000-0000-0000-000000000001' 2
        2:b417ded5cc2fca40cfb29e8ed70ecccea0d6cd236f6c4adf9e4a0186477939ce
        change.1 '1:settings/feature_flags/X@10.-' 1 'settings/feature_flags/X' 10 - 20 - 'delete' 'stream' - 'setting' - 'X' - - - - - - - - - 1020 1025 1020 - - - - - 0 1 '1:settings/feature_flags/X@10.2' '1-7' '00000000-0000-0000-0000-000000000001' 3
        3:96b3c7582c378d165de7e42c17359c17e84dd17a527087283cf6df68f8b2d9a0
    "#]].assert_eq(&told);
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize, i64, i32),
    Delete(usize, i64),
    Begin(u128),
    End(u128),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_usize, 0..4_i64, 0..4_i32).prop_map(|(path, czxid, version)| Step::Put(path, czxid, version)),
        2 => (0..4_usize, 0..4_i64).prop_map(|(path, czxid)| Step::Delete(path, czxid)),
        1 => (0..2_u128).prop_map(Step::Begin),
        1 => (0..2_u128).prop_map(Step::End),
    ];
    prop::collection::vec(step, 0..40)
}

fn record(zxid: i64, step: &Step) -> Record {
    let path = |path: &usize| format!("assets/main/charts/{path}");
    match step {
        Step::Put(at, czxid, version) => txn(zxid, None, vec![put(&path(at), *czxid, *version, "x")]),
        Step::Delete(at, czxid) => txn(zxid, None, vec![delete(&path(at), *czxid)]),
        Step::Begin(id) => Record::ResyncBegin(ResyncBegin { id: Uuid::from_u128(*id), seen: Millis(zxid) }),
        Step::End(id) => {
            let (id, seen) = (Uuid::from_u128(*id), Millis(zxid));
            let unreadable = vec!["assets/main/charts/3".parse().expect("a path")];
            Record::ResyncEnd(ResyncEnd { id, seen, count: 0, unreadable })
        }
    }
}

proptest! {
    /// The auditor's tree is the fold of the log that everybody else makes, and no change is on record twice.
    #[test]
    fn the_tree_is_the_fold_of_the_log(steps in steps()) {
        let records: Vec<Record> = (1..).zip(&steps).map(|(zxid, step)| record(zxid, step)).collect();
        let mut tree = Tree::default();
        records.iter().for_each(|record| tree.fold(record));
        let (mut stream, mut facts) = (stream(), ChangeFacts::default());
        let mut fold = Fold::new(&mut stream, &mut facts);
        entries(&records).iter().for_each(|entry| fold.entry(entry));
        let rows = fold.rows;
        let ours: Vec<_> =
            facts.tree.iter().map(|(path, node)| (path.clone(), node.czxid, node.version)).collect();
        let theirs: Vec<_> =
            tree.nodes().iter().map(|(path, node)| (path.to_string(), node.czxid, node.version)).collect();
        prop_assert_eq!(ours, theirs);
        let mut seen = BTreeSet::new();
        for row in rows.iter().filter(|row| row.table == Table::Change) {
            let Field::Text(id) = &row.fields[0] else { panic!("an id") };
            prop_assert!(seen.insert(id.clone()), "{} twice", id);
            prop_assert!(facts.known.contains_key(id));
        }
        prop_assert!(facts.tree.values().all(|node| facts.known.contains_key(&node.change_id)));
    }
}
