//! Benchmarks: what an issue names, measured on the real thing beside its floor in the same run.
//!
//! `just bench NAME` runs one in the release profile. It prints a table, writes `target/bench/NAME.json`, and makes
//! `docs/benchmarks.md` anew from all such files. It fails only where it could not measure: whether a goal is met is for
//! the reader.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

mod discovery;

/// What a figure is held against.
#[derive(Debug, Clone, Copy)]
struct Goal {
    of: &'static str,
    at_most: f64,
}

/// One figure, in milliseconds: the median of its samples, beside the median of its floor.
struct Figure {
    name: &'static str,
    samples: Vec<Duration>,
    /// What nothing can be faster than, measured in the same run.
    floor: Vec<Duration>,
    goal: Goal,
}

impl Figure {
    fn json(&self) -> Value {
        let (value, floor) = (median(&self.samples), median(&self.floor));
        json!({
            "figure": self.name, "value": round(value), "unit": "ms", "floor": round(floor),
            "ratio": round(value / floor.max(0.001)), "samples": self.samples.len(),
            "worst": round(self.samples.iter().copied().map(millis).fold(0.0, f64::max)),
            "goal": {"of": self.goal.of, "at_most": self.goal.at_most},
        })
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// In milliseconds.
fn median(samples: &[Duration]) -> f64 {
    let mut sorted: Vec<f64> = samples.iter().copied().map(millis).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => panic!("nothing was measured"),
        even if even % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's root").to_owned()
}

/// Prints the figures, writes them down and makes the page anew.
fn report(name: &str, figures: &[Figure]) {
    let figures: Vec<Value> = figures.iter().map(Figure::json).collect();
    let folder = root().join("target/bench");
    std::fs::create_dir_all(&folder).expect("target/bench can be made");
    let text = serde_json::to_string_pretty(&figures).expect("our own values");
    std::fs::write(folder.join(format!("{name}.json")), text).expect("the figures can be written");
    println!("{}", table(&figures));
    let page = root().join("docs/benchmarks.md");
    std::fs::write(&page, whole_page(&folder)).expect("docs/benchmarks.md can be written");
}

fn table(figures: &[Value]) -> String {
    let mut text =
        "| figure | median | worst | floor | ratio | goal | |\n|---|---|---|---|---|---|---|\n".to_owned();
    for figure in figures {
        let goal = &figure["goal"];
        let of = goal["of"].as_str().unwrap_or_default();
        let is_met = figure[of].as_f64().unwrap_or(f64::MAX) <= goal["at_most"].as_f64().unwrap_or(0.0);
        let _ = writeln!(
            text,
            "| {} | {} {unit} | {} {unit} | {} {unit} | {} | {of} at most {} | {} |",
            figure["figure"].as_str().unwrap_or_default(),
            figure["value"],
            figure["worst"],
            figure["floor"],
            figure["ratio"],
            goal["at_most"],
            if is_met { "met" } else { "MISSED" },
            unit = figure["unit"].as_str().unwrap_or_default(),
        );
    }
    text
}

/// The page of all benchmarks that were run on this machine.
fn whole_page(folder: &Path) -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut page = format!(
        "# Benchmarks\n\nMade by `just bench NAME`, which measures and writes this page; do not edit it. The machine: {} \
         ({cores} cores, shared with every server that takes part). Times of one run on one machine: compare them with \
         their floor in the same row, which was measured in the same run, not with other machines.\n",
        model.map_or("unknown", |(_, model)| model),
    );
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("target/bench is there")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("the figures can be read");
        let figures: Vec<Value> = serde_json::from_str(&text).expect("a list of figures");
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let date = std::fs::metadata(&file).and_then(|data| data.modified()).expect("the file has a date");
        let date = humantime::format_rfc3339_seconds(date).to_string();
        let _ = write!(page, "\n## {name}\n`just bench {name}`, {}.\n\n{}", &date[..10], table(&figures));
        if let Some(about) = about(&name) {
            let _ = write!(page, "\n{about}\n");
        }
    }
    page
}

/// What the figures of a benchmark mean.
fn about(name: &str) -> Option<&'static str> {
    match name {
        "discovery" => Some(discovery::ABOUT),
        _ => None,
    }
}
