use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::discover::fixtures::{server, world};
use crate::template::{Command, Condition, Source};

const WITHIN: Duration = Duration::from_secs(20);

/// A template's file in a folder of its own, kept while a story is told.
struct Bed {
    folder: tempfile::TempDir,
    worlds: watch::Sender<World>,
    states: Mutex<Vec<State>>,
}

impl Bed {
    fn new() -> Bed {
        let folder = tempfile::tempdir().expect("a folder");
        let bed = Bed { folder, worlds: watch::Sender::default(), states: Mutex::default() };
        bed.put("x.j2", "{% for s in service('s') %}{{ s.address }} {% endfor %}");
        bed
    }

    fn template(&self) -> Template {
        let mut template = Template::new(Source::File(self.at("x.j2")), self.at("x"));
        (template.min_interval, template.retry) = (Duration::from_millis(1), Duration::from_millis(50));
        template
    }

    async fn keep(&self, template: &Template, story: impl Future<Output = ()>) {
        let tell = |state: &State| self.states.lock().expect("not poisoned").push(state.clone());
        tokio::select! {
            () = keep(template, self.worlds.subscribe(), tell, |_| {}) => panic!("it ended"),
            () = story => {}
        }
    }

    /// Those addresses are registered.
    fn registers(&self, addresses: &[&str]) {
        let nodes: Vec<(String, String)> = (addresses.iter())
            .map(|address| (format!("services/s/{address}"), server(address, address, 80)))
            .collect();
        let nodes: Vec<(&str, &str)> = nodes.iter().map(|(path, json)| (&**path, &**json)).collect();
        self.worlds.send_replace(world(&nodes, &[]));
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.at(name), text).expect("written");
    }

    fn get(&self, name: &str) -> String {
        std::fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    fn state(&self) -> State {
        self.states.lock().expect("not poisoned").last().expect("told").clone()
    }

    async fn until(&self, what: &str, done: impl Fn() -> bool) {
        let begun = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while !done() {
            assert!(begun.elapsed() < WITHIN, "{what}: file `{}`, {:?}", self.get("x"), self.states);
            look.tick().await;
        }
    }

    /// The file holds that, and its state is that; where all is well, its reader was told.
    async fn becomes(&self, text: &str, condition: Condition) {
        let told = |state: &State| {
            let all_done = condition != Condition::Fresh || self.get(".x.setkeeper").is_empty();
            (state.state, self.get("x")) == (condition, text.to_owned()) && all_done
        };
        let is = || self.states.lock().expect("not poisoned").last().is_some_and(told);
        self.until(&format!("{condition:?} `{text}`"), is).await;
    }
}

fn command(text: &str) -> Option<Command> {
    Some(Command::parse(text, Duration::from_secs(10)).expect("a command"))
}

fn lines(text: &str) -> usize {
    text.lines().count()
}

#[tokio::test]
async fn the_file_follows_and_its_reader_is_told_only_of_changes() {
    let bed = Bed::new();
    let mut template = bed.template();
    template.reload =
        command(&format!("sh -c 'cat {{file}} >> {0}; echo >> {0}'", bed.at("reloads").display()));
    bed.keep(&template, async {
        bed.until("the first look", || !bed.states.lock().expect("not poisoned").is_empty()).await;
        assert!(!bed.at("x").exists());
        bed.registers(&["a", "b"]);
        bed.becomes("a b ", Condition::Fresh).await;
        bed.registers(&["b", "a"]);
        bed.registers(&["b"]);
        bed.becomes("b ", Condition::Fresh).await;
    })
    .await;
    assert_eq!(bed.get("reloads"), "a b \nb \n");
    assert_eq!((bed.state().writes, bed.state().faults), (2, 0));
}

#[tokio::test]
async fn a_file_or_a_template_that_somebody_touches_is_seen_to() {
    let bed = Bed::new();
    let mut template = bed.template();
    template.reload = command(&format!("sh -c 'echo told >> {}'", bed.at("reloads").display()));
    bed.registers(&["a"]);
    bed.keep(&template, async {
        bed.becomes("a ", Condition::Fresh).await;
        bed.put("x", "touched");
        bed.becomes("a ", Condition::Fresh).await;
        std::fs::remove_file(bed.at("x")).expect("it was there");
        bed.becomes("a ", Condition::Fresh).await;
        bed.put("x.j2", "{% for s in service('s') %}<{{ s.address }}>{% endfor %}");
        bed.becomes("<a>", Condition::Fresh).await;
    })
    .await;
    assert_eq!(lines(&bed.get("reloads")), 4);
}

#[tokio::test]
async fn a_file_that_is_right_already_is_left_alone() {
    let bed = Bed::new();
    bed.put("x", "a ");
    let mut template = bed.template();
    template.reload = command("false");
    bed.registers(&["a"]);
    bed.keep(&template, bed.becomes("a ", Condition::Fresh)).await;
    assert_eq!(bed.state().writes, 0);
}

#[tokio::test]
async fn the_last_good_file_stays_when_nobody_is_left() {
    let bed = Bed::new();
    bed.registers(&["a"]);
    bed.keep(&bed.template(), async {
        bed.becomes("a ", Condition::Fresh).await;
        bed.registers(&[]);
        bed.becomes("a ", Condition::Kept).await;
        assert!(bed.state().reason.is_some_and(|why| why.contains("nobody is registered as `s`")));
        bed.worlds.send_replace(world(&[], &["services/s"]));
        bed.until("the refusal", || bed.state().reason.is_some_and(|why| why.contains("refuses"))).await;
        bed.becomes("a ", Condition::Kept).await;
        bed.registers(&["c"]);
        bed.becomes("c ", Condition::Fresh).await;
    })
    .await;
}

#[tokio::test]
async fn the_last_good_file_stays_when_the_template_is_spoilt_until_it_is_mended() {
    let bed = Bed::new();
    bed.registers(&["a"]);
    bed.keep(&bed.template(), async {
        bed.becomes("a ", Condition::Fresh).await;
        bed.put("x.j2", "\n{% for s in service('s') %}{{ s.adress }}{% endfor %}");
        bed.registers(&["b"]);
        bed.becomes("a ", Condition::Failed).await;
        let why = bed.state().reason.expect("a reason");
        assert!(why.contains("x.j2:2: undefined value"), "{why}");
        // Nothing changes in ZooKeeper any more.
        bed.put("x.j2", "{{ service('s')[0].address }}!");
        bed.becomes("b!", Condition::Fresh).await;
    })
    .await;
}

#[tokio::test]
async fn a_new_file_that_does_not_pass_is_not_used() {
    let bed = Bed::new();
    let mut template = bed.template();
    template.validate = command(&format!("sh {} {{file}}", bed.at("check").display()));
    bed.put("check", "grep -q good $1 || { echo not good; exit 1; }");
    bed.registers(&["good"]);
    bed.keep(&template, async {
        bed.becomes("good ", Condition::Fresh).await;
        bed.registers(&["bad"]);
        bed.becomes("good ", Condition::Failed).await;
        let why = bed.state().reason.expect("a reason");
        assert!(why.starts_with("validate the new file") && why.contains("not good"), "{why}");
        assert!(!bed.at(".x.new").exists());
        bed.registers(&["good", "bad"]);
        bed.becomes("bad good ", Condition::Fresh).await;
        bed.registers(&["bad"]);
        bed.becomes("bad good ", Condition::Failed).await;
        // What did not pass is tried again: it may have been something else's fault.
        bed.put("check", "true");
        bed.becomes("bad ", Condition::Fresh).await;
    })
    .await;
}

#[tokio::test]
async fn a_reload_that_fails_is_told_and_tried_again() {
    let bed = Bed::new();
    let mut template = bed.template();
    template.reload = command(&format!("test -e {}", bed.at("ready").display()));
    bed.registers(&["a"]);
    bed.keep(&template, async {
        bed.becomes("a ", Condition::Failed).await;
        let why = bed.state().reason.expect("a reason");
        assert!(why.starts_with("reload, which is tried again: `test` ended with"), "{why}");
        bed.put("ready", "");
        bed.becomes("a ", Condition::Fresh).await;
    })
    .await;
    assert_eq!(bed.state().writes, 1);
}

#[tokio::test]
async fn a_reload_that_never_came_is_made_up_for_by_the_next_process() {
    let bed = Bed::new();
    let mut template = bed.template();
    template.reload = command("false");
    bed.registers(&["a"]);
    bed.keep(&template, bed.becomes("a ", Condition::Failed)).await;
    template.reload = command(&format!("touch {}", bed.at("reloaded").display()));
    bed.keep(&template, bed.becomes("a ", Condition::Fresh)).await;
    assert!(bed.at("reloaded").exists());
}

#[tokio::test]
async fn many_changes_make_few_writes_and_the_last_one_is_written() {
    let bed = Bed::new();
    let mut template = bed.template();
    template.min_interval = Duration::from_millis(300);
    template.reload = command(&format!("sh -c 'echo >> {}'", bed.at("reloads").display()));
    bed.keep(&template, async {
        bed.registers(&["a"]);
        bed.becomes("a ", Condition::Fresh).await;
        let mut often = tokio::time::interval(Duration::from_millis(1));
        for i in 0..100 {
            often.tick().await;
            bed.registers(&[&format!("n{i}")]);
        }
        bed.becomes("n99 ", Condition::Fresh).await;
    })
    .await;
    let reloads = lines(&bed.get("reloads"));
    assert!((2..=3).contains(&reloads), "{reloads} reloads in some 0.3 s of changes");
}

#[tokio::test]
async fn a_folder_that_comes_later_is_found() {
    let bed = Bed::new();
    let mut template = bed.template();
    template.target = bed.at("later/x");
    bed.registers(&["a"]);
    bed.keep(&template, async {
        bed.becomes("", Condition::Failed).await;
        std::fs::create_dir(bed.at("later")).expect("a folder");
        bed.until("the file", || bed.get("later/x") == "a ").await;
    })
    .await;
}

#[tokio::test]
async fn a_template_asks_for_what_it_looks_into() {
    let bed = Bed::new();
    bed.put("x.j2", "{{ setting('config', 'ROW_LIMIT', default=1) }}{{ endpoint('hive') }}");
    let template = bed.template();
    let asked = Mutex::new(BTreeSet::new());
    let need = |roots: &BTreeSet<Root>| asked.lock().expect("not poisoned").extend(roots);
    let keeping = keep(&template, bed.worlds.subscribe(), |_| {}, need);
    tokio::select! {
        () = keeping => panic!("it ended"),
        () = bed.until("the questions", || asked.lock().expect("not poisoned").len() == 2) => {}
    }
    assert_eq!(asked.into_inner().expect("not poisoned"), BTreeSet::from([Root::Settings, Root::Endpoints]));
    assert!(!Path::new(&bed.at("x")).exists());
}
