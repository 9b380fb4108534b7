//! `discover` and `template`: who is registered, and the files that are made of it.

use std::collections::BTreeSet;
use std::path::Path;

use agent::discover::{Instances, REPORTS, Root, Server, World, prometheus, rendered};
use agent::template::{Builtin, Fault};
use change::Millis;
use serde::{Deserialize, Serialize};
use zk::Session;

use super::{connect, serve};
use crate::cli::{self, Form, Output};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::{self, Printed, table};

/// `setkeeper discover`
pub(super) async fn discover(config: &Config, form: Form, given: cli::Discover) -> Result<Exit, Failure> {
    let service = given.service;
    check_name(&service)?;
    let world = world(&connect(config).await?, &BTreeSet::from([Root::Services])).await?;
    let instances = world.service(&service).map_err(|unknown| Failure::of(Exit::Failed, &unknown))?;
    for refused in &instances.refused {
        eprintln!("setkeeper: left out: {refused}");
    }
    let nobody = || {
        let text = format!("nobody is registered as `{service}`; the services are {}", names(&world));
        Failure::new(Exit::Found, text)
    };
    let is_empty = instances.servers.is_empty();
    match form {
        Form::Json => output::print(Output::Json, &List(instances)),
        Form::Prometheus => {
            let targets = serde_json::to_string_pretty(&prometheus(&instances.servers));
            output::raw(format!("{}\n", targets.expect("JSON prints")).as_bytes());
        }
        Form::Table | Form::Nginx | Form::Haproxy | Form::Envoy if is_empty => return Err(nobody()),
        Form::Table => output::print(Output::Table, &List(instances)),
        Form::Nginx => file(Builtin::Nginx, &service, &world)?,
        Form::Haproxy => file(Builtin::Haproxy, &service, &world)?,
        Form::Envoy => file(Builtin::Envoy, &service, &world)?,
    }
    Ok(Exit::Done)
}

fn file(builtin: Builtin, service: &str, world: &World) -> Result<(), Failure> {
    let text = rendered(builtin, service, world).map_err(|fault| Failure::of(Exit::Failed, &fault))?;
    output::raw(text.as_bytes());
    Ok(())
}

fn check_name(service: &str) -> Result<(), Failure> {
    let is_name = (1..=200).contains(&service.len())
        && service.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if is_name {
        return Ok(());
    }
    let shown = service.escape_debug();
    Err(Failure::new(Exit::Usage, format!("`{shown}` is no service's name; use A-Z a-z 0-9 . _ -")))
}

fn names(world: &World) -> String {
    let services = world.services();
    if services.is_empty() {
        return "none: nobody is registered at all".to_owned();
    }
    services.keys().map(|name| name.escape_debug().to_string()).collect::<Vec<_>>().join(", ")
}

/// What stands below those roots now.
async fn world(session: &Session, roots: &BTreeSet<Root>) -> Result<World, Failure> {
    let mut world = World::default();
    for root in roots {
        let follower = session.follow(root.folder()).await;
        let follower = follower.map_err(|error| Failure::of(Exit::Failed, &error))?;
        world.set(*root, follower.nodes(), follower.unreadable());
    }
    Ok(world)
}

/// The instances of one service.
struct List(Instances);

impl Serialize for List {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.servers.serialize(serializer)
    }
}

impl Printed for List {
    fn text(&self) -> String {
        let row = |server: &Server| {
            vec![
                server.instance.clone(),
                server.hostport.clone(),
                server.weight.to_string(),
                server.version.clone().unwrap_or_default().escape_debug().to_string(),
                Millis(server.registered).to_string(),
            ]
        };
        let header = ["instance", "address", "weight", "version", "registered"];
        table(&header, self.0.servers.iter().map(row))
    }
}

/// `setkeeper template`
pub(super) async fn template(config: Config, given: cli::Template) -> Result<Exit, Failure> {
    if config.templates.is_empty() {
        let text = "no template is configured; add a [[template]] with source and target (docs/templates.md)";
        return Err(Failure::new(Exit::Configuration, text));
    }
    match given {
        cli::Template::Run => serve::run(config, serve::Roles::Templates).await,
        cli::Template::Render { target } => render(&config, &target).await,
    }
}

async fn render(config: &Config, target: &str) -> Result<Exit, Failure> {
    let fits = config.templates.iter().filter(|template| template.target.ends_with(Path::new(target)));
    let template = match fits.collect::<Vec<_>>().as_slice() {
        [one] => *one,
        found => {
            let targets = config.templates.iter().map(|template| template.target.display().to_string());
            let text = format!(
                "`{target}` is the target of {} templates; name one of {}",
                found.len(),
                targets.collect::<Vec<_>>().join(", ")
            );
            return Err(Failure::new(Exit::Usage, text));
        }
    };
    let failed = |fault: Fault| {
        let exit = if fault.is_waiting() { Exit::Found } else { Exit::Failed };
        Failure::of(exit, &fault)
    };
    let roots = template.check().map_err(failed)?;
    let world = world(&connect(config).await?, &roots).await?;
    output::raw(template.render(&world).map_err(failed)?.as_bytes());
    Ok(Exit::Done)
}

/// How one file of a template stands, on whichever machine.
#[derive(Debug, Serialize)]
pub(super) struct FileStatus {
    /// Host and pid of the process that keeps it.
    pub(super) holder: String,
    #[serde(flatten)]
    pub(super) file: ReportedFile,
}

/// What a process reports of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReportedFile {
    pub(super) target: String,
    pub(super) source: String,
    pub(super) state: String,
    pub(super) reason: Option<String>,
    pub(super) since: Millis,
    #[serde(default)]
    pub(super) left_out: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Report {
    holder: String,
    templates: Vec<ReportedFile>,
}

impl FileStatus {
    /// Whether a person has to look at it.
    pub(super) fn has_failed(&self) -> bool {
        self.file.state == "failed"
    }

    /// The table of them.
    pub(super) fn table(files: &[FileStatus]) -> String {
        let row = |status: &FileStatus| {
            let FileStatus { holder, file } = status;
            let why = file.reason.iter().cloned();
            let left_out = file.left_out.iter().map(|each| format!("left out: {each}"));
            vec![
                file.target.clone(),
                holder.clone(),
                format!("{} since {}", file.state, file.since),
                why.chain(left_out).collect::<Vec<_>>().join("\n"),
            ]
        };
        table(&["file", "kept by", "state", "why"], files.iter().map(row))
    }
}

/// How the files stand that the running processes keep. A report that is not understood is of another version, and left
/// out.
///
/// # Errors
/// [`zk::ReadError`].
pub(super) async fn files(session: &Session) -> Result<Vec<FileStatus>, zk::ReadError> {
    let follower = session.follow(REPORTS).await?;
    let mut files = Vec::new();
    for found in follower.nodes().values().filter(|found| !found.bytes.is_empty()) {
        let Ok(Report { holder, templates }) = serde_json::from_slice(&found.bytes) else { continue };
        files.extend(templates.into_iter().map(|file| FileStatus { holder: holder.clone(), file }));
    }
    Ok(files)
}
