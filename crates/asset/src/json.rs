//! Strict JSON.
//!
//! serde_json gives no sight of what must be refused here: an integer beyond 64 bits becomes a float, the last of
//! two equal keys wins, and a later fault has no line. So this is a parser of our own, into serde_json's value.

use serde_json::{Number, Value};

use crate::Object;
use crate::fault::{Fault, FaultKind, Faults, index_path, key_path};

/// The deepest nesting of objects and lists that is read.
pub(crate) const DEPTH_MAX: usize = 128;

/// Reads one JSON text.
///
/// Returns the value together with the faults that did not hinder reading on (equal keys, numbers, NUL).
///
/// # Errors
/// Returns the first fault that did: the text is not JSON, or is nested too deeply.
pub(crate) fn read(text: &str) -> Result<(Value, Faults), Fault> {
    let mut parser = Parser { text, at: 0, path: Vec::new(), faults: Faults::default() };
    if text.starts_with('\u{feff}') {
        return Err(parser.syntax("the text begins with a byte order mark; save it without one"));
    }
    parser.skip_space();
    let value = parser.value()?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(parser.syntax("more text after the end of the document; one document is one JSON object"));
    }
    Ok((value, parser.faults))
}

/// Returns the line and the column (in characters) of the byte `at`, both counted from 1.
pub(crate) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count() + 1)
}

enum Step {
    Key(String),
    Index(usize),
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    path: Vec<Step>,
    faults: Faults,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn path(&self) -> String {
        self.path.iter().fold(String::new(), |path, step| match step {
            Step::Key(key) => key_path(&path, key),
            Step::Index(index) => index_path(&path, *index),
        })
    }

    fn fault(&self, at: usize, kind: FaultKind, message: &str) -> Fault {
        Fault::new(self.path(), kind, message).at(line_and_column(self.text, at))
    }

    /// Notes a fault after which the text can be read on. To find a line takes a look at the whole text, which must
    /// not happen for each of a million faults.
    fn note(&mut self, at: usize, kind: FaultKind, message: &str) {
        if self.faults.has_room() {
            self.faults.push(self.fault(at, kind, message));
        } else {
            self.faults.count();
        }
    }

    fn syntax(&self, message: &str) -> Fault {
        self.fault(self.at, FaultKind::Syntax, message)
    }

    fn value(&mut self) -> Result<Value, Fault> {
        match self.peek() {
            Some(b'{') => self.object().map(Value::Object),
            Some(b'[') => self.list().map(Value::Array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'N' | b'I') => Err(self.syntax("NaN and Infinity are not JSON; write a number or null")),
            Some(_) => Err(self.syntax("expected a JSON value")),
            None => Err(self.syntax("the text ends where a JSON value is expected")),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Fault> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.syntax("expected a JSON value"))
        }
    }

    fn check_depth(&self) -> Result<(), Fault> {
        if self.path.len() < DEPTH_MAX {
            return Ok(());
        }
        let message = format!("nested deeper than {DEPTH_MAX} levels");
        Err(Fault::new("", FaultKind::TooLarge, message).at(line_and_column(self.text, self.at)))
    }

    fn object(&mut self) -> Result<Object, Fault> {
        self.check_depth()?;
        let mut object = Object::new();
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(object);
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.syntax("expected a key in double quotes"));
            }
            let key_at = self.at;
            let key = self.string()?;
            self.path.push(Step::Key(key.clone()));
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.syntax("expected `:` after the key"));
            }
            self.at += 1;
            self.skip_space();
            let value = self.value()?;
            if object.contains_key(&key) {
                let message = "the key stands twice in one object; remove one of them";
                self.note(key_at, FaultKind::DuplicateKey, message);
            } else {
                object.insert(key, value);
            }
            self.path.pop();
            if self.end_of(b'}', "expected `,` or `}`")? {
                return Ok(object);
            }
        }
    }

    fn list(&mut self) -> Result<Vec<Value>, Fault> {
        self.check_depth()?;
        let mut list = Vec::new();
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(list);
        }
        loop {
            self.path.push(Step::Index(list.len()));
            list.push(self.value()?);
            self.path.pop();
            if self.end_of(b']', "expected `,` or `]`")? {
                return Ok(list);
            }
        }
    }

    /// Steps over a comma (false) or the closing bracket (true).
    fn end_of(&mut self, close: u8, expected: &str) -> Result<bool, Fault> {
        self.skip_space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.skip_space();
                Ok(false)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(true)
            }
            Some(_) => Err(self.syntax(expected)),
            None => Err(self.syntax("the text ends within an object or a list")),
        }
    }

    fn number(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let first_digit = self.at;
        self.digits()?;
        if self.text.as_bytes()[first_digit] == b'0' && self.at > first_digit + 1 {
            self.at = first_digit;
            return Err(self.syntax("a number must not begin with 0; write it without, or in double quotes"));
        }
        let mut is_integer = true;
        if self.peek() == Some(b'.') {
            is_integer = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            is_integer = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        match number(&self.text[start..self.at], is_integer) {
            Ok(number) => Ok(Value::Number(number)),
            Err(message) => {
                self.note(start, FaultKind::Number, message);
                Ok(Value::Number(Number::from(0)))
            }
        }
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.syntax("expected a digit")) }
    }

    fn string(&mut self) -> Result<String, Fault> {
        let start = self.at;
        self.at += 1;
        let mut string = String::new();
        let mut has_nul = false;
        loop {
            let run = self.at;
            while let Some(byte) = self.peek() {
                if byte == b'"' || byte == b'\\' || byte < 0x20 {
                    break;
                }
                self.at += 1;
            }
            string.push_str(&self.text[run..self.at]);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    let escaped = self.escape()?;
                    has_nul |= escaped == '\0';
                    string.push(escaped);
                }
                Some(_) => return Err(self.syntax("a control character in a string; write it as an escape")),
                None => return Err(self.syntax("the text ends within a string")),
            }
        }
        self.at += 1;
        if has_nul {
            self.note(start, FaultKind::Nul, "the string holds NUL (`\\u0000`); remove it");
        }
        Ok(string)
    }

    fn escape(&mut self) -> Result<char, Fault> {
        self.at += 1;
        let escaped = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            Some(_) | None => return Err(self.syntax("not an escape of JSON")),
        };
        self.at += 1;
        Ok(escaped)
    }

    fn unicode_escape(&mut self) -> Result<char, Fault> {
        let first = self.four_hex_digits()?;
        let mut code = Some(first);
        if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            self.at += 1;
            let second = self.four_hex_digits()?;
            let is_low = (0xdc00..0xe000).contains(&second);
            code = is_low.then(|| 0x10000 + ((first - 0xd800) << 10) + (second.wrapping_sub(0xdc00)));
        }
        let char = code.and_then(char::from_u32);
        char.ok_or_else(|| self.syntax("half of a surrogate pair, which is not a character"))
    }

    /// Reads `uXXXX`.
    fn four_hex_digits(&mut self) -> Result<u32, Fault> {
        self.at += 1;
        let digits = self.text.as_bytes().get(self.at..self.at + 4).unwrap_or_default();
        let digits = std::str::from_utf8(digits)
            .ok()
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
            Some(code) => {
                self.at += 4;
                Ok(code)
            }
            None => Err(self.syntax("expected four hexadecimal digits")),
        }
    }
}

/// Turns the text of a number into a number of 64 bits.
pub(crate) fn number(text: &str, is_integer: bool) -> Result<Number, &'static str> {
    if is_integer {
        let signed = text.parse::<i64>().map(Number::from);
        return signed
            .or_else(|_| text.parse::<u64>().map(Number::from))
            .map_err(|_| "an integer beyond 64 bits; write it in double quotes or smaller");
    }
    let float = text.parse::<f64>().ok();
    float.and_then(Number::from_f64).ok_or("a number beyond the largest float; write a smaller one")
}
