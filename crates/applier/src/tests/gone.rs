//! Assets whose rows somebody has removed in Superset.

use super::road::{BASE, On, Road};
use crate::work::{Deletes, Policy, Selection};

const BOTH: [On; 2] = [On::Sqlite, On::Postgres];
const REMOVE_CHARTS: &str = "DELETE FROM dashboard_slices; DELETE FROM slices";
const PENDING: &str = "SELECT path FROM setkeeper_asset WHERE pending_change IS NOT NULL";

#[tokio::test]
async fn a_delete_of_what_is_gone_already_is_done() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        road.takes(BASE).await;
        road.by_hand(REMOVE_CHARTS).await;
        assert_eq!(road.takes("-charts/c").await, ["charts/c@1.- unchanged"]);
        assert!(road.lines(PENDING).await.is_empty());
        // Nothing holds the uuid any more.
        assert_eq!(road.takes("+/other/charts/c#3").await, ["/other/charts/c@3.0 applied also dashboards/d"]);
    }
}

#[tokio::test]
async fn a_changed_uuid_takes_the_path_of_what_is_gone_already() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        road.takes(BASE).await;
        road.by_hand(REMOVE_CHARTS).await;
        assert_eq!(road.takes("+charts/c#9 name=nine").await, ["charts/c@1.1 applied"]);
        assert_eq!(road.lines("SELECT slice_name FROM slices").await, ["nine"]);
    }
}

/// More than the facts may lack: each delete that is tried without having been asked about is one that they do.
fn many(sign: &str) -> String {
    let uuid = |n| if sign == "+" { format!("#{n}") } else { String::new() };
    let changes: Vec<String> = (100..160).map(|n| format!("{sign}charts/x{n}{}", uuid(n))).collect();
    changes.join(" ; ")
}

#[tokio::test]
async fn many_deletes_of_what_is_gone_hold_nothing_up() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        road.config.target.policy = Policy { guard_count: 1000, ..Policy::default() };
        road.append(&format!("{BASE}{}", many("+"))).await;
        road.run().await;
        road.by_hand(REMOVE_CHARTS).await;
        road.takes(&many("-")).await;
        assert_eq!(road.takes("+charts/z#99").await, ["charts/z@4.0 applied"]);
    }
}

#[tokio::test]
async fn deletes_that_were_rejected_are_tried_when_all_is_and_not_with_every_record() {
    for on in BOTH {
        let mut road = Road::new(on).await;
        let policy = Policy { guard_count: 1000, ..Policy::default() };
        road.config.target.policy = Policy { deletes: Deletes::Hold, ..policy.clone() };
        road.append(&format!("{BASE}{}\n{}", many("+"), many("-"))).await;
        road.run().await;
        road.told().await;
        // As a setkeeper has left them that took a row which is not there for a fault.
        let rejected =
            r#"{"state":"rejected","until":"mended","reason":"which does not exist","place":null}"#;
        road.by_hand(&format!(
            "UPDATE setkeeper_asset SET pending_state = '{rejected}' WHERE pending_change IS NOT NULL"
        ))
        .await;
        road.config.target.policy = policy;
        assert_eq!(road.takes("+charts/z#99").await, ["charts/z@4.0 applied"]);
        assert_eq!(road.lines(PENDING).await.len(), 60);
        road.applier().await.reconcile(Selection::Pending).await.expect("looked at again");
        assert_eq!(road.told().await.len(), 60);
        assert_eq!(road.lines("SELECT slice_name FROM slices ORDER BY id").await, ["c", "z"]);
    }
}
