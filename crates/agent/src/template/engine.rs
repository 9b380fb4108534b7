//! From a template's text and what is known to the text of a file. Pure: no clock, no randomness, no file is read.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};

use super::Fault;
use crate::discover::{Held, Root, Unknown, World};

/// The functions that look into ZooKeeper, and where.
const FUNCTIONS: [(&str, Root); 7] = [
    ("service", Root::Services),
    ("services", Root::Services),
    ("setting", Root::Settings),
    ("settings", Root::Settings),
    ("endpoint", Root::Endpoints),
    ("asset", Root::Assets),
    ("assets", Root::Assets),
];

/// The name that holds a template's own variables.
const VARS: &str = "vars";

/// A template's text, and what it is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'a> {
    /// What faults call it: a path, or `builtin:nginx`.
    pub(crate) name: &'a str,
    pub(crate) source: &'a str,
    pub(crate) vars: &'a serde_json::Value,
    /// The work and the memory that one rendering may take; see `Template::fuel`.
    pub(crate) fuel: u64,
}

/// What came of a rendering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    /// Registrations that were left out, and why.
    pub(crate) left_out: Vec<String>,
}

/// Looks at a template without rendering it, and tells where in ZooKeeper it looks.
///
/// # Errors
/// [`Fault::Template`]: the syntax is wrong, or it uses a name that there is not.
pub(crate) fn check(text: Text<'_>) -> Result<BTreeSet<Root>, Fault> {
    let engine = engine(&Arc::default(), &Arc::default(), text.fuel);
    let template = engine.template_from_named_str(text.name, text.source).map_err(|error| fault(&error))?;
    let names: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
    let known: BTreeSet<&str> = engine.globals().map(|(name, _)| name).chain([VARS]).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name.as_str())) {
        let what = format!(
            "`{unknown}` is no function and no variable; what a template is given stands in `{VARS}`"
        );
        return Err(Fault::Template { place: place(text.name, line_of(text.source, unknown)), what });
    }
    Ok(FUNCTIONS.iter().filter(|(name, _)| names.contains(*name)).map(|(_, root)| *root).collect())
}

/// Renders.
///
/// # Errors
/// [`Fault`]; what stands in the file is then to stay there.
pub(crate) fn render(text: Text<'_>, world: &World) -> Result<Rendered, Fault> {
    let left_out = Arc::default();
    let engine = engine(&Arc::new(world.clone()), &left_out, text.fuel);
    let template = engine.template_from_named_str(text.name, text.source).map_err(|error| fault(&error))?;
    let context = Value::from_pairs([(VARS, Value::from(Serde(text.vars)))]);
    let text = template.render(context).map_err(|error| fault(&error))?;
    let mut left_out = std::mem::take(&mut *lock(&left_out));
    left_out.sort_unstable();
    left_out.dedup();
    Ok(Rendered { text, left_out })
}

type LeftOut = Arc<Mutex<Vec<String>>>;

fn lock(left_out: &LeftOut) -> std::sync::MutexGuard<'_, Vec<String>> {
    left_out.lock().unwrap_or_else(PoisonError::into_inner)
}

fn engine(world: &Arc<World>, left_out: &LeftOut, fuel: u64) -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    // The file's name says nothing about how its values are to be quoted.
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    engine.set_fuel(Some(fuel));
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
    engine.set_syntax(syntax.build().expect("the delimiters are the usual ones"));
    engine.add_filter("token", token);
    engine.add_filter("ip", ip);
    add_services(&mut engine, world, left_out);
    add_values(&mut engine, world);
    engine
}

fn add_services(engine: &mut Environment<'static>, world: &Arc<World>, left_out: &LeftOut) {
    let (known, out) = (Arc::clone(world), Arc::clone(left_out));
    engine.add_function("service", move |name: &str, options: Kwargs| -> Result<Value, Error> {
        let required = options.get::<Option<bool>>("required")?.unwrap_or(true);
        options.assert_all_used()?;
        let found = known.service(name).map_err(|unknown| stop(unknown.into()))?;
        lock(&out).extend(found.refused);
        if required && found.values.is_empty() {
            return Err(stop(Fault::Empty { service: name.escape_debug().to_string() }));
        }
        Ok(Value::from(found.values))
    });
    let known = Arc::clone(world);
    engine.add_function("services", move || -> Result<Value, Error> {
        let branch = look(&known, Root::Services, "")?;
        let names: BTreeSet<&str> = branch.below("").filter_map(|(path, _)| path.split('/').next()).collect();
        Ok(Value::from_iter(names))
    });
}

fn add_values(engine: &mut Environment<'static>, world: &Arc<World>) {
    let known = Arc::clone(world);
    engine.add_function("setting", move |group: &str, key: &str, options: Kwargs| -> Result<Value, Error> {
        value(&known, Root::Settings, &format!("{group}/{key}"), options)
    });
    let known = Arc::clone(world);
    engine.add_function("settings", move |group: &str| -> Result<Value, Error> {
        if asset::Group::from_folder(group).is_none() {
            let known = asset::Group::ALL.map(asset::Group::folder).join(", ");
            let what = format!("`{}` is no group of settings; the groups are {known}", group.escape_debug());
            return Err(Error::new(ErrorKind::InvalidOperation, what));
        }
        values(&known, Root::Settings, group, |path| path.rsplit('/').next().unwrap_or(path))
    });
    let known = Arc::clone(world);
    engine.add_function("endpoint", move |name: &str, options: Kwargs| -> Result<Value, Error> {
        value(&known, Root::Endpoints, name, options)
    });
    let known = Arc::clone(world);
    engine.add_function("asset", move |path: &str, options: Kwargs| -> Result<Value, Error> {
        value(&known, Root::Assets, within_assets(path), options)
    });
    let known = Arc::clone(world);
    engine.add_function("assets", move |prefix: &str| -> Result<Value, Error> {
        values(&known, Root::Assets, within_assets(prefix), |path| path)
    });
}

/// `assets/main/charts/x` as everywhere else, or `main/charts/x`.
fn within_assets(path: &str) -> &str {
    let path = path.strip_prefix("assets").map_or(path, |rest| rest.strip_prefix('/').unwrap_or(rest));
    path.trim_end_matches('/')
}

fn look<'a>(world: &'a World, root: Root, path: &str) -> Result<&'a crate::discover::Branch, Error> {
    let branch = world.branch(root).ok_or_else(|| stop(Unknown::NotRead.into()))?;
    match branch.hidden(path) {
        None => Ok(branch),
        Some(hidden) => {
            let path = format!("{}/{hidden}", root.folder()).trim_end_matches('/').to_owned();
            Err(stop(Unknown::Forbidden { path }.into()))
        }
    }
}

/// What one path holds, or the `default`.
fn value(world: &World, root: Root, path: &str, options: Kwargs) -> Result<Value, Error> {
    let default = options.get::<Option<Value>>("default")?;
    options.assert_all_used()?;
    let shown = format!("{}/{}", root.folder(), path.escape_debug());
    match look(world, root, path)?.get(path) {
        Some(Held::Value(value)) => Ok(value.clone()),
        Some(Held::Bad(why)) => Err(bad(&shown, why)),
        Some(Held::Server(..)) | None => default.ok_or_else(|| {
            let what = format!("`{shown}` is not there; put it there, or give a default: default=…");
            Error::new(ErrorKind::InvalidOperation, what)
        }),
    }
}

fn bad(path: &str, why: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("`{path}` is not understood: {why}"))
}

/// What stands below a path, by the name that `name` makes of the path. What is not understood is a fault: a list
/// without it would be a wrong one.
fn values(world: &World, root: Root, prefix: &str, name: fn(&str) -> &str) -> Result<Value, Error> {
    let mut found = Vec::new();
    for (path, held) in look(world, root, prefix)?.below(prefix) {
        match held {
            Held::Value(value) => found.push((name(path).to_owned(), value.clone())),
            Held::Bad(why) => {
                return Err(bad(&format!("{}/{}", root.folder(), path.escape_debug()), why));
            }
            Held::Server(..) => {}
        }
    }
    Ok(Value::from_pairs(found))
}

/// Lets only what has no meaning in any file pass.
fn token(text: &Value) -> Result<String, Error> {
    let text = text.to_string();
    let is_token = !text.is_empty()
        && text.len() <= 200
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':'));
    if is_token {
        return Ok(text);
    }
    let what = format!(
        "`{}` is no token of 1 to 200 of A-Z a-z 0-9 . _ : -, and could break out of the file's syntax",
        text.chars().take(60).collect::<String>().escape_debug()
    );
    Err(Error::new(ErrorKind::InvalidOperation, what))
}

/// Lets only an IP address pass.
fn ip(text: &Value) -> Result<String, Error> {
    let text = text.to_string();
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Ok(text);
    }
    let shown = text.chars().take(60).collect::<String>();
    let what =
        format!("`{}` is no IP address, which is needed here; register with one", shown.escape_debug());
    Err(Error::new(ErrorKind::InvalidOperation, what))
}

/// A fault of ours, through the engine.
fn stop(fault: Fault) -> Error {
    Error::new(ErrorKind::InvalidOperation, fault.to_string()).with_source(fault)
}

/// Ours again, or the engine's with its place.
fn fault(error: &Error) -> Fault {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(ours) = cause.downcast_ref::<Fault>() {
            return ours.clone();
        }
        source = cause.source();
    }
    let what = match (error.kind(), error.detail()) {
        // Ours speak for themselves.
        (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    Fault::Template { place: place(error.name().unwrap_or("template"), error.line()), what }
}

fn place(name: &str, line: Option<usize>) -> String {
    line.map_or_else(|| name.to_owned(), |line| format!("{name}:{line}"))
}

/// The first line that has this word.
fn line_of(source: &str, word: &str) -> Option<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let has = |line: &str| line.split(|c: char| !is_part(c)).any(|part| part == word);
    source.lines().position(has).map(|index| index + 1)
}

#[cfg(test)]
mod tests;
