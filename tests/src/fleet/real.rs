//! Two real Supersets under gunicorn on one metadata database, each with its agent.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::Superset;
use testbed::superset::{ADMIN, ADMIN_PASSWORD, Metadata, Options, Token, sqlite_template};

use super::world::World;

/// A hook that was there before ours, and shows what `app.config` holds.
const CONFIG: &str = r#"
def FLASK_APP_MUTATOR(app):
    @app.route("/probe/<key>")
    def probe(key):
        return {"value": app.config.get(key)}


import setkeeper_live; setkeeper_live.install(globals())
"#;

/// What systemd is to a Superset: it restarts it when asked.
const RESTART: &str = "#!/bin/sh\ncd \"$(dirname \"$0\")\" && touch wish\n\
                       while [ ! -e done ]; do sleep 0.05; done\nrm done\n";

struct Site {
    world: World,
    supersets: [Superset; 2],
    admin: Token,
}

impl Site {
    async fn start() -> Site {
        let mut world = World::new(2, "healthy_within = \"120s\"\nrestart_timeout = \"150s\"").await;
        let metadata = world.folder.path().join("metadata.db");
        sqlite_template(&metadata).expect("the template is there");
        let module = world.must(&["agent", "live-module"]).await;
        for node in &mut world.nodes {
            fs::write(node.folder.join("python/setkeeper_live.py"), &module).expect("writable");
            fs::write(node.folder.join("restart"), RESTART).expect("writable");
            node.start_agent();
        }
        let start = async |at: usize| {
            let node = &world.nodes[at];
            let text = |path: &Path| path.display().to_string();
            let options = Options {
                port: Some(node.port),
                extra_config: CONFIG.to_owned(),
                env: vec![
                    ("PYTHONPATH".to_owned(), text(&node.folder.join("python"))),
                    ("SETKEEPER_LIVE_FILE".to_owned(), text(&node.folder.join("live.json"))),
                ],
                ..Options::default()
            };
            Superset::start(Metadata::Sqlite(metadata.clone()), options).await.expect("superset starts")
        };
        let (first, second) = tokio::join!(start(0), start(1));
        let admin = first.login(ADMIN, ADMIN_PASSWORD).await.expect("superset answers");
        world.registered_become(&["n1", "n2"]).await;
        Site { world, supersets: [first, second], admin }
    }

    async fn status(&self, at: usize, path: &str) -> u16 {
        self.supersets[at].get(&self.admin, path).await.expect("superset answers").0
    }

    /// Waits until both answer so; returns how long it took.
    async fn both(&self, what: &str, mut look: impl AsyncFnMut(usize) -> Result<(), Value>) -> Duration {
        let began = Instant::now();
        for at in 0..2 {
            self.world.until(what, async || look(at).await).await;
        }
        began.elapsed()
    }

    /// Waits until `app.config` holds this on both.
    async fn config(&self, key: &str, wanted: Value) -> Duration {
        let path = format!("/probe/{key}");
        self.both(&path, async |at| {
            let (_, body) = self.supersets[at].get(&self.admin, &path).await.expect("superset answers");
            if body["value"] == wanted { Ok(()) } else { Err(body) }
        })
        .await
    }

    /// Runs `nodes restart --wait`, and restarts whichever Superset its agent asks for; one whose node is `broken` is
    /// only ended.
    async fn restart(&mut self) -> (Option<i32>, String) {
        let (world, supersets) = (&self.world, &mut self.supersets);
        let operator = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            loop {
                ticks.tick().await;
                for (node, superset) in world.nodes.iter().zip(supersets.iter_mut()) {
                    if !node.folder.join("wish").exists() {
                        continue;
                    }
                    node.remove("wish");
                    node.touch("restarted");
                    superset.kill().await.expect("superset can be killed");
                    if !node.folder.join("broken").exists() {
                        superset.restart().await.expect("superset starts");
                    }
                    node.touch("done");
                }
            }
        };
        let output = tokio::select! {
            output = world.setkeeper(&["nodes", "restart", "-m", "a test", "--wait"]) => output,
            () = operator => unreachable!("it goes on for ever"),
        };
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[tokio::test]
async fn two_real_supersets_follow_their_settings_and_restart_in_turn() {
    let _turns = (crate::superset::turn().await, crate::superset::turn().await);
    let mut site = Site::start().await;
    flags_are_live(&site).await;
    keys_are_live_and_back(&site).await;
    a_key_that_needs_a_restart_comes_with_one(&mut site).await;
    one_that_does_not_come_back_stops_the_restart(&mut site).await;
    a_killed_superset_leaves(&mut site).await;
}

async fn flags_are_live(site: &Site) {
    let flag = "settings/feature_flags/ALERT_REPORTS";
    let reports = async |wanted: u16| {
        site.both(&format!("{wanted} at /api/v1/report/"), async |at| {
            let status = site.status(at, "/api/v1/report/").await;
            if status == wanted { Ok(()) } else { Err(json!(status)) }
        })
        .await
    };
    reports(404).await;
    let mut took = Vec::new();
    for _ in 0..5 {
        for (text, wanted) in [("true", 200), ("false", 404)] {
            site.world.put(flag, text).await;
            took.push(reports(wanted).await);
        }
    }
    site.world.put(flag, "true").await;
    reports(200).await;
    site.world.delete(flag).await;
    took.push(reports(404).await);
    took.sort();
    println!(
        "flag to live, in two Supersets: median {:?}, most {:?}",
        took[took.len() / 2],
        took[took.len() - 1]
    );
    assert!(took[took.len() / 2] < Duration::from_secs(1), "{took:?}");
}

async fn keys_are_live_and_back(site: &Site) {
    site.config("ROW_LIMIT", json!(50000)).await;
    site.world.put("settings/config/ROW_LIMIT", "7").await;
    site.config("ROW_LIMIT", json!(7)).await;
    site.world.put("settings/config/APP_NAME", "\"Ours\"").await;
    site.config("APP_NAME", json!("Ours")).await;
    site.world.delete("settings/config/ROW_LIMIT").await;
    site.config("ROW_LIMIT", json!(50000)).await;
    site.world.delete("settings/config/APP_NAME").await;
    site.config("APP_NAME", json!("Superset")).await;
}

async fn a_key_that_needs_a_restart_comes_with_one(site: &mut Site) {
    let lacks = async |site: &Site, wanted: &[&str]| {
        for name in ["n1", "n2"] {
            site.world
                .until("what the nodes lack", async || {
                    let view = site
                        .world
                        .json(&format!("workers/agent-superset-{name}/report"))
                        .await
                        .unwrap_or_default();
                    if view["lacks"] == json!(wanted) { Ok(()) } else { Err(view) }
                })
                .await;
        }
    };
    site.world.put("settings/config/SQLLAB_TIMEOUT", "77").await;
    lacks(site, &["config/SQLLAB_TIMEOUT"]).await;
    site.config("SQLLAB_TIMEOUT", json!(30)).await;
    let fewest = site.world.fewest().await;
    let (code, said) = site.restart().await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fewest.end(), 1, "one at a time is away");
    site.config("SQLLAB_TIMEOUT", json!(77)).await;
    lacks(site, &[]).await;
    let listed = site.world.listed("n1").await;
    assert_eq!(listed["report"]["version"], json!("6.1.0"), "{listed}");
    assert!(listed["report"]["processes"].as_u64() >= Some(1), "{listed}");
}

async fn a_killed_superset_leaves(site: &mut Site) {
    for superset in &mut site.supersets {
        superset.kill().await.expect("superset can be killed");
    }
    site.world.registered_become::<&str>(&[]).await;
}

async fn one_that_does_not_come_back_stops_the_restart(site: &mut Site) {
    for node in &mut site.world.nodes {
        node.stop_agent().await;
        let at = node.folder.join("setkeeper.toml");
        let text = fs::read_to_string(&at).expect("it is there");
        fs::write(&at, text.replace("healthy_within = \"120s\"", "healthy_within = \"2s\""))
            .expect("writable");
        node.start_agent();
        node.touch("broken");
        node.remove("restarted");
    }
    site.world.registered_become(&["n1", "n2"]).await;
    let fewest = site.world.fewest().await;
    let (code, said) = site.restart().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the restart of superset stopped at"), "{said}");
    let restarted = site.world.nodes.iter().filter(|node| node.folder.join("restarted").exists()).count();
    assert_eq!((restarted, fewest.end()), (1, 1));
    assert_eq!(site.world.registered().await.len(), 1);
}
