//! Many registrations and deaths at once.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::fleet::{Fleet, registration};
use crate::pipeline;
use crate::until::until;

const SESSIONS: u16 = 20;
const EACH: u16 = 100;
const INTERVAL: Duration = Duration::from_millis(500);

fn of_a_file(folder: &Path) -> String {
    format!(
        "[[template]]\nsource = \"servers.j2\"\ntarget = \"servers\"\nmin_interval = \"{INTERVAL:?}\"\n\
         reload = [\"sh\", \"-c\", \"echo >> {}/reloads\"]\n",
        folder.display()
    )
}

/// 2,000 come, and each second session dies: what is left is in the file, nothing else, in few writes.
#[tokio::test]
async fn two_thousand_come_and_half_of_them_die_and_no_stale_one_is_left() {
    let fleet = Fleet::start(of_a_file).await;
    fleet.put("servers.j2", "{% for s in service('superset') %}{{ s.instance }}\n{% endfor %}");
    let _keeper = fleet.run(&["template", "run"]);
    let begun = Instant::now();
    let mut lives = Vec::new();
    for session_number in 0..SESSIONS {
        let session = pipeline::connect(&fleet.zookeeper.connect()).await;
        let mut registrations = Vec::new();
        for each in 0..EACH {
            let instance = format!("n{session_number}-{each}");
            let bytes = registration("superset", &instance, 1000 + each);
            registrations.push(session.register("superset", &instance, &bytes).await.expect("registered"));
        }
        lives.push((session, registrations));
        if session_number % 2 == 1 {
            // All at once, as a session's end does it.
            let (session, registrations) = lives.swap_remove(usize::from(session_number / 2));
            drop(registrations);
            drop(session);
        }
    }
    let expected: BTreeSet<String> = lives
        .iter()
        .flat_map(|(_, registrations)| registrations.iter())
        .map(|registration| registration.path().rsplit('/').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(expected.len(), usize::from(SESSIONS / 2 * EACH));
    until("the file holds those that live", async || {
        let text = fleet.get("servers");
        let found: BTreeSet<String> = text.lines().map(str::to_owned).collect();
        let (stale, missing) = (found.difference(&expected).count(), expected.difference(&found).count());
        // Beside the file stands whether its reader is still to be told of it.
        let told = fleet.get(".servers.setkeeper").is_empty();
        if stale + missing == 0 && told {
            Ok(())
        } else {
            Err(format!("{stale} stale, {missing} missing, told {told}"))
        }
    })
    .await;
    let lasted = begun.elapsed();
    let reloads = fleet.get("reloads").lines().count();
    let most = usize::try_from(lasted.as_millis() / INTERVAL.as_millis()).expect("short") + 2;
    assert!((1..=most).contains(&reloads), "{reloads} reloads in {lasted:?}");
}
