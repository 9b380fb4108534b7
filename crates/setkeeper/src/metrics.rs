//! Metrics in OpenMetrics text, made anew for each scrape from what the workers tell of themselves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::watch;

use agent::discover::Board;
use agent::template::Condition;

use crate::health::Health;
use crate::role::Role;

/// What the workers of this process count.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    watcher: Arc<watcher::Stats>,
    auditor: Arc<auditor::Stats>,
    endpoints: Arc<agent::endpoints::Stats>,
    board: Board,
    appliers: Mutex<BTreeMap<String, watch::Receiver<applier::Stats>>>,
    agent: watch::Sender<Option<agent::run::View>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoleLabel {
    role: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabel {
    target: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabel {
    service: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FileLabel {
    file: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    target: String,
    outcome: &'static str,
}

impl Metrics {
    /// What the watcher counts into.
    pub(crate) fn watcher(&self) -> Arc<watcher::Stats> {
        Arc::clone(&self.watcher)
    }

    /// Whether the watcher of this process waits for a person to look at the ensemble.
    pub(crate) fn is_frozen(&self, health: &Health) -> bool {
        health.is_running(&Role::Watcher) && self.watcher.state.borrow().state == watcher::Phase::Frozen
    }

    /// What the auditor counts into.
    pub(crate) fn auditor(&self) -> Arc<auditor::Stats> {
        Arc::clone(&self.auditor)
    }

    /// What the worker that follows registries counts into.
    pub(crate) fn endpoints(&self) -> Arc<agent::endpoints::Stats> {
        Arc::clone(&self.endpoints)
    }

    /// Where this process shows who is registered and how its files stand.
    pub(crate) fn board(&self) -> Board {
        self.board.clone()
    }

    /// Where the agent puts its view of the node.
    pub(crate) fn agent(&self) -> watch::Sender<Option<agent::run::View>> {
        self.agent.clone()
    }

    /// Shows `stats` for the target from now on.
    pub(crate) fn follow_applier(&self, target: &str, stats: watch::Receiver<applier::Stats>) {
        self.appliers.lock().unwrap_or_else(PoisonError::into_inner).insert(target.to_owned(), stats);
    }

    /// Everything, as text.
    pub(crate) fn text(&self, health: &Health) -> String {
        let mut registry = Registry::with_prefix("setkeeper");
        add_roles(&mut registry, health);
        self.add_watcher(registry.sub_registry_with_prefix("watcher"), health);
        self.add_auditor(registry.sub_registry_with_prefix("auditor"), health);
        self.add_appliers(registry.sub_registry_with_prefix("applier"), health);
        self.add_endpoints(registry.sub_registry_with_prefix("endpoints"));
        self.add_discovery(registry.sub_registry_with_prefix("discovery"));
        self.add_files(registry.sub_registry_with_prefix("template"));
        self.add_agent(registry.sub_registry_with_prefix("agent"));
        let mut text = String::new();
        encode(&mut text, &registry).expect("writing to a string cannot fail");
        text
    }

    fn add_watcher(&self, registry: &mut Registry, health: &Health) {
        let stats = &self.watcher;
        let mut count = |name: &str, help: &str, value: &AtomicU64| {
            registry.register(name, help, counter(value.load(Ordering::Relaxed)));
        };
        count("records", "Records appended to the topic changes", &stats.appended);
        count("changes", "Changes in those records", &stats.changes);
        count("resyncs", "Resyncs completed", &stats.resyncs);
        count("reconnects", "Connections to ZooKeeper that were lost and came back", &stats.reconnects);
        count("silent_misses", "Changes that only a reconciliation found; expected 0", &stats.silent_misses);
        count("silent_canaries", "Times that the canary's event did not come", &stats.silent_canaries);
        count("missed_versions", "Versions overwritten before they could be read", &stats.missed_versions);
        count("unreadable", "Reads that ZooKeeper refused", &stats.unreadable);
        let help = "1 while the watcher waits for approve generation";
        registry.register("frozen", help, gauge(self.is_frozen(health).into()));
    }

    fn add_auditor(&self, registry: &mut Registry, health: &Health) {
        let stats = self.auditor.snapshot();
        let mut count = |name: &str, help: &str, value| registry.register(name, help, counter(value));
        count("changes", "Changes recorded", stats.changes);
        count("outcomes", "Outcomes recorded", stats.outcomes);
        count("duplicates", "Changes and outcomes that came again", stats.duplicates);
        count("dropped", "Records of watchers whose term was over", stats.dropped);
        count("trimmed", "Records removed from the queue", stats.trimmed);
        registry.register("rows", "Rows in the chain", gauge(stats.rows));
        registry.register(
            "resync_needed",
            "1 while the history has a gap",
            gauge((stats.resync_needed && health.is_running(&Role::Auditor)).into()),
        );
    }

    fn add_endpoints(&self, registry: &mut Registry) {
        let stats = &self.endpoints;
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let mut show = |name: &str, help: &str, value: &AtomicU64| {
            registry.register(name, help, gauge(i64::try_from(read(value)).unwrap_or(i64::MAX)));
        };
        show("followed", "Endpoints that this process follows a registry for", &stats.endpoints);
        show("troubled", "Endpoints that a person should look at", &stats.troubled);
        show("registries", "Registries that are followed", &stats.registries);
        show("registries_away", "Registries that are not known as they are now", &stats.registries_away);
        show("instances", "Registered instances", &stats.instances);
        show("failing", "Registered instances that fail their check", &stats.failing);
        registry.register("changes", "Choices written to ZooKeeper", counter(read(&stats.changes)));
        let help = "Choices that somebody else's write came in the way of";
        registry.register("conflicts", help, counter(read(&stats.conflicts)));
    }

    fn add_discovery(&self, registry: &mut Registry) {
        let Some(age) = self.board.age() else { return };
        let seconds = Gauge::<f64, AtomicU64>::default();
        seconds.set(age.as_secs_f64());
        let help = "How long what is known of the services may be out of date; 0 while ZooKeeper is followed";
        registry.register_with_unit("age", help, Unit::Seconds, seconds);
        let instances = Family::<ServiceLabel, Gauge>::default();
        for (service, count) in self.board.world().services() {
            let label = ServiceLabel { service };
            instances.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        registry.register("instances", "Instances that are registered", instances);
    }

    fn add_files(&self, registry: &mut Registry) {
        let fresh = Family::<FileLabel, Gauge>::default();
        let failed = Family::<FileLabel, Gauge>::default();
        let writes = Family::<FileLabel, Counter>::default();
        let faults = Family::<FileLabel, Counter>::default();
        for file in self.board.files() {
            let label = FileLabel { file: file.target };
            fresh.get_or_create(&label).set((file.state == Condition::Fresh).into());
            failed.get_or_create(&label).set((file.state == Condition::Failed).into());
            writes.get_or_create(&label).inc_by(file.writes);
            faults.get_or_create(&label).inc_by(file.faults);
        }
        registry.register("fresh", "1 while the file is as its template says", fresh);
        registry.register("failed", "1 while the last good file stays and a person must look", failed);
        registry.register("writes", "Times that the file was replaced", writes);
        registry.register("faults", "Times that it began to fail", faults);
    }

    fn add_agent(&self, registry: &mut Registry) {
        let Some(view) = self.agent.borrow().clone() else { return };
        let healthy = view.health == agent::node::Health::Healthy;
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (name, help, value) in [
            ("healthy", "1 while superset answers", i64::from(healthy)),
            ("registered", "1 while the node stands in the registry", view.registered.into()),
            ("drained", "1 while somebody has taken the node out", view.drained.is_some().into()),
            ("restarting", "1 while the node is away for a restart", view.restarting.is_some().into()),
            ("lacks", "Settings that a restart would bring", count(view.lacks.len())),
            (
                "faults",
                "Settings that are not taken over, and a live file that is not written",
                count(view.faults.len()),
            ),
            ("processes", "Processes of superset that read the live settings", count(view.processes)),
        ] {
            registry.register(name, help, gauge(value));
        }
    }

    /// Of the targets whose applier is active here: what a former term knew is no longer so.
    fn add_appliers(&self, registry: &mut Registry, health: &Health) {
        let outcomes = Family::<OutcomeLabel, Counter>::default();
        let held = Family::<TargetLabel, Gauge>::default();
        let rejected = Family::<TargetLabel, Gauge>::default();
        let latency = Family::<TargetLabel, Gauge<f64, AtomicU64>>::default();
        for (target, stats) in self.appliers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if !health.is_running(&Role::Applier(target.clone())) {
                continue;
            }
            let stats = stats.borrow();
            let label = TargetLabel { target: target.clone() };
            held.get_or_create(&label).set(i64::try_from(stats.held).unwrap_or(i64::MAX));
            rejected.get_or_create(&label).set(i64::try_from(stats.rejected).unwrap_or(i64::MAX));
            if let Some(seconds) = stats.latency {
                latency.get_or_create(&label).set(seconds.as_secs_f64());
            }
            for (outcome, count) in &stats.outcomes {
                let label = OutcomeLabel { target: target.clone(), outcome };
                outcomes.get_or_create(&label).inc_by(*count);
            }
        }
        registry.register("outcomes", "Outcomes since the term began", outcomes);
        registry.register("held", "Changes that wait", held);
        registry.register("rejected", "Newest changes that were rejected", rejected);
        let help = "From ZooKeeper's commit to the database's, for the newest change of the last batch";
        registry.register_with_unit("latency", help, Unit::Seconds, latency);
    }
}

fn add_roles(registry: &mut Registry, health: &Health) {
    let ready = Family::<RoleLabel, Gauge>::default();
    let terms = Family::<RoleLabel, Counter>::default();
    let failures = Family::<RoleLabel, Counter>::default();
    for (role, how) in health.all() {
        let label = RoleLabel { role };
        ready.get_or_create(&label).set(how.doing.is_ready().into());
        terms.get_or_create(&label).inc_by(how.terms);
        failures.get_or_create(&label).inc_by(how.failures);
    }
    registry.register("role_ready", "1 while the role is active, standing by or paused", ready);
    registry.register("role_terms", "Terms begun", terms);
    registry.register("role_failures", "Terms that ended with an error", failures);
}

fn counter(value: u64) -> Counter {
    let counter = Counter::default();
    counter.inc_by(value);
    counter
}

fn gauge(value: i64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}
