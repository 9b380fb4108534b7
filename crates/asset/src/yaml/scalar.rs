//! What a plain scalar of YAML 1.1 means to PyYAML 6 (`resolver.py`, `constructor.py`).

/// The meaning of a plain scalar.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plain {
    Null,
    Bool(bool),
    /// Decimal digits with an optional `-`, of any length.
    Integer(String),
    /// A text that Rust reads as a float.
    Float(String),
    /// A string: the scalar itself.
    Text,
    /// A value that JSON cannot hold, with what to do about it.
    Refused(&'static str),
}

impl Plain {
    /// Returns the suffix of the core tag of this meaning.
    pub(super) fn tag(&self) -> Option<&'static str> {
        match self {
            Plain::Null => Some("null"),
            Plain::Bool(_) => Some("bool"),
            Plain::Integer(_) => Some("int"),
            Plain::Float(_) => Some("float"),
            Plain::Text => Some("str"),
            Plain::Refused(_) => None,
        }
    }
}

/// Returns what PyYAML's `safe_load` makes of the plain scalar `text`.
pub(super) fn resolve(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Plain::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Plain::Bool(false);
        }
        "=" => return Plain::Refused("`=` has no meaning in YAML 1.1; quote it"),
        "<<" => return Plain::Refused("`<<` is the merge key of YAML 1.1; quote it"),
        _ => {}
    }
    let (sign, rest) = sign_of(text);
    if matches!(rest, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Plain::Refused(
            "infinity and not-a-number have no place in JSON; write a number, null or quote it",
        );
    }
    if is_timestamp(text) {
        return Plain::Refused("a date or time in YAML 1.1, which JSON does not have; quote it");
    }
    integer(sign, rest).or_else(|| float(text, sign, rest)).unwrap_or(Plain::Text)
}

fn sign_of(text: &str) -> (&'static str, &str) {
    match text.as_bytes().first() {
        Some(b'-') => ("-", &text[1..]),
        Some(b'+') => ("", &text[1..]),
        Some(_) | None => ("", text),
    }
}

fn all(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte == b'_' || allowed(byte))
}

fn is_decimal(byte: u8) -> bool {
    byte.is_ascii_digit()
}

/// `0b101`, `017`, `0x1f`, `1_000`, `1:30` (base 60).
fn integer(sign: &str, rest: &str) -> Option<Plain> {
    let in_base = |digits: &str, base: u32| Some(of_base(sign, digits, base));
    if let Some(digits) =
        rest.strip_prefix("0b").filter(|digits| all(digits, |byte| matches!(byte, b'0' | b'1')))
    {
        return in_base(digits, 2);
    }
    if let Some(digits) =
        rest.strip_prefix("0x").filter(|digits| all(digits, |byte| byte.is_ascii_hexdigit()))
    {
        return in_base(digits, 16);
    }
    if let Some(digits) =
        rest.strip_prefix('0').filter(|digits| all(digits, |byte| matches!(byte, b'0'..=b'7')))
    {
        return if digits.bytes().all(|byte| byte == b'_') {
            Some(decimal("", "0"))
        } else {
            in_base(digits, 8)
        };
    }
    if rest == "0" {
        return Some(decimal("", "0"));
    }
    let (first, sixtieths) = split_sixtieths(rest)?;
    if first.starts_with('0') || !first.as_bytes()[0].is_ascii_digit() || !all(first, is_decimal) {
        return None;
    }
    if sixtieths.is_empty() {
        return Some(decimal(sign, &first.replace('_', "")));
    }
    Some(of_base_60(sign, &first.replace('_', ""), &sixtieths))
}

/// Splits `1:30:05` into `1` and `30`, `05`. `None` if a part after the first is no number below 60.
fn split_sixtieths(text: &str) -> Option<(&str, Vec<&str>)> {
    let mut parts = text.split(':');
    let first = parts.next().filter(|first| !first.is_empty())?;
    let rest: Vec<_> = parts.collect();
    let is_sixtieth = |part: &&str| match part.as_bytes() {
        [digit] => digit.is_ascii_digit(),
        [b'0'..=b'5', digit] => digit.is_ascii_digit(),
        _ => false,
    };
    rest.iter().all(is_sixtieth).then_some((first, rest))
}

fn decimal(sign: &str, digits: &str) -> Plain {
    Plain::Integer(format!("{sign}{digits}"))
}

/// What is too large here gets a text that is too large for every integer, and so the fault of all of those.
const TOO_LARGE: &str = "99999999999999999999";

fn of_base(sign: &str, digits: &str, base: u32) -> Plain {
    let digits = digits.replace('_', "");
    if digits.is_empty() {
        return Plain::Refused("an integer without digits; quote it");
    }
    match u128::from_str_radix(&digits, base) {
        Ok(number) => decimal(sign, &number.to_string()),
        Err(_) => decimal(sign, TOO_LARGE),
    }
}

fn of_base_60(sign: &str, first: &str, sixtieths: &[&str]) -> Plain {
    let parts = std::iter::once(first).chain(sixtieths.iter().copied());
    let number = parts
        .map(|part| part.parse::<u128>().ok())
        .try_fold(0_u128, |number, part| number.checked_mul(60)?.checked_add(part?));
    match number {
        Some(number) => decimal(sign, &number.to_string()),
        None => decimal(sign, TOO_LARGE),
    }
}

/// `1.5`, `1.`, `.5`, `1.5e+3` (the exponent needs its sign), `1:30.5` (base 60). Never without a point.
fn float(text: &str, sign: &str, rest: &str) -> Option<Plain> {
    let (mantissa, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    if let Some(exponent) = exponent {
        let digits = exponent.strip_prefix(['+', '-'])?;
        if digits.is_empty() || !digits.bytes().all(is_decimal) {
            return None;
        }
    }
    let (whole, fraction) = mantissa.split_once('.')?;
    if !fraction.is_empty() && !all(fraction, is_decimal) {
        return None;
    }
    if whole.contains(':') {
        return if exponent.is_none() { float_of_base_60(sign, whole, fraction) } else { None };
    }
    let starts_with_digit = |part: &str| part.as_bytes().first().copied().is_some_and(is_decimal);
    // A float that begins with its point takes no sign, and needs a digit after it.
    let has_digits = if whole.is_empty() {
        rest.len() == text.len() && starts_with_digit(fraction)
    } else {
        starts_with_digit(whole) && all(whole, is_decimal)
    };
    has_digits.then(|| Plain::Float(format!("{sign}{}", tidy(rest))))
}

/// Removes underscores, and gives a digit to what begins or ends with its point.
fn tidy(rest: &str) -> String {
    let text = rest.replace('_', "");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let whole = if whole.is_empty() { "0" } else { whole };
    let is_bare = !fraction.as_bytes().first().copied().is_some_and(is_decimal);
    format!("{whole}.{}{fraction}", if is_bare { "0" } else { "" })
}

fn float_of_base_60(sign: &str, whole: &str, fraction: &str) -> Option<Plain> {
    let (first, sixtieths) = split_sixtieths(whole)?;
    if !first.as_bytes()[0].is_ascii_digit() || !all(first, is_decimal) {
        return None;
    }
    let last = format!("{}.{}0", sixtieths.last()?, fraction.replace('_', ""));
    let (_, before_last) = sixtieths.split_last()?;
    let mut parts = vec![first.replace('_', "").parse::<f64>().ok()?];
    for part in before_last {
        parts.push(part.parse().ok()?);
    }
    parts.push(last.parse().ok()?);
    // PyYAML adds from the last part on; the order decides the last bit.
    let (sum, _) =
        parts.iter().rev().fold((0.0_f64, 1.0_f64), |(sum, base), part| (sum + part * base, base * 60.0));
    Some(Plain::Float(format!("{sign}{sum:?}")))
}

/// `2020-01-01`, or a date with a time such as `2020-1-1 10:00:00`.
fn is_timestamp(text: &str) -> bool {
    let Some((date, time)) = split_date(text) else { return false };
    match time {
        "" => date.iter().all(|part| part.len() >= 2) && text.len() == 10,
        time => is_time(time),
    }
}

/// Splits the year, month and day off.
fn split_date(text: &str) -> Option<([&str; 3], &str)> {
    let (year, rest) = text.split_once('-')?;
    let (month, rest) = rest.split_once('-')?;
    let end = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let (day, time) = rest.split_at(end);
    let is_number = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(is_decimal)
    };
    (is_number(year, 4..=4) && is_number(month, 1..=2) && is_number(day, 1..=2))
        .then_some(([year, month, day], time))
}

/// `T10:00:00`, ` 10:00:00.5 +01:00`.
fn is_time(text: &str) -> bool {
    let clock = match text.strip_prefix(['T', 't']) {
        Some(clock) => clock,
        None => text.trim_start_matches([' ', '\t']),
    };
    if clock.len() == text.len() {
        return false;
    }
    let end = clock.bytes().position(|byte| !(byte.is_ascii_digit() || byte == b':')).unwrap_or(clock.len());
    let (hours, rest) = clock.split_at(end);
    let parts: Vec<_> = hours.split(':').collect();
    let [hour, minute, second] = parts.as_slice() else { return false };
    if !(matches!(hour.len(), 1 | 2) && minute.len() == 2 && second.len() == 2) {
        return false;
    }
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|each: char| each.is_ascii_digit()),
        None => rest,
    };
    is_zone(rest.trim_start_matches([' ', '\t']), rest)
}

fn is_zone(zone: &str, with_space: &str) -> bool {
    if zone.is_empty() || zone == "Z" {
        return zone == "Z" || with_space.is_empty();
    }
    let Some(offset) = zone.strip_prefix(['+', '-']) else { return false };
    let (hours, minutes) = offset.split_once(':').unwrap_or((offset, "00"));
    let digits = |part: &str| part.bytes().all(is_decimal);
    matches!(hours.len(), 1 | 2) && minutes.len() == 2 && digits(hours) && digits(minutes)
}
