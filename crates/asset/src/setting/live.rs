//! The configuration keys that a running Superset obeys, and what each may hold: a wrong one is no matter of one
//! node's start, but of every request on all nodes at once.

use serde_json::Value;

use crate::fault::{Fault, FaultKind, Faults};
use crate::fields::wrong_type;

/// The configuration keys that a running Superset 6.1 obeys when they change in `app.config`.
pub(super) const KEYS: [(&str, Shape); 10] = [
    ("ROW_LIMIT", Shape::Count),
    ("SQL_MAX_ROW", Shape::Count),
    ("DISALLOWED_SQL_FUNCTIONS", Shape::Functions),
    ("PREVENT_UNSAFE_DB_CONNECTIONS", Shape::Bool),
    ("OVERRIDE_HTTP_HEADERS", Shape::Headers),
    ("MAX_CONTENT_LENGTH", Shape::CountOrNull),
    ("FAB_API_MAX_PAGE_SIZE", Shape::Integer),
    ("APP_NAME", Shape::Text),
    ("EXTRA_CATEGORICAL_COLOR_SCHEMES", Shape::Objects),
    ("SQLLAB_DEFAULT_DBID", Shape::CountOrNull),
];

/// What a key may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Bool,
    Text,
    Integer,
    /// An integer that is not negative.
    Count,
    CountOrNull,
    /// A list of objects.
    Objects,
    /// Names of functions by engine.
    Functions,
    /// Texts that may stand in a response's head.
    Headers,
}

/// Checks the value of a live key; every other key may hold anything.
pub(super) fn check(key: &str, value: &Value, faults: &mut Faults) {
    let Some((_, shape)) = KEYS.iter().find(|(live, _)| *live == key) else { return };
    let expected = match (shape, value) {
        (Shape::Functions, Value::Object(engines)) => {
            for (engine, names) in engines {
                if !names.as_array().is_some_and(|names| names.iter().all(Value::is_string)) {
                    let message = "not names of functions; write a list of strings";
                    faults.push(Fault::new(engine, FaultKind::WrongType, message));
                }
            }
            return;
        }
        (Shape::Headers, Value::Object(headers)) => {
            for (name, value) in headers {
                check_header(name, value, faults);
            }
            return;
        }
        _ if shape.fits(value) => return,
        (Shape::Bool, _) => "true or false",
        (Shape::Text, _) => "a string",
        (Shape::Integer, _) => "an integer",
        (Shape::Count, _) => "an integer that is not negative",
        (Shape::CountOrNull, _) => "an integer that is not negative, or null",
        (Shape::Objects, _) => "a list of objects",
        (Shape::Functions, _) => "an object of lists of strings",
        (Shape::Headers, _) => "an object of strings",
    };
    faults.push(wrong_type("", expected, value));
}

impl Shape {
    fn fits(self, value: &Value) -> bool {
        match self {
            Shape::Bool => value.is_boolean(),
            Shape::Text => value.is_string(),
            Shape::Integer => value.is_i64(),
            Shape::Count => is_count(value),
            Shape::CountOrNull => value.is_null() || is_count(value),
            Shape::Objects => value.as_array().is_some_and(|list| list.iter().all(Value::is_object)),
            Shape::Functions | Shape::Headers => false,
        }
    }
}

fn is_count(value: &Value) -> bool {
    value.as_i64().is_some_and(|count| count >= 0)
}

/// One that no server sends makes every response an error.
fn check_header(name: &str, value: &Value, faults: &mut Faults) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let message = if name.is_empty() || !name.bytes().all(is_token) {
        "not the name of a header; write it like `X-Frame-Options`"
    } else if FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
        "how long a response is stands in this header; remove it"
    } else if !value.as_str().is_some_and(|text| text.bytes().all(|byte| matches!(byte, b' '..=b'~'))) {
        "not the value of a header; write a string of printable ASCII"
    } else {
        return;
    };
    faults.push(Fault::new(name, FaultKind::BadValue, message));
}

/// With a wrong one of these no client finds the response's end.
const FRAMING: [&str; 2] = ["Content-Length", "Transfer-Encoding"];
