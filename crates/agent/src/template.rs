//! Files made of templates: what is registered, set and chosen in ZooKeeper, in; a configuration file of nginx,
//! HAProxy or anything else, out.
//!
//! # Guarantees
//! - A file is replaced by rename in its own folder, and only when its bytes change. Whoever reads it sees the old one
//!   or the new one, whole.
//! - The last good file stays when the template or its data have a fault, when the new file does not pass
//!   [`Template::validate`], when a set is empty ([`Fault::Empty`]), and while ZooKeeper cannot be read.
//! - The first change is written at once; further ones at most once in [`Template::min_interval`], and the last state
//!   always is.
//! - A reload that is owed is owed until it succeeds, over a crash too.
//!
//! # Assumptions
//! - The target's folder is there, and can be written. A hidden file beside the target (`.NAME.setkeeper`) says whose
//!   it is and whether a reload is owed; another (`.NAME.new`) is the new file until it is renamed.

mod command;
mod engine;
mod file;
mod keep;
mod pace;

use std::path::PathBuf;
use std::time::Duration;

pub use command::{Command, CommandFault};
pub use keep::{Condition, State};

pub(crate) use keep::keep;

use crate::discover::{Root, Unknown, World};

/// A template and the file that is made of it.
#[derive(Debug, Clone)]
pub struct Template {
    /// Where its text comes from.
    pub source: Source,
    /// The file.
    pub target: PathBuf,
    /// What it is given as `vars`: an object.
    pub vars: serde_json::Value,
    /// The file's mode.
    pub mode: u32,
    /// Run on the new file before it replaces the old one; `{file}` stands for its path.
    pub validate: Option<Command>,
    /// Run after the new file has replaced the old one.
    pub reload: Option<Command>,
    /// The least time between two changes of the file.
    pub min_interval: Duration,
    /// How often file and template are looked at again, though nothing changes in ZooKeeper.
    pub retry: Duration,
    /// The work and the memory of one rendering: steps of the engine, and 64 bytes each.
    pub fuel: u64,
}

impl Template {
    /// A template with the defaults: mode 0644, no commands, at most one change in a second, another try after 10
    /// seconds, 2 million steps.
    #[must_use]
    pub fn new(source: Source, target: PathBuf) -> Template {
        Template {
            source,
            target,
            vars: serde_json::Value::Object(serde_json::Map::new()),
            mode: 0o644,
            validate: None,
            reload: None,
            min_interval: Duration::from_secs(1),
            retry: Duration::from_secs(10),
            fuel: 2_000_000,
        }
    }

    /// Reads the template and looks at its syntax and names; tells where in ZooKeeper it looks.
    ///
    /// # Errors
    /// [`Fault`], with file and line.
    pub fn check(&self) -> Result<std::collections::BTreeSet<Root>, Fault> {
        engine::check(self.text(&self.source.read()?))
    }

    /// Renders it, writing nothing.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn render(&self, world: &World) -> Result<String, Fault> {
        engine::render(self.text(&self.source.read()?), world).map(|rendered| rendered.text)
    }

    fn text<'a>(&'a self, source: &'a (String, String)) -> engine::Text<'a> {
        engine::Text { name: &source.0, source: &source.1, vars: &self.vars, fuel: self.fuel }
    }
}

/// The longest template.
const SOURCE_BYTES_MAX: u64 = 1 << 20;

/// Where a template's text comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, read anew each time.
    File(PathBuf),
    /// One that comes with setkeeper.
    Builtin(Builtin),
}

impl Source {
    /// The name that faults call it by, and the text.
    fn read(&self) -> Result<(String, String), Fault> {
        let path = match self {
            Source::Builtin(builtin) => return Ok((self.to_string(), builtin.text().to_owned())),
            Source::File(path) => path,
        };
        let read = || {
            if std::fs::metadata(path)?.len() > SOURCE_BYTES_MAX {
                return Err(std::io::Error::other(format!("it is longer than {SOURCE_BYTES_MAX} bytes")));
            }
            std::fs::read_to_string(path)
        };
        let text =
            read().map_err(|error| Fault::Source { path: self.to_string(), why: error.to_string() })?;
        Ok((self.to_string(), text))
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::File(path) => path.display().fmt(f),
            Source::Builtin(builtin) => write!(f, "builtin:{}", builtin.name()),
        }
    }
}

/// The templates that come with setkeeper. They are given `vars.service`, and more that stands in `docs/templates.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    /// An `upstream` of nginx.
    Nginx,
    /// A `backend` of HAProxy.
    Haproxy,
    /// A cluster's endpoints for Envoy, as its file-based discovery reads them.
    Envoy,
}

impl Builtin {
    /// All of them.
    pub const ALL: [Builtin; 3] = [Builtin::Nginx, Builtin::Haproxy, Builtin::Envoy];

    /// As in `builtin:nginx`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Builtin::Nginx => "nginx",
            Builtin::Haproxy => "haproxy",
            Builtin::Envoy => "envoy",
        }
    }

    /// The template.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Builtin::Nginx => include_str!("../../../deploy/templates/nginx-upstream.conf.j2"),
            Builtin::Haproxy => include_str!("../../../deploy/templates/haproxy-backend.cfg.j2"),
            Builtin::Envoy => include_str!("../../../deploy/templates/envoy-eds.yaml.j2"),
        }
    }
}

/// Why a file is not what it should be. The last good one stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nobody is registered.
    #[error(
        "nobody is registered as `{service}`, so the last good file stays; `service(\"{service}\", required=false)` \
         would make an empty list of it"
    )]
    Empty {
        /// The service.
        service: String,
    },
    /// It is not known what stands in ZooKeeper.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The template cannot be read.
    #[error("read the template `{path}`: {why}")]
    Source {
        /// The file.
        path: String,
        /// What the system says.
        why: String,
    },
    /// The template cannot be rendered.
    #[error("{place}: {what}")]
    Template {
        /// `file:line`.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// The new file did not pass; the old one stays.
    #[error("validate the new file, which is not used")]
    Validate(#[from] CommandFault),
    /// The new file is there, and whoever uses it was not told.
    #[error("reload, which is tried again")]
    Reload(#[source] CommandFault),
    /// The file cannot be written.
    #[error("{doing} `{path}`: {why}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: String,
        /// What the system says.
        why: String,
    },
}

impl Fault {
    /// Whether nothing is wrong here, but not enough is known or there.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self, Fault::Empty { .. } | Fault::Unknown(_))
    }
}
