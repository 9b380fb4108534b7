use expect_test::{Expect, expect};

use super::*;

#[track_caller]
fn check(kind: Kind, text: &str, expected: Expect) {
    let redacted = redact(kind, text.as_bytes());
    assert!(!redacted.contains("hunter2"), "a secret in {redacted}");
    expected.assert_eq(&redacted);
}

#[test]
fn the_secrets_of_a_rejected_database_are_not_kept() {
    check(
        Kind::Database,
        r#"{"database_name":"a","sqlalchemy_uri":"hive://u:hunter2@h/d?token=hunter2","password":"hunter2","encrypted_extra":"{\"x\": \"hunter2\"}","masked_encrypted_extra":{"x":"hunter2"},"server_cert":"hunter2","passwrod":"hunter2","cache_timeout":null,
        "extra":{"engine_params":{"connect_args":{"auth_token":["hunter2"],"host":"h","uri":"a://b:hunter2@c"}},"allows_virtual_table_explore":true},
        "ssh_tunnel":{"server_address":"h","password":"hunter2","private_key":"hunter2","private_key_password":"hunter2"},
        "setkeeper":{"secrets":{"password":"hunter2","encrypted_extra":"env:EXTRA","other":{"a":"hunter2"}}}}"#,
        expect![[
            r#"{"database_name":"a","sqlalchemy_uri":"hive://u:[redacted]@h/d?token=[redacted]","password":"[redacted]","encrypted_extra":"[redacted]","masked_encrypted_extra":"[redacted]","server_cert":"[redacted]","passwrod":"[redacted]","cache_timeout":null,"extra":{"engine_params":{"connect_args":{"auth_token":"[redacted]","host":"h","uri":"a://b:[redacted]@c"}},"allows_virtual_table_explore":true},"ssh_tunnel":{"server_address":"h","password":"[redacted]","private_key":"[redacted]","private_key_password":"[redacted]"},"setkeeper":{"secrets":{"password":"[redacted]","encrypted_extra":"env:EXTRA","other":"[redacted]"}}}"#
        ]],
    );
    check(
        Kind::Database,
        r#"{"password":null,"sqlalchemy_uri":"hive://u:XXXXXXXXXX@h"}"#,
        expect![[r#"{"password":null,"sqlalchemy_uri":"hive://u:XXXXXXXXXX@h"}"#]],
    );
    check(
        Kind::Database,
        r#"{"extra":"{\"password\": \"hunter2\", \"a\": 1}","external_url":"{password: hunter2}"}"#,
        expect![[r#"{"extra":"{\"password\":\"[redacted]\",\"a\":1}","external_url":"[redacted]"}"#]],
    );
    check(Kind::Database, r#"["hunter2"]"#, expect![[r#""[redacted]""#]]);
}

#[test]
fn other_documents_are_kept_but_for_what_is_named_like_a_secret() {
    check(
        Kind::Chart,
        r#"{"params":{"a":1,"mapbox_api_key":"hunter2"},"query_context":"{\"form_data\": {\"password\": \"hunter2\"}, \"b\": 2}","description":"see ftp://u:hunter2@h"}"#,
        expect![[
            r#"{"params":{"a":1,"mapbox_api_key":"[redacted]"},"query_context":"{\"form_data\":{\"password\":\"[redacted]\"},\"b\":2}","description":"see ftp://u:[redacted]@h"}"#
        ]],
    );
}

#[test]
fn of_what_is_not_json_only_length_and_digest_are_kept() {
    check(
        Kind::Database,
        r#"{"password": "hunter2""#,
        expect![
            "not JSON: 22 bytes, sha256 226c4f9038c425447110684e9de846e0c3e327d11ebee23fe8545933f2681dbd"
        ],
    );
    check(
        Kind::Database,
        "\"hunter2\"",
        expect!["not JSON: 9 bytes, sha256 4ddbb67bf993867e13253c146a339ed3b33ea5b895543569278e99d5b3c2b7d5"],
    );
}

#[test]
fn a_packed_document_is_unpacked_first() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, br#"{"password":"hunter2"}"#).expect("into memory");
    let bytes = encoder.finish().expect("into memory");
    assert_eq!(redact(Kind::Database, &bytes), r#"{"password":"[redacted]"}"#);
}
