use expect_test::{Expect, expect};

use super::*;

/// Plain scalars and what PyYAML 6.0.3's `safe_load` makes of them, as JSON; `text` is the scalar itself.
/// `refused` is what JSON of 64 bits cannot hold, or what PyYAML itself refuses. Made with PyYAML, not by hand.
const SCALARS: &[(&str, &str)] = &[
    ("yes", "true"),
    ("Yes", "true"),
    ("YES", "true"),
    ("no", "false"),
    ("No", "false"),
    ("NO", "false"),
    ("on", "true"),
    ("On", "true"),
    ("ON", "true"),
    ("off", "false"),
    ("Off", "false"),
    ("OFF", "false"),
    ("true", "true"),
    ("True", "true"),
    ("TRUE", "true"),
    ("false", "false"),
    ("False", "false"),
    ("FALSE", "false"),
    ("y", "text"),
    ("n", "text"),
    ("tRUE", "text"),
    ("~", "null"),
    ("null", "null"),
    ("Null", "null"),
    ("NULL", "null"),
    ("nUll", "text"),
    ("0", "0"),
    ("-0", "0"),
    ("+1", "1"),
    ("-17", "-17"),
    ("012", "10"),
    ("-012", "-10"),
    ("08", "text"),
    ("0o17", "text"),
    ("0x1F", "31"),
    ("-0x1f", "-31"),
    ("0b101", "5"),
    ("1_000", "1000"),
    ("_1", "text"),
    ("1_", "1"),
    ("0_", "0"),
    ("00", "0"),
    ("1:30", "90"),
    ("190:20:30", "685230"),
    ("-1:30", "-90"),
    ("1:60", "text"),
    ("01:30", "text"),
    ("0:30", "text"),
    ("18446744073709551615", "18446744073709551615"),
    ("-9223372036854775808", "-9223372036854775808"),
    ("18446744073709551616", "refused"),
    ("-9223372036854775809", "refused"),
    ("0x10000000000000000", "refused"),
    ("0_b1", "text"),
    ("0x_", "refused"),
    ("1.5", "1.5"),
    ("1.", "1.0"),
    (".5", "0.5"),
    ("-.5", "text"),
    ("+.5", "text"),
    (".", "text"),
    ("._", "text"),
    ("-0.0", "-0.0"),
    ("1e3", "text"),
    ("1.5e3", "text"),
    ("1.5e+3", "1500.0"),
    ("1.e-3", "0.001"),
    (".1e+2", "10.0"),
    ("1_0.5_0", "10.5"),
    ("190:20:30.15", "685230.15"),
    ("1:30.", "90.0"),
    ("-1:30.5", "-90.5"),
    ("0.1", "0.1"),
    ("1.0e+400", "refused"),
    (".inf", "refused"),
    ("-.INF", "refused"),
    ("+.Inf", "refused"),
    (".iNf", "text"),
    (".nan", "refused"),
    (".NaN", "refused"),
    ("-.nan", "text"),
    ("123e4567", "text"),
    ("1e10", "text"),
    ("08540", "text"),
    ("1.2.3", "text"),
    ("1.0.0", "text"),
    ("2020-01-01", "refused"),
    ("2020-1-1", "text"),
    ("2020-01-01T10:00:00Z", "refused"),
    ("2020-1-1T1:00:00", "refused"),
    ("2020-01-01T10:00", "text"),
    ("12345678-1234-1234-1234-123456789012", "text"),
    ("=", "refused"),
    ("<<", "refused"),
    ("2020-01-01 10:00:00.5 +01:00", "refused"),
    ("2020-01-01 10:00:00 Z", "refused"),
    ("1 2", "text"),
];

#[test]
fn plain_scalars_mean_what_they_mean_to_pyyaml() {
    for (scalar, expected) in SCALARS {
        let (value, faults) = read(&format!("- {scalar}\n")).expect("a list of one scalar");
        let found = match &value[0] {
            _ if !faults.is_empty() => "refused".to_owned(),
            Value::String(text) if text == scalar => "text".to_owned(),
            other => other.to_string(),
        };
        assert_eq!(found, *expected, "{scalar}");
    }
}

#[track_caller]
fn check(text: &str, expected: Expect) {
    let shown = match read(text) {
        Ok((value, faults)) if faults.is_empty() => value.to_string(),
        Ok((_, faults)) => lines(faults.into_vec()),
        Err(fault) => lines(vec![fault]),
    };
    expected.assert_eq(&shown);
}

fn lines(faults: Vec<Fault>) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn quoted_and_block_scalars_are_strings() {
    check(
        "a: '012'\nb: \"yes\"\nc: |\n  1\nd: >-\n  1\n  2\ne: !!str 5\nf:\n",
        expect![[r#"{"a":"012","b":"yes","c":"1\n","d":"1 2","e":"5","f":null}"#]],
    );
}

#[test]
fn keys_that_are_integers_become_text_and_other_keys_are_refused() {
    check("1: a\n0x10: b\n'2': c\n", expect![[r#"{"1":"a","16":"b","2":"c"}"#]]);
    check(
        "on: a\n~: b\n1.5: c\n",
        expect![[r#"
            line 1 column 1: `on`: the key is not a string in YAML 1.1; quote it
            line 2 column 1: `["~"]`: the key is not a string in YAML 1.1; quote it
            line 3 column 1: `["1.5"]`: the key is not a string in YAML 1.1; quote it"#]],
    );
    check("? [a]\n: b\n", expect!["line 1 column 3: a list or a mapping as key; JSON has only strings"]);
}

#[test]
fn equal_keys_are_refused_with_their_line() {
    check(
        "a:\n  b: 1\n  c: 2\n  b: 3\n1: x\n'1': y\n",
        expect![[r#"
            line 4 column 3: `a.b`: the key stands twice in one mapping; remove one of them
            line 6 column 1: `1`: the key stands twice in one mapping; remove one of them"#]],
    );
}

#[test]
fn what_json_cannot_hold_is_refused_with_its_place() {
    check(
        "a:\n- .inf\n- 2020-01-01\n- 18446744073709551616\n- !!binary aGk=\n- !!int x\n- \"a\\0\"\n- !!set {}\n- =\n",
        expect![[r#"
            line 2 column 3: `a[0]`: infinity and not-a-number have no place in JSON; write a number, null or quote it
            line 3 column 3: `a[1]`: a date or time in YAML 1.1, which JSON does not have; quote it
            line 4 column 3: `a[2]`: an integer beyond 64 bits; write it in double quotes or smaller
            line 5 column 12: `a[3]`: a tag that JSON has no type for; remove it
            line 6 column 9: `a[4]`: the value does not have the type of its tag; remove the tag
            line 7 column 3: `a[5]`: the string holds NUL; remove it
            line 8 column 9: `a[6]`: a tag that JSON has no type for; remove it
            line 9 column 3: `a[7]`: `=` has no meaning in YAML 1.1; quote it"#]],
    );
}

#[test]
fn merge_keys_loops_and_second_documents_are_refused() {
    check(
        "a: &x {b: 1}\nc:\n  <<: *x\n",
        expect!["line 3 column 3: `c`: merge keys are not read; write the keys out"],
    );
    check(
        "a: &x [*x]\n",
        expect!["line 1 column 8: `a[0]`: an alias within its own anchor; JSON has no loops"],
    );
    check(
        "a: 1\n---\nb: 2\n",
        expect!["line 2 column 1: a second YAML document in one file; split the file"],
    );
    check("a: [1\nb: 2\n", expect!["line 2 column 2: `a`: not YAML from here on"]);
    check(
        "a: b\u{2028}c\n",
        expect![
            "line 1 column 5: U+0085, U+2028 or U+2029, a line break in YAML 1.1; write it as an escape in double quotes"
        ],
    );
}

#[test]
fn aliases_are_read_up_to_a_bound() {
    check("a: &x [1, {b: c}]\nd: *x\n", expect![[r#"{"a":[1,{"b":"c"}],"d":[1,{"b":"c"}]}"#]]);
    let mut bomb = "a0: &a0 lol\n".to_owned();
    for level in 1..=9 {
        let below = vec![format!("*a{}", level - 1); 10].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    check(
        &bomb,
        expect![
            "line 7 column 10: `a6[0]`: anchors and aliases copy more than 1048576 bytes; write the values out"
        ],
    );
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(&nested(DEPTH_MAX)).is_ok());
    check(&nested(DEPTH_MAX + 1), expect!["line 1 column 129: nested deeper than 128 levels"]);
}
