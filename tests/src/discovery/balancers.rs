//! Files that real load balancers use: who dies gets no more requests.

use std::collections::BTreeSet;
use std::path::Path;

use testbed::Balancer;
use testbed::balancer::{Options, Program};

use super::fleet::{Backend, Fleet, Holder};
use crate::until::until;

/// Who answers at an address, asked often enough to hear of all.
async fn answering(url: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for _ in 0..12 {
        names.insert(match reqwest::get(url).await {
            Ok(answer) if answer.status().is_success() => answer.text().await.unwrap_or_default(),
            Ok(answer) => answer.status().to_string(),
            Err(error) => error.to_string(),
        });
    }
    names
}

async fn only(url: &str, names: &[&str]) {
    let wanted: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    until(&format!("{names:?} answer"), async || {
        let found = answering(url).await;
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

fn of_nginx(folder: &Path) -> String {
    let at = folder.join("nginx");
    std::fs::create_dir_all(at.join("conf.d")).expect("made");
    let at = at.display();
    let check =
        format!("pid {at}/check.pid;\nevents {{}}\nhttp {{ include {at}/conf.d/.superset.conf.new; }}\n");
    std::fs::write(folder.join("nginx/check.conf"), check).expect("written");
    format!(
        "[[template]]\nsource = \"builtin:nginx\"\ntarget = \"{at}/conf.d/superset.conf\"\n\
         vars = {{ service = \"superset\" }}\nmin_interval = \"50ms\"\nretry = \"200ms\"\n\
         validate = [\"nginx\", \"-t\", \"-q\", \"-e\", \"stderr\", \"-c\", \"{at}/check.conf\"]\n\
         reload = \"nginx -s reload -e stderr -c {at}/nginx.conf\"\n"
    )
}

#[tokio::test]
async fn nginx_stops_sending_to_whoever_dies() {
    let fleet = Fleet::start(of_nginx).await;
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let first = Holder::start(&fleet, "n1", one.port).await;
    let second = Holder::start(&fleet, "n2", two.port).await;
    let keeper = fleet.run(&["template", "run"]);
    let file = "nginx/conf.d/superset.conf";
    until("both are in the file", async || {
        let text = fleet.get(file);
        if text.contains("n1") && text.contains("n2") { Ok(()) } else { Err(text) }
    })
    .await;
    // Nobody is there to reload yet, which is told and tried again.
    let status = fleet.stands("failed").await;
    assert!(
        status["reason"].as_str().is_some_and(|why| why.starts_with("reload, which is tried again")),
        "{status}"
    );
    let server = "location / { proxy_pass http://superset; }".to_owned();
    let options = Options { dir: Some(fleet.at("nginx")), ..Default::default() };
    let nginx = Balancer::start(Program::Nginx { server }, options).await.expect("nginx starts");
    fleet.stands("fresh").await;
    only(&nginx.url(), &["one", "two"]).await;

    // Its server lives on: only the file can keep requests from it.
    second.kill().await;
    only(&nginx.url(), &["one"]).await;
    let third = Holder::start(&fleet, "n3", two.port).await;
    only(&nginx.url(), &["one", "two"]).await;

    // The last one's death does not empty the file.
    third.kill().await;
    // A worker that ends may answer from an older file for a moment, so the file is asked too.
    until("n3 has left the file", async || {
        let text = fleet.get(file);
        if text.contains("n3") { Err(text) } else { Ok(()) }
    })
    .await;
    only(&nginx.url(), &["one"]).await;
    first.kill().await;
    let status = fleet.stands("kept").await;
    assert!(status["reason"].as_str().is_some_and(|why| why.starts_with("nobody is registered")), "{status}");
    assert!(fleet.get(file).contains("n1"));
    only(&nginx.url(), &["one"]).await;
    assert_eq!(keeper.page("readyz").await.0, 200);
}

fn of_haproxy(folder: &Path) -> String {
    let at = folder.join("haproxy");
    std::fs::create_dir_all(at.join("conf.d")).expect("made");
    // A backend alone is no configuration that HAProxy would run.
    let check = "defaults\n    mode http\n    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\n\
                 frontend check\n    bind 127.0.0.1:1\n    default_backend superset\n";
    std::fs::write(at.join("check.cfg"), check).expect("written");
    let at = at.display();
    format!(
        "[[template]]\nsource = \"builtin:haproxy\"\ntarget = \"{at}/conf.d/superset.cfg\"\n\
         vars = {{ service = \"superset\", check = \"/health\" }}\nmin_interval = \"50ms\"\nretry = \"200ms\"\n\
         validate = \"haproxy -c -f {at}/check.cfg -f {{file}}\"\n\
         reload = [\"sh\", \"-c\", \"kill -USR2 $(cat {at}/pid)\"]\n"
    )
}

#[tokio::test]
async fn haproxy_stops_sending_to_whoever_leaves() {
    let fleet = Fleet::start(of_haproxy).await;
    let (one, two) = (Backend::start("one").await, Backend::start("two").await);
    let _first = fleet.register("superset", "n1", one.port).await;
    let second = fleet.register("superset", "n2", two.port).await;
    let _keeper = fleet.run(&["template", "run"]);
    until("the file is there", async || {
        let text = fleet.get("haproxy/conf.d/superset.cfg");
        if text.contains("server n2 127.0.0.1") { Ok(()) } else { Err(text) }
    })
    .await;
    let options = Options { dir: Some(fleet.at("haproxy")), ..Default::default() };
    let program = Program::Haproxy { backend: "superset".to_owned() };
    let haproxy = Balancer::start(program, options).await.expect("haproxy starts");
    fleet.put("haproxy/pid", &haproxy.pid().expect("it runs").to_string());
    fleet.stands("fresh").await;
    only(&haproxy.url(), &["one", "two"]).await;
    second.withdraw().await.expect("withdrawn");
    only(&haproxy.url(), &["one"]).await;
    let _again = fleet.register("superset", "n2", two.port).await;
    only(&haproxy.url(), &["one", "two"]).await;
}
