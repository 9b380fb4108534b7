//! `init`, `init-db`, `approve`, `pause`, `resume` and `resync`.

use std::collections::BTreeMap;

use change::{Generation, Millis, Topic, Waiting, ZnodePath};
use serde::Serialize;
use ulid::Ulid;
use zk::{Found, Session};

use super::assets::{parse_path, read_failed};
use super::plan;
use super::{assets, author, connect, existing_queue};
use crate::cli::{Approve, Output, Pause, Resync, Why};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::{self, Printed};
use crate::role::{self, Role};
use crate::supervisor::now;

/// A sentence for people, an object for scripts.
#[derive(Debug, Serialize)]
struct Said<T: Serialize> {
    #[serde(flatten)]
    value: T,
    #[serde(skip)]
    text: String,
}

impl<T: Serialize> Printed for Said<T> {
    fn text(&self) -> String {
        self.text.clone()
    }
}

fn say(output: Output, value: impl Serialize, text: String) {
    output::print(output, &Said { value, text });
}

/// `setkeeper init`
pub(super) async fn init(config: &Config, output: Output) -> Result<Exit, Failure> {
    let session = connect(config).await?;
    let generation = session.init().await.map_err(|error| Failure::of(Exit::Failed, &error))?;
    let text = format!("{} stands, generation {generation}", session.root());
    say(output, serde_json::json!({"root": session.root(), "generation": generation}), text);
    Ok(Exit::Done)
}

/// `setkeeper init-db`
pub(super) async fn init_db(config: &Config, output: Output) -> Result<Exit, Failure> {
    let (mut values, mut texts) = (Vec::new(), Vec::new());
    for target in &config.targets {
        let database =
            target.database.connect().await.map_err(|error| Failure::of(Exit::Unreachable, &error))?;
        let made = applier::init_db(&database, &target.name, target.ledger_schema())
            .await
            .map_err(|error| Failure::of(Exit::Failed, &error))?;
        let verb = if made.created { "made in" } else { "already in" };
        let mut text = format!(
            "target {} ({}): setkeeper's tables {verb} {}",
            target.name,
            made.target,
            database.label()
        );
        if !made.rights.is_empty() {
            text.push_str("\nthe least rights that the applier's role needs (put its name for ROLE):\n  ");
            text.push_str(&made.rights.join("\n  "));
        }
        values.push(serde_json::json!({
            "target": target.name, "id": made.target, "created": made.created, "rights": made.rights
        }));
        texts.push(text);
    }
    say(output, serde_json::json!({"targets": values}), texts.join("\n"));
    Ok(Exit::Done)
}

/// `setkeeper approve`
pub(super) async fn approve(config: &Config, output: Output, approve: Approve) -> Result<Exit, Failure> {
    match approve {
        Approve::Generation { force } => approve_generation(config, output, force).await,
        Approve::Deletes { paths, all, why } => approve_deletes(config, output, &paths, all, why).await,
    }
}

/// n = 1 + the highest of the znode, the known tree, the targets and the audit, so that no comparison of zxids ever
/// mixes two lives of the ensemble.
async fn approve_generation(config: &Config, output: Output, force: bool) -> Result<Exit, Failure> {
    let session = connect(config).await?;
    let standing = session.generation().await.map_err(|error| read_failed(&error))?;
    let highest = known_generation(config).await?.max(standing.map_or(0, |generation| generation.n));
    if !force
        && let Some(standing) = standing.filter(|standing| standing.n >= highest)
        && !is_frozen(config, &session, standing).await?
    {
        return Err(not_frozen(&session, standing).await?);
    }
    let approved =
        session.approve_generation(highest + 1).await.map_err(|error| Failure::of(Exit::Failed, &error))?;
    let text = format!(
        "generation {approved} is approved: every worker begins a new term, and a resync brings all targets to what \
         ZooKeeper holds now (deletes behind the guard)"
    );
    say(output, approved, text);
    Ok(Exit::Done)
}

/// Whether the watcher says, or has left on record, that it does not trust the ensemble.
async fn is_frozen(config: &Config, session: &Session, standing: Generation) -> Result<bool, Failure> {
    let watcher = Role::Watcher.election().expect("watchers are elected");
    let elected = session.elected(&watcher).await.map_err(|error| Failure::of(Exit::Failed, &error))?;
    if elected.iter().any(|watcher| role::frozen(watcher).is_some()) {
        return Ok(true);
    }
    let queue = existing_queue(config).await.map_err(|error| Failure::of(Exit::Unreachable, &error))?;
    let Some(queue) = queue else { return Ok(false) };
    let saved = watcher::saved(&queue, &config.env).await;
    let saved = saved.map_err(|error| Failure::of(Exit::Unreachable, &error))?;
    Ok(saved.frozen.is_some() || saved.generation.is_some_and(|recorded| recorded != standing))
}

async fn not_frozen(session: &Session, standing: Generation) -> Result<Failure, Failure> {
    let locks = session.locks().await.map_err(|error| Failure::of(Exit::Failed, &error))?;
    let names: Vec<String> = locks.into_iter().map(|lock| lock.name).collect();
    let ends = match &names[..] {
        [] => String::new(),
        names => format!(" ends what runs under the locks that are held now ({}) and", names.join(", ")),
    };
    let what = format!(
        "generation {standing} stands, and no watcher is frozen: there is nothing to approve; a new generation{ends} sends \
         every document again"
    );
    Ok(Failure::new(Exit::Failed, what)
        .hint("if that is what you want: `setkeeper approve generation --force`"))
}

async fn known_generation(config: &Config) -> Result<u64, Failure> {
    let unreachable = |error: &dyn std::error::Error| Failure::of(Exit::Unreachable, error);
    let mut highest = match existing_queue(config).await.map_err(|error| unreachable(&error))? {
        Some(queue) => {
            let fence = queue.highest_fence(&Topic::Changes.name(&config.env)).await;
            fence.map_err(|error| unreachable(&error))?.map_or(0, |fence| fence.0)
        }
        None => 0,
    };
    for target in &config.targets {
        let database = target.database.connect().await.map_err(|error| unreachable(&error))?;
        let status =
            applier::status(&database, target.ledger_schema()).await.map_err(|error| unreachable(&error))?;
        highest = highest.max(status.watcher.map_or(0, |fence| fence.generation));
    }
    let database = match config.audit.database.connect_existing().await {
        Ok(database) => database,
        // Nothing was ever recorded. Any other failure says nothing of what is.
        Err(sql::ConnectError::Missing { .. }) => return Ok(highest),
        Err(error) => return Err(unreachable(&error)),
    };
    let status = match auditor::Audit::new(database).status().await {
        Ok(status) => status,
        Err(auditor::ReadError::Empty { .. }) => return Ok(highest),
        Err(error) => return Err(unreachable(&error)),
    };
    let watcher = status.watcher.map_or(0, |fence| fence.generation);
    Ok(highest.max(status.fence.generation).max(watcher))
}

async fn approve_deletes(
    config: &Config,
    output: Output,
    paths: &[String],
    all: bool,
    why: Why,
) -> Result<Exit, Failure> {
    if paths.is_empty() && !all {
        return Err(Failure::new(
            Exit::Usage,
            "name the held paths, or --all; `setkeeper status` lists them",
        ));
    }
    let wanted = paths.iter().map(|path| parse_path(path)).collect::<Result<Vec<ZnodePath>, _>>()?;
    let Held { approvable, others } = held(config).await?;
    if let Some(path) = wanted.iter().find(|path| !approvable.iter().any(|(held, _)| held == *path)) {
        let what = match others.get(path) {
            Some(reason) => format!("`{path}` waits for {reason}: no approval frees it"),
            None => format!("nothing at `{path}` waits for an approval; `setkeeper status` lists what does"),
        };
        return Err(Failure::new(Exit::Usage, what));
    }
    let session = connect(config).await?;
    let approvals = session.read_tree(&["control/approvals"]).await;
    let approvals = approvals.map_err(|error| assets::read_failed(&error))?;
    let mut steps = spent(&approvals.nodes, &approvable, now());
    let approved: Vec<_> = approvable.into_iter().filter(|(path, _)| all || wanted.contains(path)).collect();
    if approved.is_empty() {
        say(
            output,
            serde_json::json!({"edits": [], "outcomes": []}),
            "nothing waits for an approval".to_owned(),
        );
        return Ok(Exit::Done);
    }
    for (path, czxid) in approved {
        output::say(&format!("approving {path}"));
        let at = format!("control/approvals/{}", Ulid::generate()).parse().expect("a ulid is a name");
        let bytes = serde_json::json!({"v": 1, "path": path, "czxid": czxid}).to_string().into_bytes();
        steps.extend(plan::put_bytes(&at, None, bytes));
    }
    assets::write(config, output, &session, steps, why).await
}

/// The approvals to take away, so that they do not grow for ever: those of deletes that no target holds any more. A
/// target that lags may come to hold one that was approved for another, so a young one stays.
fn spent(approvals: &BTreeMap<ZnodePath, Found>, held: &[(ZnodePath, i64)], now: Millis) -> Vec<plan::Step> {
    #[derive(serde::Deserialize)]
    struct Approval {
        path: ZnodePath,
        czxid: i64,
    }
    let is_spent = |found: &Found| {
        let is_old = now.0.saturating_sub(found.mtime.0) > SPENT_AFTER;
        let approval = serde_json::from_slice::<Approval>(&found.bytes).ok();
        is_old && approval.is_none_or(|its| !held.contains(&(its.path, its.czxid)))
    };
    let spent = approvals.iter().filter(|(_, found)| is_spent(found));
    spent.map(|(path, found)| plan::delete(path, found)).collect()
}

/// A day, in milliseconds.
const SPENT_AFTER: i64 = 24 * 60 * 60 * 1000;

/// What some target holds.
#[derive(Default)]
struct Held {
    /// What waits for an approval, perhaps among other things: path and czxid, sorted.
    approvable: Vec<(ZnodePath, i64)>,
    /// What the other paths wait for, in words.
    others: BTreeMap<ZnodePath, String>,
}

async fn held(config: &Config) -> Result<Held, Failure> {
    let mut held = Held::default();
    for target in &config.targets {
        let database =
            target.database.connect().await.map_err(|error| Failure::of(Exit::Unreachable, &error))?;
        let status = applier::status(&database, target.ledger_schema())
            .await
            .map_err(|error| Failure::of(Exit::Failed, &error))?;
        for item in status.held {
            let by_approval = |each: &Waiting| matches!(each, Waiting::DeleteGuard { .. } | Waiting::Policy);
            if item.waiting.iter().any(by_approval) {
                held.approvable.push((item.id.path, item.id.czxid));
            } else {
                held.others.insert(item.id.path, item.reason);
            }
        }
    }
    held.approvable.sort();
    held.approvable.dedup();
    Ok(held)
}

/// `setkeeper pause`
pub(super) async fn pause(config: &Config, output: Output, pause: Pause) -> Result<Exit, Failure> {
    let session = connect(config).await?;
    let paused = session
        .pause(&author(pause.who.author), &pause.who.message, now())
        .await
        .map_err(|error| Failure::of(Exit::Failed, &error))?;
    say(
        output,
        &paused,
        "paused: nothing is applied until `setkeeper resume`; changes go on being recorded".to_owned(),
    );
    Ok(Exit::Done)
}

/// `setkeeper resume`
pub(super) async fn resume(config: &Config, output: Output) -> Result<Exit, Failure> {
    let session = connect(config).await?;
    let ended = session.resume().await.map_err(|error| Failure::of(Exit::Failed, &error))?;
    let text = match &ended {
        Some(pause) => {
            format!("resumed; it was paused by {} since {}: {}", pause.by, pause.since, pause.reason)
        }
        None => "was not paused".to_owned(),
    };
    say(output, serde_json::json!({"ended": ended}), text);
    Ok(Exit::Done)
}

/// `setkeeper resync`
pub(super) async fn resync(config: &Config, output: Output, resync: Resync) -> Result<Exit, Failure> {
    let session = connect(config).await?;
    let id =
        session.request_resync(&resync.message).await.map_err(|error| Failure::of(Exit::Failed, &error))?;
    say(
        output,
        serde_json::json!({"id": id}),
        format!("resync {id} is asked for; the watcher sends every live document"),
    );
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use change::{Lifetime, Zxid};

    use super::*;

    #[test]
    fn an_approval_goes_a_day_after_no_target_holds_its_delete() {
        let held = [("assets/main/charts/held".parse().expect("a path"), 7)];
        let approval = |path: &str, czxid: i64, age: i64| Found {
            czxid: 1,
            mzxid: Zxid(1),
            version: 0,
            mtime: Millis(SPENT_AFTER * 9 - age),
            lifetime: Lifetime::Persistent,
            bytes: serde_json::json!({"v": 1, "path": path, "czxid": czxid}).to_string().into_bytes(),
        };
        let found = [
            ("held", approval("assets/main/charts/held", 7, SPENT_AFTER * 2)),
            ("earlier-life", approval("assets/main/charts/held", 6, SPENT_AFTER * 2)),
            ("gone", approval("assets/main/charts/gone", 7, SPENT_AFTER + 1)),
            ("young", approval("assets/main/charts/gone", 7, SPENT_AFTER)),
        ];
        let found = found
            .into_iter()
            .map(|(name, found)| (format!("control/approvals/{name}").parse().expect("a path"), found));
        let steps = spent(&found.collect(), &held, Millis(SPENT_AFTER * 9));
        let paths: Vec<String> = steps.iter().map(|step| step.edit.path.to_string()).collect();
        assert_eq!(paths, ["control/approvals/earlier-life", "control/approvals/gone"]);
    }
}
