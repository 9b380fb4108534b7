//! Lists of registered instances in the forms that others read. Pure.

use serde_json::{Map, Value, json};

use super::{Server, World};
use crate::template::{Builtin, Fault, Source, Template};

/// The targets of a service as Prometheus's `http_sd` wants them: a group an instance.
#[must_use]
pub fn prometheus(servers: &[Server]) -> Value {
    let group = |server: &Server| {
        let mut labels = Map::new();
        let mut label = |name: &str, value: String| {
            labels.insert(format!("__meta_setkeeper_{name}"), value.into());
        };
        label("service", server.service.clone());
        label("instance", server.instance.clone());
        label("weight", server.weight.to_string());
        if let Some(version) = &server.version {
            label("version", version.clone());
        }
        if let Value::Object(payload) = &server.payload {
            for (key, value) in payload {
                if let Some(text) = scalar(value) {
                    label(&format!("payload_{}", label_name(key)), text);
                }
            }
        }
        json!({"targets": [server.hostport], "labels": labels})
    };
    servers.iter().map(group).collect()
}

/// A label's value; lists and objects have none.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What Prometheus takes in a label's name.
fn label_name(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// What one of the templates that come with setkeeper makes of a service.
///
/// # Errors
/// [`Fault`], [`Fault::Empty`] for one.
pub fn rendered(builtin: Builtin, service: &str, world: &World) -> Result<String, Fault> {
    let mut template = Template::new(Source::Builtin(builtin), std::path::PathBuf::new());
    template.vars = json!({"service": service});
    template.render(world)
}
