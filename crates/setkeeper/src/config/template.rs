//! `[[template]]`: files that are made of templates.

use std::collections::BTreeSet;
use std::time::Duration;

use agent::template::{Builtin, Command, Source, Template};
use serde::Deserialize;

use super::mean::Reading;

/// As written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTemplate {
    source: String,
    target: String,
    vars: Option<serde_json::Map<String, serde_json::Value>>,
    mode: Option<String>,
    validate: Option<RawCommand>,
    validate_timeout: Option<String>,
    reload: Option<RawCommand>,
    reload_timeout: Option<String>,
    min_interval: Option<String>,
    retry: Option<String>,
    fuel: Option<u64>,
}

/// A command: its words, or a text that is split into words as a shell does.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a list of words or a text")]
enum RawCommand {
    Words(Vec<String>),
    Text(String),
}

/// What a `source` begins with that is no file.
const BUILTIN: &str = "builtin:";

/// How long a validation may take.
const VALIDATE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a reload may take.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);

impl Reading<'_> {
    /// The templates as meant. Their files are not read: a spoilt one is no fault of the configuration, and the worker
    /// reads them anew each time.
    pub(super) fn templates(&mut self, raw: &[RawTemplate]) -> Vec<Template> {
        let mut targets = BTreeSet::new();
        let mut templates = Vec::new();
        for (index, raw) in raw.iter().enumerate() {
            let key = format!("template[{index}]");
            let template = self.template(&key, raw);
            if !targets.insert(template.target.clone()) {
                self.fault(&format!("{key}.target"), "another template writes that file; each has its own");
            }
            templates.push(template);
        }
        templates
    }

    fn template(&mut self, key: &str, raw: &RawTemplate) -> Template {
        let at = |name: &str| format!("{key}.{name}");
        if raw.target.is_empty() || raw.target.ends_with('/') {
            self.fault(&at("target"), "is no file; write the path of the file that is to be made");
        }
        let source = self.template_source(&at("source"), &raw.source);
        let mut template = Template::new(source, self.path(&raw.target));
        if let Some(vars) = &raw.vars {
            template.vars = serde_json::Value::Object(vars.clone());
        }
        if let Some(mode) = &raw.mode {
            template.mode = self.mode(&at("mode"), mode);
        }
        self.durations([
            (&at("min_interval"), &raw.min_interval, &mut template.min_interval),
            (&at("retry"), &raw.retry, &mut template.retry),
        ]);
        self.counts([(&at("fuel"), raw.fuel, &mut template.fuel)]);
        let validate_timeout =
            self.duration(&at("validate_timeout"), raw.validate_timeout.as_deref(), VALIDATE_TIMEOUT);
        let reload_timeout =
            self.duration(&at("reload_timeout"), raw.reload_timeout.as_deref(), RELOAD_TIMEOUT);
        template.validate = self.command(&at("validate"), raw.validate.as_ref(), validate_timeout);
        template.reload = self.command(&at("reload"), raw.reload.as_ref(), reload_timeout);
        template
    }

    fn template_source(&mut self, key: &str, text: &str) -> Source {
        let Some(name) = text.strip_prefix(BUILTIN) else {
            if text.is_empty() {
                self.fault(key, "is empty; write the template's path");
            }
            return Source::File(self.path(text));
        };
        let found = Builtin::ALL.into_iter().find(|builtin| builtin.name() == name);
        Source::Builtin(found.unwrap_or_else(|| {
            let known = Builtin::ALL.map(|builtin| format!("`{BUILTIN}{}`", builtin.name())).join(", ");
            self.fault(key, &format!("`{text}` is none of {known}"));
            Builtin::Nginx
        }))
    }

    fn mode(&mut self, key: &str, text: &str) -> u32 {
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
        mode.unwrap_or_else(|| {
            self.fault(key, &format!("`{text}` is no file mode; write one like \"0644\""));
            0o600
        })
    }

    fn command(&mut self, key: &str, raw: Option<&RawCommand>, within: Duration) -> Option<Command> {
        let command = match raw? {
            RawCommand::Words(words) => Command::new(words.clone(), within),
            RawCommand::Text(text) => Command::parse(text, within),
        };
        if command.is_none() {
            let what = "is no command; write a list like [\"nginx\", \"-t\"] or a text with its quotes closed; no shell \
                        runs it";
            self.fault(key, what);
        }
        command
    }
}
