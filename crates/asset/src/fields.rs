//! Takes the keys of one JSON object apart by name and type, and tells every fault on the way.

use serde_json::Value;
use uuid::Uuid;

use crate::Object;
use crate::fault::{Fault, FaultKind, Faults, index_path, key_path};
use crate::json;
use crate::secret;

/// The keys of one object that have not been taken yet. [`Fields::finish`] refuses what is left.
///
/// After a fault a method returns a value of the right type without meaning: the document is refused anyway, and
/// the remaining faults shall be found too.
pub(crate) struct Fields<'f> {
    path: String,
    object: Object,
    /// Whether there is an object at all; if not, that is one fault, and not one for each required key.
    is_object: bool,
    faults: &'f mut Faults,
}

impl<'f> Fields<'f> {
    pub(crate) fn new(path: String, value: Value, faults: &'f mut Faults) -> Fields<'f> {
        match value {
            Value::Object(object) => Fields { path, object, is_object: true, faults },
            other => {
                faults.push(wrong_type(&path, "an object", &other));
                Fields { path, object: Object::new(), is_object: false, faults }
            }
        }
    }

    pub(crate) fn path_of(&self, key: &str) -> String {
        key_path(&self.path, key)
    }

    pub(crate) fn fault(&mut self, key: &str, kind: FaultKind, message: impl Into<String>) {
        let path = self.path_of(key);
        self.faults.push(Fault::new(path, kind, message));
    }

    pub(crate) fn fault_at(&mut self, path: String, kind: FaultKind, message: impl Into<String>) {
        self.faults.push(Fault::new(path, kind, message));
    }

    /// Puts a value under a key that is not there.
    pub(crate) fn put_back(&mut self, key: &str, value: Value) {
        self.object.insert(key.to_owned(), value);
    }

    pub(crate) fn faults(&mut self) -> &mut Faults {
        self.faults
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    /// Takes the value of `key`: `None` if omitted.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.object.shift_remove(key)
    }

    /// Takes the value of `key`: `None` if omitted or null.
    pub(crate) fn take_some(&mut self, key: &str) -> Option<Value> {
        self.take(key).filter(|value| !value.is_null())
    }

    /// Takes the value of a key that must be there, whatever its type.
    pub(crate) fn required(&mut self, key: &str) -> Option<Value> {
        let value = self.take(key);
        if value.is_none() && self.is_object {
            self.fault(key, FaultKind::MissingKey, "required and missing; add it");
        }
        value
    }

    pub(crate) fn wrong_type(&mut self, key: &str, expected: &str, found: &Value) {
        let path = self.path_of(key);
        self.faults.push(wrong_type(&path, expected, found));
    }

    /// Takes a required string that may be empty.
    pub(crate) fn required_text(&mut self, key: &str) -> String {
        match self.required(key) {
            Some(Value::String(text)) => text,
            Some(other) => {
                self.wrong_type(key, "a string", &other);
                String::new()
            }
            None => String::new(),
        }
    }

    /// Takes a required string that names something.
    pub(crate) fn required_name(&mut self, key: &str) -> String {
        let has_text = self.object.get(key).is_some_and(Value::is_string);
        let name = self.required_text(key);
        if has_text && name.is_empty() {
            self.fault(key, FaultKind::BadValue, "a name must not be empty");
        }
        name
    }

    pub(crate) fn text(&mut self, key: &str) -> Option<String> {
        match self.take_some(key)? {
            Value::String(text) => Some(text),
            other => {
                self.wrong_type(key, "a string or null", &other);
                None
            }
        }
    }

    /// Takes the address of a page, which must hold no secret.
    pub(crate) fn url(&mut self, key: &str) -> Option<String> {
        let url = self.text(key)?;
        if secret::in_uri(&url) {
            let message = "holds a clear secret; rotate it and take it out of the address";
            self.fault(key, FaultKind::ClearSecret, message);
        }
        Some(url)
    }

    /// Takes a boolean whose column may be NULL.
    pub(crate) fn flag(&mut self, key: &str, default: bool) -> Option<bool> {
        match self.take(key) {
            None => Some(default),
            Some(Value::Bool(flag)) => Some(flag),
            Some(Value::Null) => None,
            Some(other) => {
                self.wrong_type(key, "true, false or null", &other);
                None
            }
        }
    }

    /// Takes a boolean whose column is never NULL: omitted and null are false.
    pub(crate) fn plain_flag(&mut self, key: &str) -> bool {
        self.flag(key, false).unwrap_or(false)
    }

    pub(crate) fn integer(&mut self, key: &str, default: Option<i64>) -> Option<i64> {
        let value = match self.take(key) {
            None => return default,
            Some(value) => value,
        };
        match value.as_i64() {
            Some(integer) => Some(integer),
            None if value.is_null() => None,
            None => {
                self.wrong_type(key, "an integer or null", &value);
                None
            }
        }
    }

    pub(crate) fn object(&mut self, key: &str) -> Option<Object> {
        match self.take_some(key)? {
            Value::Object(object) => Some(object),
            other => {
                self.wrong_type(key, "an object or null", &other);
                None
            }
        }
    }

    /// Takes an object that some of Superset's exports give as JSON text, because it is text in the database.
    /// Empty text is null there.
    pub(crate) fn object_or_text(&mut self, key: &str) -> Option<Object> {
        match self.take_some(key)? {
            Value::Object(object) => Some(object),
            Value::String(text) if text.trim().is_empty() => None,
            Value::String(text) => self.object_of_text(key, &text),
            other => {
                self.wrong_type(key, "an object or null", &other);
                None
            }
        }
    }

    fn object_of_text(&mut self, key: &str, text: &str) -> Option<Object> {
        match json::read(text) {
            Ok((Value::Object(object), faults)) if faults.is_empty() => return Some(object),
            Ok((Value::Null, _)) => {}
            Ok((Value::String(inner), faults)) if faults.is_empty() && inner.len() < text.len() => {
                return self.object_of_text(key, &inner);
            }
            Ok(_) | Err(_) => {
                self.fault(
                    key,
                    FaultKind::WrongType,
                    "text that is not a JSON object; write the object itself or null",
                );
            }
        }
        None
    }

    /// Takes a list: omitted and null are the empty one.
    pub(crate) fn list(&mut self, key: &str) -> Vec<Value> {
        match self.take_some(key) {
            None => Vec::new(),
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.wrong_type(key, "a list", &other);
                Vec::new()
            }
        }
    }

    /// Takes a list of strings: omitted and null are the empty one.
    pub(crate) fn texts(&mut self, key: &str) -> Vec<String> {
        self.texts_with_paths(key).into_iter().map(|(_, text)| text).collect()
    }

    /// Takes a list of strings, each with its path: omitted and null are the empty one.
    pub(crate) fn texts_with_paths(&mut self, key: &str) -> Vec<(String, String)> {
        let list = self.list(key);
        let mut texts = Vec::with_capacity(list.len());
        for (index, value) in list.into_iter().enumerate() {
            let path = index_path(&self.path_of(key), index);
            match value {
                Value::String(text) => texts.push((path, text)),
                other => self.faults.push(wrong_type(&path, "a string", &other)),
            }
        }
        texts
    }

    pub(crate) fn required_uuid(&mut self, key: &str) -> Uuid {
        match self.required(key) {
            Some(value) => self.uuid_of(key, &value).unwrap_or_default(),
            None => Uuid::nil(),
        }
    }

    pub(crate) fn uuid(&mut self, key: &str) -> Option<Uuid> {
        let value = self.take_some(key)?;
        self.uuid_of(key, &value)
    }

    fn uuid_of(&mut self, key: &str, value: &Value) -> Option<Uuid> {
        let Some(text) = value.as_str() else {
            self.wrong_type(key, "a uuid in double quotes", value);
            return None;
        };
        let uuid = Uuid::parse_str(text).ok();
        if uuid.is_none() {
            self.fault(
                key,
                FaultKind::BadValue,
                "not a uuid; it looks like `123e4567-e89b-12d3-a456-426614174000`",
            );
        }
        uuid
    }

    /// Refuses every key that was not taken.
    pub(crate) fn finish(self, what: &str) {
        for (key, _) in &self.object {
            let message = format!("{what} has no such key; remove it, or mend its spelling");
            self.faults.push(Fault::new(key_path(&self.path, key), FaultKind::UnknownKey, message));
        }
    }
}

pub(crate) fn wrong_type(path: &str, expected: &str, found: &Value) -> Fault {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a float",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Fault::new(path, FaultKind::WrongType, format!("expected {expected}, found {found}"))
}

/// Builds the canonical object: keys in the order of the calls, defaults omitted.
#[derive(Default)]
pub(crate) struct Builder(Object);

impl Builder {
    pub(crate) fn put(&mut self, key: &str, value: impl Into<Value>) -> &mut Builder {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    pub(crate) fn put_uuid(&mut self, key: &str, uuid: Uuid) -> &mut Builder {
        self.put(key, uuid.to_string())
    }

    /// Puts what is not the default.
    pub(crate) fn put_unless<T: Clone + PartialEq + Into<Value>>(
        &mut self,
        key: &str,
        value: &Option<T>,
        default: Option<T>,
    ) -> &mut Builder {
        if *value == default {
            return self;
        }
        match value {
            Some(value) => self.put(key, value.clone()),
            None => self.put(key, Value::Null),
        }
    }

    /// Puts what is not null, where null is the default.
    pub(crate) fn put_some<T: Clone + PartialEq + Into<Value>>(
        &mut self,
        key: &str,
        value: &Option<T>,
    ) -> &mut Builder {
        self.put_unless(key, value, None)
    }

    /// Puts a boolean that is true, where false is the default.
    pub(crate) fn put_true(&mut self, key: &str, value: bool) -> &mut Builder {
        if value { self.put(key, true) } else { self }
    }

    /// Puts a list that is not empty, where the empty one is the default.
    pub(crate) fn put_list(&mut self, key: &str, list: Vec<Value>) -> &mut Builder {
        if list.is_empty() { self } else { self.put(key, list) }
    }

    pub(crate) fn into_object(self) -> Object {
        self.0
    }
}
