//! YAML as PyYAML's `safe_load` reads it, because Superset writes and reads its exports with that.
//!
//! granit-parser gives the events; what a plain scalar means is decided here, by YAML 1.1's rules as PyYAML has
//! them: `yes` is true, `012` is ten, `1e3` and `08` are strings. What no JSON document can hold is refused.

mod scalar;

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag, options};
use serde_json::Value;

use self::scalar::Plain;
use crate::Object;
use crate::fault::{Fault, FaultKind, Faults, index_path, key_path};
use crate::json::{self, DEPTH_MAX};

/// The most that anchors and aliases may copy within one document: bytes of text, plus one for each value.
const ALIASED_MAX: usize = 1024 * 1024;

/// Reads one YAML document.
///
/// Returns the value together with the faults that did not hinder reading on.
///
/// # Errors
/// Returns the first fault that did: the text is not YAML, is nested too deeply, or expands too far.
pub(crate) fn read(text: &str) -> Result<(Value, Faults), Fault> {
    refuse_old_line_breaks(text)?;
    let options = options! { emit_comments: false, block_scalar_eof_without_line_feed: true };
    let events = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader {
        events: Box::new(events),
        anchors: BTreeMap::new(),
        aliased: 0,
        depth: 0,
        faults: Faults::default(),
    };
    let value = reader.document()?;
    Ok((value, reader.faults))
}

/// YAML 1.1 takes these characters for line breaks and folds them; YAML 1.2, and so the parser, does not. PyYAML
/// escapes them as Superset calls it, so only text that was not exported has them.
fn refuse_old_line_breaks(text: &str) -> Result<(), Fault> {
    let Some(at) = text.find(['\u{85}', '\u{2028}', '\u{2029}']) else { return Ok(()) };
    let message =
        "U+0085, U+2028 or U+2029, a line break in YAML 1.1; write it as an escape in double quotes";
    Err(Fault::new("", FaultKind::Yaml, message).at(json::line_and_column(text, at)))
}

type Events<'t> = Box<dyn Iterator<Item = Result<(Event<'t>, Span), ScanError>> + 't>;

struct Reader<'t> {
    events: Events<'t>,
    /// The finished values of anchors, by the parser's numbers.
    anchors: BTreeMap<usize, Value>,
    aliased: usize,
    depth: usize,
    faults: Faults,
}

impl<'t> Reader<'t> {
    fn next(&mut self, path: &str) -> Result<(Event<'t>, Span), Fault> {
        match self.events.next() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let (line, column) = (error.marker().line(), error.marker().col() + 1);
                Err(Fault::new(path, FaultKind::Syntax, "not YAML from here on").at((line, column)))
            }
            None => Err(Fault::new(path, FaultKind::Syntax, "the text ends within the document")),
        }
    }

    fn document(&mut self) -> Result<Value, Fault> {
        let mut document = None;
        loop {
            let (event, span) = self.next("")?;
            match event {
                Event::StreamEnd => return Ok(document.unwrap_or(Value::Null)),
                Event::DocumentStart(..) if document.is_some() => {
                    let message = "a second YAML document in one file; split the file";
                    return Err(fault_at("", FaultKind::Yaml, message, span));
                }
                Event::DocumentStart(..) => {
                    let (event, span) = self.next("")?;
                    document = Some(self.value(event, span, "")?);
                }
                _ => {}
            }
        }
    }

    fn push(&mut self, path: &str, kind: FaultKind, message: &str, span: Span) {
        self.faults.push(fault_at(path, kind, message, span));
    }

    fn value(&mut self, event: Event<'t>, span: Span, path: &str) -> Result<Value, Fault> {
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (self.scalar(&text, style, tag.as_deref(), span, path), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", span, path);
                (Value::Array(self.nested(span, |reader| reader.list(path))?), anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", span, path);
                (Value::Object(self.nested(span, |reader| reader.object(path))?), anchor)
            }
            Event::Alias(id) => (self.alias(id, span, path)?, 0),
            _ => return Err(fault_at(path, FaultKind::Syntax, "expected a value", span)),
        };
        if anchor != 0 {
            self.charge(&value, span, path)?;
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn nested<T>(
        &mut self,
        span: Span,
        inner: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.depth == DEPTH_MAX {
            let message = format!("nested deeper than {DEPTH_MAX} levels");
            return Err(fault_at("", FaultKind::TooLarge, &message, span));
        }
        self.depth += 1;
        let value = inner(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn list(&mut self, path: &str) -> Result<Vec<Value>, Fault> {
        let mut list = Vec::new();
        loop {
            let (event, span) = self.next(path)?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(list);
            }
            list.push(self.value(event, span, &index_path(path, list.len()))?);
        }
    }

    fn object(&mut self, path: &str) -> Result<Object, Fault> {
        let mut object = Object::new();
        loop {
            let (event, key_span) = self.next(path)?;
            if matches!(event, Event::MappingEnd) {
                return Ok(object);
            }
            let key = self.key(event, key_span, path)?;
            let path = key_path(path, &key);
            let (event, span) = self.next(&path)?;
            let value = self.value(event, span, &path)?;
            if object.contains_key(&key) {
                let message = "the key stands twice in one mapping; remove one of them";
                self.push(&path, FaultKind::DuplicateKey, message, key_span);
            } else {
                object.insert(key, value);
            }
        }
    }

    /// Reads a key. Integers become text, as `json.dumps` makes them; other keys that are no strings are refused,
    /// because who wrote `on:` hardly meant `true`.
    fn key(&mut self, event: Event<'t>, span: Span, path: &str) -> Result<String, Fault> {
        if let Event::Scalar(text, ScalarStyle::Plain, _, None) = &event
            && text == "<<"
        {
            return Err(fault_at(path, FaultKind::Yaml, "merge keys are not read; write the keys out", span));
        }
        let shown = match &event {
            Event::Scalar(text, ..) => key_path(path, text),
            _ => path.to_owned(),
        };
        match self.value(event, span, &shown)? {
            Value::String(key) => Ok(key),
            Value::Number(number) if !number.is_f64() => Ok(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                self.push(&shown, FaultKind::Yaml, "the key is not a string in YAML 1.1; quote it", span);
                Ok(shown)
            }
            Value::Array(_) | Value::Object(_) => Err(fault_at(
                path,
                FaultKind::Yaml,
                "a list or a mapping as key; JSON has only strings",
                span,
            )),
        }
    }

    fn alias(&mut self, id: usize, span: Span, path: &str) -> Result<Value, Fault> {
        let Some(value) = self.anchors.get(&id) else {
            let message = "an alias within its own anchor; JSON has no loops";
            return Err(fault_at(path, FaultKind::Yaml, message, span));
        };
        let value = value.clone();
        self.charge(&value, span, path)?;
        Ok(value)
    }

    /// Counts a copy of `value`: anchors and aliases each make one.
    fn charge(&mut self, value: &Value, span: Span, path: &str) -> Result<(), Fault> {
        self.aliased += size(value);
        if self.aliased <= ALIASED_MAX {
            return Ok(());
        }
        let message = format!("anchors and aliases copy more than {ALIASED_MAX} bytes; write the values out");
        Err(fault_at(path, FaultKind::TooLarge, &message, span))
    }

    fn check_tag(&mut self, tag: Option<&Tag>, expected: &str, span: Span, path: &str) {
        if tag.is_some_and(|tag| tag.core_suffix() != Some(expected)) {
            self.push(path, FaultKind::Yaml, "a tag that JSON has no type for; remove it", span);
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span, path: &str) -> Value {
        let is_text = match tag {
            None => style != ScalarStyle::Plain,
            Some(tag) if tag.core_suffix() == Some("str") || tag.original() == "!" => true,
            Some(tag) if matches!(tag.core_suffix(), Some("bool" | "float" | "int" | "null")) => false,
            Some(_) => {
                self.push(path, FaultKind::Yaml, "a tag that JSON has no type for; remove it", span);
                true
            }
        };
        let found = if is_text { Plain::Text } else { scalar::resolve(text) };
        let wrong_tag = !is_text && tag.is_some_and(|tag| tag.core_suffix() != found.tag());
        if wrong_tag {
            self.push(
                path,
                FaultKind::Yaml,
                "the value does not have the type of its tag; remove the tag",
                span,
            );
        }
        match found {
            Plain::Text => {
                if text.contains('\0') {
                    self.push(path, FaultKind::Nul, "the string holds NUL; remove it", span);
                }
                Value::String(text.to_owned())
            }
            Plain::Null => Value::Null,
            Plain::Bool(bool) => Value::Bool(bool),
            Plain::Integer(digits) => self.number(&digits, true, span, path),
            Plain::Float(digits) => self.number(&digits, false, span, path),
            Plain::Refused(message) => {
                self.push(path, FaultKind::Yaml, message, span);
                Value::Null
            }
        }
    }

    fn number(&mut self, digits: &str, is_integer: bool, span: Span, path: &str) -> Value {
        match json::number(digits, is_integer) {
            Ok(number) => Value::Number(number),
            Err(message) => {
                self.push(path, FaultKind::Number, message, span);
                Value::Null
            }
        }
    }
}

fn fault_at(path: &str, kind: FaultKind, message: &str, span: Span) -> Fault {
    Fault::new(path, kind, message).at((span.start.line(), span.start.col() + 1))
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(size).sum(),
        Value::Object(object) => object.iter().map(|(key, value)| key.len() + size(value)).sum(),
    }
}

#[cfg(test)]
mod tests;
