//! What is known of ZooKeeper at one moment, parsed once for each version of a znode. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::Serde;
use zk::Found;

use super::server::Server;

/// A part of the environment that templates can look into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Root {
    /// `services/<service>/<instance>`
    Services,
    /// `settings/<group>/<name>`
    Settings,
    /// `endpoints/<name>`
    Endpoints,
    /// `assets/<project>/<folder>/<name>`
    Assets,
}

impl Root {
    /// All of them.
    pub const ALL: [Root; 4] = [Root::Services, Root::Settings, Root::Endpoints, Root::Assets];

    /// Its folder below the environment's root.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Root::Services => "services",
            Root::Settings => "settings",
            Root::Endpoints => "endpoints",
            Root::Assets => "assets",
        }
    }

    /// How many names a path below it has that holds something.
    fn depth(self) -> usize {
        match self {
            Root::Services | Root::Settings => 2,
            Root::Endpoints => 1,
            Root::Assets => 3,
        }
    }
}

/// What one znode holds.
#[derive(Debug, Clone)]
pub(crate) enum Held {
    /// A registration, and the same as templates see it.
    Server(Box<Server>, Value),
    /// Anything else that was understood.
    Value(Value),
    /// What is not understood, and why.
    Bad(String),
}

#[derive(Debug, Clone)]
struct Entry {
    czxid: i64,
    version: i32,
    held: Held,
}

/// One [`Root`], as far as it can be read. Keys are paths below it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Branch {
    entries: BTreeMap<String, Arc<Entry>>,
    unreadable: BTreeSet<String>,
}

impl Branch {
    /// The branch as it stands now. What has not changed is not parsed again.
    fn next(&self, root: Root, nodes: &BTreeMap<String, Found>, unreadable: &BTreeSet<String>) -> Branch {
        let holding = nodes.iter().filter(|(path, _)| path.split('/').count() == root.depth());
        let entry = |(path, found): (&String, &Found)| {
            let known = self.entries.get(path);
            let same = known.filter(|known| known.czxid == found.czxid && known.version == found.version);
            let entry = same.cloned().unwrap_or_else(|| {
                let held = parse(root, path, &found.bytes);
                Arc::new(Entry { czxid: found.czxid, version: found.version, held })
            });
            (path.clone(), entry)
        };
        Branch { entries: holding.map(entry).collect(), unreadable: unreadable.clone() }
    }

    /// What one path holds.
    pub(crate) fn get(&self, path: &str) -> Option<&Held> {
        self.entries.get(path).map(|entry| &entry.held)
    }

    /// All that stands below `prefix` (without a slash at its end), in order.
    pub(crate) fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Held)> {
        let from = self.entries.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(move |(path, _)| path.starts_with(prefix))
            .filter(move |(path, _)| is_within(path, prefix))
            .map(|(path, entry)| (path.as_str(), &entry.held))
    }

    /// A place that may not be read and hides `path`, or something below it.
    pub(crate) fn hidden(&self, path: &str) -> Option<&str> {
        let hides = |refused: &&String| is_within(path, refused) || is_within(refused, path);
        self.unreadable.iter().find(hides).map(String::as_str)
    }
}

/// Whether `path` is `above` or stands below it; everything stands below the empty path.
fn is_within(path: &str, above: &str) -> bool {
    above.is_empty() || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What is known of ZooKeeper at one moment. Cheap to clone. What was never read is not there, which is not the same
/// as empty.
#[derive(Debug, Clone, Default)]
pub struct World {
    branches: BTreeMap<Root, Arc<Branch>>,
}

impl World {
    /// Notes what stands below `root` now: `nodes` and `unreadable` are keyed by the path below it.
    pub fn set(&mut self, root: Root, nodes: &BTreeMap<String, Found>, unreadable: &BTreeSet<String>) {
        let next = match self.branches.get(&root) {
            Some(known) => known.next(root, nodes, unreadable),
            None => Branch::default().next(root, nodes, unreadable),
        };
        self.branches.insert(root, Arc::new(next));
    }

    /// Forgets what was parsed of `root`: a session that begins anew may have another ensemble before it, where an
    /// old number means other bytes.
    pub(crate) fn fresh(
        &mut self,
        root: Root,
        nodes: &BTreeMap<String, Found>,
        unreadable: &BTreeSet<String>,
    ) {
        self.branches.remove(&root);
        self.set(root, nodes, unreadable);
    }

    /// Whether `root` was read at least once.
    pub(crate) fn knows(&self, root: Root) -> bool {
        self.branches.contains_key(&root)
    }

    pub(crate) fn branch(&self, root: Root) -> Option<&Branch> {
        self.branches.get(&root).map(Arc::as_ref)
    }

    /// The services that somebody is registered for, and how many instances each has, those that are not understood
    /// too.
    #[must_use]
    pub fn services(&self) -> BTreeMap<String, usize> {
        let mut services = BTreeMap::new();
        for (path, _) in self.branch(Root::Services).into_iter().flat_map(|branch| branch.below("")) {
            if let Some((service, _)) = path.split_once('/') {
                *services.entry(service.to_owned()).or_default() += 1;
            }
        }
        services
    }

    /// The registered instances of a service.
    ///
    /// # Errors
    /// [`Unknown`] if that is not known; an empty list is a service that nobody registered for.
    pub fn service(&self, name: &str) -> Result<Instances, Unknown> {
        let branch = self.branch(Root::Services).ok_or(Unknown::NotRead)?;
        if let Some(path) = branch.hidden(name) {
            return Err(Unknown::Forbidden {
                path: format!("services/{path}").trim_end_matches('/').to_owned(),
            });
        }
        let mut instances = Instances::default();
        for (path, held) in branch.below(name) {
            match held {
                Held::Server(server, value) if server.enabled && server.service == name => {
                    instances.servers.push(Server::clone(server));
                    instances.values.push(value.clone());
                }
                Held::Server(..) | Held::Value(_) => {}
                Held::Bad(why) => instances.refused.push(format!("services/{}: {why}", path.escape_debug())),
            }
        }
        Ok(instances)
    }
}

/// The instances of one service, in the order of their names.
#[derive(Debug, Clone, Default)]
pub struct Instances {
    /// Those that take requests.
    pub servers: Vec<Server>,
    pub(crate) values: Vec<Value>,
    /// Registrations that are not understood, and why: they are left out.
    pub refused: Vec<String>,
}

/// Why it is not known who is registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No session has read it yet.
    #[error("zookeeper was not read yet")]
    NotRead,
    /// `NoAuth`.
    #[error("zookeeper refuses `{path}`; check zookeeper.auth and the znode's ACL (`getAcl`)")]
    Forbidden {
        /// Below the environment's root.
        path: String,
    },
}

fn parse(root: Root, path: &str, bytes: &[u8]) -> Held {
    let faults = |faults: Vec<asset::Fault>| {
        Held::Bad(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    };
    let parts: Vec<&str> = path.split('/').collect();
    match (root, parts.as_slice()) {
        (Root::Services, [service, instance]) => match Server::parse(service, instance, bytes) {
            Ok(server) => {
                let value = Value::from(Serde(&server));
                Held::Server(Box::new(server), value)
            }
            Err(why) => Held::Bad(why),
        },
        (Root::Settings, [group, name]) => match asset::Group::from_folder(group) {
            Some(group) => match asset::parse_setting(group, name, bytes) {
                Ok(setting) => Held::Value(Value::from(Serde(setting.to_json()))),
                Err(all) => faults(all),
            },
            None => Held::Bad("no such group of settings".to_owned()),
        },
        (Root::Endpoints, [name]) => match asset::parse_chosen(name, bytes) {
            Ok(chosen) => Held::Value(Value::from(Serde(servers(&chosen)))),
            Err(all) => faults(all),
        },
        (Root::Assets, [_, folder, _]) => match asset::Kind::from_folder(folder) {
            Some(kind) => match asset::parse(kind, bytes) {
                Ok(document) => Held::Value(Value::from(Serde(document.to_json()))),
                Err(all) => faults(all),
            },
            None => Held::Bad("no such folder of documents".to_owned()),
        },
        _ => Held::Bad("nothing of setkeeper's stands there".to_owned()),
    }
}

/// A chosen endpoint as templates see it.
fn servers(chosen: &asset::Chosen) -> Vec<BTreeMap<&'static str, serde_json::Value>> {
    let server = |at: &asset::HostPort| {
        BTreeMap::from([
            ("host", at.host().into()),
            ("hostport", at.to_string().into()),
            ("port", at.port().into()),
        ])
    };
    chosen.chosen.iter().map(server).collect()
}

#[cfg(test)]
mod tests;
