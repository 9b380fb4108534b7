//! JSON text as Python's simplejson writes it by default, which is what Superset stores: a space after each comma
//! and colon, ASCII only, keys in their order, floats by `repr`.

use serde_json::{Number, Value};

/// Writes a value as `simplejson.dumps` does.
#[must_use]
pub fn dumps(value: &Value) -> String {
    let mut text = String::new();
    write(value, Keys::AsTheyAre, &mut text);
    text
}

/// Writes an object as `simplejson.dumps` does.
#[must_use]
pub fn dumps_object(object: &asset::Object) -> String {
    let mut text = String::new();
    write_object(object, Keys::AsTheyAre, &mut text);
    text
}

/// The same with sorted keys, to compare where the order of keys means nothing.
pub(crate) fn dumps_sorted(value: &Value) -> String {
    let mut text = String::new();
    write(value, Keys::Sorted, &mut text);
    text
}

#[derive(Clone, Copy)]
enum Keys {
    AsTheyAre,
    Sorted,
}

fn write(value: &Value, keys: Keys, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => write_number(number, text),
        Value::String(string) => write_string(string, text),
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push_str(", ");
                }
                write(item, keys, text);
            }
            text.push(']');
        }
        Value::Object(object) => write_object(object, keys, text),
    }
}

fn write_object(object: &asset::Object, keys: Keys, text: &mut String) {
    let mut entries: Vec<_> = object.iter().collect();
    if let Keys::Sorted = keys {
        entries.sort_by_key(|(key, _)| *key);
    }
    text.push('{');
    for (at, (key, value)) in entries.into_iter().enumerate() {
        if at > 0 {
            text.push_str(", ");
        }
        write_string(key, text);
        text.push_str(": ");
        write(value, keys, text);
    }
    text.push('}');
}

fn write_string(string: &str, text: &mut String) {
    text.push('"');
    for char in string.chars() {
        match char {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            ' '..='~' => text.push(char),
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    text.push('"');
}

fn write_number(number: &Number, text: &mut String) {
    match number.as_f64() {
        Some(float) if number.is_f64() => text.push_str(&repr(float)),
        _ => text.push_str(&number.to_string()),
    }
}

/// Writes a float as Python's `repr`: the shortest digits that read back the same, with an exponent below 1e-4
/// and from 1e16 on.
fn repr(float: f64) -> String {
    let shortest = format!("{float:e}");
    let Some((digits, exponent)) = shortest.split_once('e') else { return shortest };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let decimals = digits.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    // Of two shortest texts that are as near as each other, Rust takes the upper one and Python the even one; so
    // does Rust when it is told how many digits to write.
    if (-4..16).contains(&exponent) {
        let after_point = i32::try_from(decimals).unwrap_or(0).saturating_sub(exponent).max(1);
        let after_point = usize::try_from(after_point).unwrap_or(1);
        return even(format!("{float:.after_point$}"), float, format!("{float}"));
    }
    let rounded = even(format!("{float:.decimals$e}"), float, shortest.clone());
    let digits = rounded.split_once('e').map_or(digits, |(digits, _)| digits);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Prefers a rounded text if it reads back as the same float.
fn even(rounded: String, float: f64, shortest: String) -> String {
    if rounded.parse() == Ok(float) { rounded } else { shortest }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &str, want: &str) {
        let value: Value = serde_json::from_str(given).unwrap();
        assert_eq!(dumps(&value), want);
    }

    #[test]
    fn text_is_written_as_simplejson_writes_it() {
        check(r#"{"b":[1,2],"a":{},"c":[]}"#, r#"{"b": [1, 2], "a": {}, "c": []}"#);
        check(r#"[null,true,false,-1,0]"#, "[null, true, false, -1, 0]");
        check(r#""a\"b\\c\/d\n\r\t\b\f""#, r#""a\"b\\c/d\n\r\t\b\f""#);
        check("\"\u{7f}\\u0001~ \"", r#""\u007f\u0001~ ""#);
        check("\"é €\u{2028}🔑\"", r#""\u00e9 \u20ac\u2028\ud83d\udd11""#);
        check(r#"{"é":1}"#, r#"{"\u00e9": 1}"#);
    }

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (given, want) in [
            ("1.0", "1.0"),
            ("0.1", "0.1"),
            ("-2.50", "-2.5"),
            ("1e15", "1000000000000000.0"),
            ("1e16", "1e+16"),
            ("1.5e300", "1.5e+300"),
            ("123456789012345680.0", "1.2345678901234568e+17"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1.25e-7", "1.25e-07"),
            ("1e-320", "1e-320"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("-0.0", "-0.0"),
            ("948918364198875.25", "948918364198875.2"),
            ("4.353119972161665e+288", "4.353119972161665e+288"),
            ("0.20595871281932654", "0.20595871281932654"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("100.0", "100.0"),
            ("9223372036854775807", "9223372036854775807"),
        ] {
            check(given, want);
        }
    }
}
