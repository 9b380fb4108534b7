//! What comes out while nothing fails.

use super::bench::{Bench, chart};

#[tokio::test(flavor = "multi_thread")]
async fn a_first_term_sends_all_that_stands_and_then_what_changes() {
    let mut bench = Bench::start().await;
    bench.put("a", "1").await;
    bench.edit("e1", &["+b", "+c"]).await;
    let running = bench.stream().await;
    bench.until_equal().await;
    assert_eq!(
        bench.take_printed(),
        [
            "term of generation 1",
            "resync begins",
            "+a.0 1",
            "e1: +b.0* e1 0, +c.0* e1 1",
            "resync ends with 3"
        ]
    );
    bench.put("a", "2").await;
    bench.until_equal().await;
    bench.delete("b").await;
    bench.until_equal().await;
    assert_eq!(bench.take_printed(), ["+a.1 2", "-b"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_multi_with_an_edit_is_one_record_whatever_it_holds() {
    let mut bench = Bench::start().await;
    bench.put("a", "1").await;
    bench.put("b", "1").await;
    let running = bench.stream().await;
    bench.until_equal().await;
    bench.take_printed();
    bench.edit("e1", &["=a", "-b", "+c", "=a"]).await;
    bench.until_equal().await;
    assert_eq!(bench.take_printed(), ["e1: +a.2* e1 3, -b*, +c.0* e1 2"]);
    // More paths than reads may be in flight.
    let many: Vec<String> = (0..300).map(|n| format!("+m{n:03}")).collect();
    bench.edit("e2", &many.iter().map(String::as_str).collect::<Vec<_>>()).await;
    bench.until_equal().await;
    let printed = bench.take_printed();
    assert_eq!(printed.len(), 1, "{printed:#?}");
    assert_eq!(printed[0].matches('*').count(), 300);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_multi_without_an_edit_is_one_record_too() {
    let mut bench = Bench::start().await;
    bench.put("a", "1").await;
    let running = bench.stream().await;
    bench.until_equal().await;
    bench.take_printed();
    let mut multi = bench.writer.client().new_multi_writer();
    let options = super::bench::persistent();
    multi.add_create("/assets/main/charts/moved", b"1", &options).expect("an operation");
    multi.add_delete("/assets/main/charts/a", None).expect("an operation");
    multi.commit().await.expect("a multi");
    bench.until_equal().await;
    assert_eq!(bench.take_printed(), ["+moved.0 1, -a"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_writes_ends_in_the_same_state_and_tears_no_edit() {
    let mut bench = Bench::start().await;
    let running = bench.stream().await;
    for round in 0..40 {
        let id = format!("e{round:02}");
        let (one, two) = (format!("p{}", round % 7), format!("q{}", round % 5));
        let op = |name: &str, bench: &Bench, seen: &mut std::collections::BTreeSet<String>| {
            let _ = bench;
            if seen.insert(name.to_owned()) { format!("+{name}") } else { format!("={name}") }
        };
        let mut seen: std::collections::BTreeSet<String> =
            (0..round.min(7)).map(|n| format!("p{n}")).collect();
        seen.extend((0..round.min(5)).map(|n| format!("q{n}")));
        let operations = [op(&one, &bench, &mut seen), op(&two, &bench, &mut seen)];
        bench.edit(&id, &[&operations[0], &operations[1]]).await;
        bench.put("x", &id).await;
        if round % 3 == 2 {
            bench.delete("x").await;
        }
    }
    bench.until_equal().await;
    let edits: Vec<_> = bench
        .records
        .iter()
        .filter_map(|(_, record)| match record {
            change::Record::Txn(txn) if txn.edit.is_some() => Some(txn),
            _ => None,
        })
        .collect();
    assert_eq!(edits.len(), 40);
    for txn in edits {
        let listed = txn.edit.as_ref().map(|edit| &edit.changes).expect("an edit");
        let mut wanted: Vec<_> = listed.iter().map(|one| &one.path).collect();
        let mut found: Vec<_> = txn.changes.iter().map(|one| &one.path).collect();
        wanted.sort();
        found.sort();
        assert_eq!(wanted, found);
    }
    assert!(bench.tree.get(&chart("x")).is_some());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_edits_are_removed_once_they_are_on_record() {
    let mut bench = Bench::start().await;
    (bench.config.edits_kept, bench.config.prune_every) = (2, 3);
    let running = bench.stream().await;
    for n in 0..6 {
        bench.edit(&format!("e{n}"), &[if n == 0 { "+a" } else { "=a" }]).await;
        // One batch each: of four in one, the two that come after would wait for a third.
        bench.until_equal().await;
    }
    let client = bench.writer.client();
    let pruned = async {
        loop {
            let (edits, watch) = client.list_and_watch_children("/edits").await.expect("the edits");
            if edits.len() <= 2 {
                return;
            }
            watch.changed().await;
        }
    };
    tokio::time::timeout(super::bench::WITHIN, pruned).await.expect("pruned in time");
    bench.until_equal().await;
    let on_record = bench.printed().iter().filter(|line| line.starts_with('e')).count();
    assert_eq!(on_record, 6);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approvals_travel_and_pauses_services_and_inner_znodes_do_not() {
    let mut bench = Bench::start().await;
    let running = bench.stream().await;
    bench.until_end().await;
    bench.take_printed();
    bench.make("control/approvals/01A", "yes").await;
    bench.make("services/superset/1", "x").await;
    bench.make("control/pause", "x").await;
    bench.make("assets/other/charts/b", "1").await;
    bench.until_equal().await;
    assert_eq!(bench.take_printed(), ["+01A.0 yes", "+b.0 1"]);
    running.stop().await;
}
