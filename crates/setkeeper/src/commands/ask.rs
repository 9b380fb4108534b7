//! `history` and `verify`: what happened, and whether the record can be trusted.

use asset::FieldChange;
use auditor::{Audit, Filter, Head, HistoryRow};
use serde::Serialize;
use serde_json::{Value, json};

use super::assets::parse_path;
use crate::cli::{History, Output};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::{self, Printed, table};

async fn audit(config: &Config) -> Result<Audit, Failure> {
    let database = config.audit.database.connect_existing().await.map_err(|error| {
        Failure::of(Exit::Unreachable, &error)
            .hint("the audit database is made by `setkeeper run` or `setkeeper audit`")
    })?;
    Ok(Audit::new(database))
}

/// `setkeeper history`
pub(super) async fn history(config: &Config, output: Output, history: History) -> Result<Exit, Failure> {
    let mut filter = Filter { author: history.author, limit: Some(history.limit), ..Filter::default() };
    if let Some(asset) = &history.asset {
        match asset.parse() {
            Ok(uuid) => filter.uuid = Some(uuid),
            Err(_) => filter.path = Some(parse_path(asset)?),
        }
    }
    let rows =
        audit(config).await?.history(&filter).await.map_err(|error| Failure::of(Exit::Failed, &error))?;
    output::print(output, &Told(rows));
    Ok(Exit::Done)
}

/// History rows, the newest first.
struct Told(Vec<HistoryRow>);

impl Serialize for Told {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(row_json))
    }
}

fn row_json(row: &HistoryRow) -> Value {
    let document = |text: &Option<String>| -> Value {
        text.as_ref().map_or(Value::Null, |text| serde_json::from_str(text).unwrap_or_else(|_| json!(text)))
    };
    let field =
        |change: &FieldChange| json!({"path": change.path, "before": change.before, "after": change.after});
    json!({
        "seq": row.seq, "effective": row.effective.to_string(), "committed": row.committed.to_string(),
        "change": row.change, "path": row.path, "kind": row.kind, "uuid": row.uuid, "name": row.name, "op": row.op,
        "source": row.source, "author": row.author, "message": row.message, "edit": row.edit,
        "missed_versions": row.missed, "target": row.target, "outcome": row.outcome, "reason": row.reason,
        "place": row.place, "waiting": row.waiting, "delay_ms": row.delay_ms,
        "before": document(&row.before), "after": document(&row.after),
        "fields": row.differences.iter().map(field).collect::<Vec<_>>(),
    })
}

impl Printed for Told {
    fn text(&self) -> String {
        if self.0.is_empty() {
            return "nothing is on record for that".to_owned();
        }
        let rows = self.0.iter().map(|row| {
            let outcome = row.outcome.clone().unwrap_or_else(|| "not applied yet".to_owned());
            let why = match (&row.place, &row.reason) {
                (Some(place), Some(reason)) => format!("\n{place}: {reason}"),
                (None, Some(reason)) => format!("\n{reason}"),
                (_, None) => String::new(),
            };
            vec![
                row.committed.to_string(),
                format!(
                    "{}\n{}",
                    row.author.as_deref().unwrap_or("unknown"),
                    row.message.as_deref().unwrap_or("")
                ),
                format!("{} {}", row.op, row.path),
                fields(row),
                format!("{outcome}{why}"),
                row.delay_ms.map(|ms| ms.to_string()).unwrap_or_default(),
            ]
        });
        table(&["committed", "who and why", "change", "before → after", "outcome", "ms"], rows)
    }
}

/// How many fields of one change a terminal shows.
const FIELDS_SHOWN: usize = 12;

fn fields(row: &HistoryRow) -> String {
    if row.before.is_none() && row.op != "delete" {
        return "new".to_owned();
    }
    let shown = row.differences.iter().take(FIELDS_SHOWN).map(ToString::to_string);
    let more = row.differences.len().saturating_sub(FIELDS_SHOWN);
    let rest = (more > 0).then(|| format!("and {more} more fields (-o json shows all)"));
    shown.chain(rest).collect::<Vec<_>>().join("\n")
}

/// `setkeeper verify`
pub(super) async fn verify(config: &Config, output: Output, head: Option<&str>) -> Result<Exit, Failure> {
    let kept: Option<Head> = head
        .map(str::parse)
        .transpose()
        .map_err(|error: auditor::BadHead| Failure::of(Exit::Usage, &error))?;
    let report = audit(config)
        .await?
        .verify(kept.as_ref())
        .await
        .map_err(|error| Failure::of(Exit::Failed, &error))?;
    let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    let sound = report.is_sound();
    output::print(
        output,
        &Verified { rows: report.rows, head: report.head.to_string(), sound, found: report.found, findings },
    );
    Ok(if sound { Exit::Done } else { Exit::Found })
}

#[derive(Debug, Serialize)]
struct Verified {
    rows: u64,
    head: String,
    sound: bool,
    found: u64,
    findings: Vec<String>,
}

impl Printed for Verified {
    fn text(&self) -> String {
        if self.sound {
            return format!("sound: {} rows, head {}", self.rows, self.head);
        }
        format!("NOT sound: {} findings in {} rows\n{}", self.found, self.rows, self.findings.join("\n"))
    }
}
