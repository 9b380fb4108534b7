//! `setkeeper check`: the configuration and every connection, all faults at once. It makes nothing: a file made by
//! whoever looks would not be the workers' to write.

use agent::node::Probe;
use serde::Serialize;

use super::existing_queue;
use crate::cli::Output;
use crate::config::Config;
use crate::exit::{Exit, Failure, chain};
use crate::output::{self, Printed, table};

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Looked {
    what: String,
    fine: bool,
    says: String,
}

/// Everything that was looked at.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
struct Report(Vec<Looked>);

impl Report {
    fn fine(&mut self, what: &str, says: impl Into<String>) {
        self.0.push(Looked { what: what.to_owned(), fine: true, says: says.into() });
    }

    fn bad(&mut self, what: &str, error: &dyn std::error::Error) {
        self.0.push(Looked { what: what.to_owned(), fine: false, says: chain(error).join(": ") });
    }

    async fn zookeeper(&mut self, config: &Config) {
        let session = match zk::Session::connect(&config.zookeeper).await {
            Ok(session) => session,
            Err(error) => return self.bad("zookeeper", &error),
        };
        match session.generation().await {
            Ok(Some(generation)) => {
                self.fine("zookeeper", format!("{} stands, generation {generation}", session.root()));
            }
            Ok(None) => {
                self.bad("zookeeper", &zk::ReadError::NotInitialised { root: session.root().to_owned() });
            }
            Err(error) => self.bad("zookeeper", &error),
        }
    }

    async fn queue(&mut self, config: &Config) {
        match existing_queue(config).await {
            Ok(Some(_)) => self.fine("queue", config.queue.path.display().to_string()),
            Ok(None) => {
                let path = config.queue.path.display();
                self.fine("queue", format!("{path} is not there yet: the workers make it"));
            }
            Err(error) => self.bad("queue", &error),
        }
    }

    async fn target(&mut self, target: &crate::config::Target) {
        let what = format!("target {}", target.name);
        let database = match target.database.connect().await {
            Ok(database) => database,
            Err(error) => return self.bad(&what, &error),
        };
        let label = database.label().to_owned();
        match applier::Target::open(database, target.applier.target.clone()).await {
            Ok(_) => self.fine(&what, format!("{label}: schema known, SECRET_KEY proven, ledger ours")),
            Err(error) => self.bad(&what, &error),
        }
    }

    fn template(&mut self, template: &agent::template::Template) {
        let what = format!("template {}", template.target.display());
        let roots = match template.check() {
            Ok(roots) => roots,
            Err(fault) => return self.bad(&what, &fault),
        };
        let folder = template.target.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let says = format!("the folder {} is not there; make it", folder.display());
            self.0.push(Looked { what, fine: false, says });
            return;
        }
        let folders: Vec<&str> = roots.iter().map(|root| root.folder()).collect();
        self.fine(&what, format!("{}: looks into {}", template.source, folders.join(", ")));
    }

    /// Superset may be down for now: that is the agent's to see, and no fault of the configuration.
    async fn agent(&mut self, agent: &agent::run::Config) {
        let node = format!("{}/{} at {}:{}", agent.service, agent.instance, agent.address, agent.port);
        let health = match agent.health_url.clone().probe(agent.health_timeout).await {
            Probe::Up => format!("{} answers", agent.health_url),
            Probe::Gone(why) | Probe::Sick(why) => format!("now {why}"),
        };
        self.fine("agent", format!("{node}: {health}"));
    }

    async fn audit(&mut self, config: &Config) {
        match config.audit.database.connect_existing().await {
            Ok(database) => self.fine("audit", database.label()),
            Err(sql::ConnectError::Missing { .. }) => {
                self.fine("audit", "is not there yet: the auditor makes it");
            }
            Err(error) => self.bad("audit", &error),
        }
    }
}

/// `setkeeper check`
pub(super) async fn check(config: &Config, output: Output) -> Result<Exit, Failure> {
    let mut report = Report::default();
    report.fine("configuration", "read");
    report.zookeeper(config).await;
    report.queue(config).await;
    if config.targets.is_empty() {
        report.fine("target", "none is configured; `run`, `apply` and `init-db` need a [[target]]");
    }
    for target in &config.targets {
        report.target(target).await;
    }
    report.audit(config).await;
    for template in &config.templates {
        report.template(template);
    }
    if config.has_agent {
        report.agent(&config.agent).await;
    }
    output::print(output, &report);
    Ok(if report.0.iter().all(|looked| looked.fine) { Exit::Done } else { Exit::Found })
}

impl Printed for Report {
    fn text(&self) -> String {
        let rows = self.0.iter().map(|looked| {
            let mark = if looked.fine { "ok" } else { "WRONG" };
            vec![mark.to_owned(), looked.what.clone(), looked.says.clone()]
        });
        table(&["", "what", "says"], rows)
    }
}
