use expect_test::{Expect, expect};

use super::*;

/// Reads an endpoint named `hive`, and shows its canonical text or the faults.
#[track_caller]
fn check(text: &str, expected: Expect) {
    let shown = match parse_chosen("hive", text.as_bytes()) {
        Ok(chosen) => {
            let text = Value::Object(chosen.to_json()).to_string();
            assert_eq!(parse_chosen("hive", text.as_bytes()), Ok(chosen));
            text
        }
        Err(faults) => {
            assert!(faults.iter().all(|fault| !fault.to_string().contains("hunter2")), "a value in a fault");
            faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
        }
    };
    expected.assert_eq(&shown);
}

#[test]
fn a_chosen_endpoint_is_read_as_it_is_written() {
    check(
        r#"{"v":1,"endpoint":"hive","chosen":["hive1.example:10000","[2001:DB8::0:1]:10000","10.0.0.1:1"],"from":{"registry":"hiveserver2","connect":null,"path":"/hiveserver2","nodes":["serverUri=hive1:10000;version=3.1.3;sequence=0000000000"]}}"#,
        expect![[
            r#"{"v":1,"endpoint":"hive","chosen":["hive1.example:10000","[2001:db8::1]:10000","10.0.0.1:1"],"from":{"registry":"hiveserver2","connect":null,"path":"/hiveserver2","nodes":["serverUri=hive1:10000;version=3.1.3;sequence=0000000000"]}}"#
        ]],
    );
    check(
        r#"{"v":1,"endpoint":"hive","chosen":["a:1"]}"#,
        expect![[r#"{"v":1,"endpoint":"hive","chosen":["a:1"]}"#]],
    );
}

#[test]
fn several_hosts_stand_in_a_uri_joined_by_commas() {
    let chosen = parse_chosen("hive", br#"{"v":1,"endpoint":"hive","chosen":["b:2","a:1"]}"#);
    assert_eq!(chosen.map(|chosen| chosen.in_uri()), Ok("b:2,a:1".to_owned()));
}

#[test]
fn an_endpoint_of_another_name_without_hosts_or_with_unknown_keys_is_refused() {
    check(
        r#"{"v":2,"endpoint":"other","chosen":[],"host":"hunter2","from":{"registry":"etcd","path":"x/","nodes":["a/b",7],"connect":"zk"}}"#,
        expect![[r#"
            `v`: not a version of this format; write 1
            `endpoint`: not the znode's own name; write that
            `chosen`: no host; name at least one like `host:10000`, or delete the znode
            `from.registry`: no such registry; write one of `hiveserver2`, `kyuubi`, `curator`, `serverset`, `hostport`
            `from.connect`: not the hosts of an ensemble; write them like `zk1:2181,zk2:2181` or with a chroot, `zk1:2181/chroot`
            `from.path`: not the absolute path of a znode; write it like `/hiveserver2`
            `from.nodes[1]`: expected a string, found an integer
            `from.nodes[0]`: not the name of a znode; write it without its path
            `host`: an endpoint has no such key; remove it, or mend its spelling"#]],
    );
    check(
        "{}",
        expect![[r#"
            `v`: required and missing; add it
            `endpoint`: required and missing; add it
            `chosen`: required and missing; add it"#]],
    );
    check("{\n\"v\": }", expect!["line 2 column 6: `v`: expected a JSON value"]);
    check(r#"["a:1"]"#, expect!["expected an object, found a list"]);
}

#[test]
fn one_host_twice_and_more_hosts_than_the_bound_are_refused() {
    check(
        r#"{"v":1,"endpoint":"hive","chosen":["a:1","a:1"]}"#,
        expect!["`chosen[1]`: stands twice in the list; remove one"],
    );
    let hosts: Vec<String> = (1..=CHOSEN_MAX + 1).map(|port| format!("\"a:{port}\"")).collect();
    check(
        &format!(r#"{{"v":1,"endpoint":"hive","chosen":[{}]}}"#, hosts.join(",")),
        expect!["`chosen`: more than 100; name fewer"],
    );
}

#[test]
fn what_means_something_in_a_uri_is_no_host() {
    for text in [
        "",
        "hive1",
        ":10000",
        "hive1:",
        "hive1:0",
        "hive1:+1",
        "hive1:010",
        "hive1:65536",
        "hive1:10000/default",
        "hive1:10000?auth=NONE",
        "hive1:10000#x",
        "user@hive1:10000",
        "user:hunter2@hive1:10000",
        "hive1@evil:10000",
        "hive1,evil:10000",
        "hive1:1,evil:10000",
        "evil/hive1:10000",
        "evil?hive1:10000",
        "evil#hive1:10000",
        "evil\\hive1:10000",
        "evil%2f:10000",
        "evil;hive1:10000",
        "hive1 :10000",
        " hive1:10000",
        "hive1:10000\n",
        "hive1\u{0}:10000",
        "hive\u{ff0f}1:10000",
        "{endpoint}:10000",
        "2001:db8::1:10000",
        "[2001:db8::1]",
        "[2001:db8::1%eth0]:10000",
        "[hive1]:10000",
        "[::1]@evil:10000",
        "[::1:10000",
        "hive1..example:10000",
        "hive1.:10000",
        "-hive1:10000",
        "1.2.3:10000",
        "1.2.3.256:10000",
        "0x7f000001:10000",
        &format!("{}:1", "a".repeat(64)),
        &format!("{}a:1", "a.".repeat(127)),
    ] {
        assert_eq!(text.parse::<HostPort>(), Err(HostPortFault), "{text:?}");
        let json = Value::from(text).to_string();
        let document = format!(r#"{{"v":1,"endpoint":"hive","chosen":[{json}]}}"#);
        assert!(parse_chosen("hive", document.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn a_host_is_a_name_or_an_address_with_its_port() {
    for text in ["a:1", "hive-1.Example_2.com:65535", "10.0.0.1:10000", "[::1]:10000", "2.pool.ntp:1"] {
        let host: HostPort = text.parse().expect("a host");
        assert_eq!(host.to_string(), text);
        assert_eq!(format!("{}:{}", host.host(), host.port()), text);
    }
}

#[test]
fn the_name_of_an_endpoint_is_of_the_allow_list() {
    for name in ["", "a b", "a/b", "{endpoint}", "\u{e9}", &"x".repeat(201)] {
        let text = format!(r#"{{"v":1,"endpoint":{},"chosen":["a:1"]}}"#, Value::from(name));
        assert!(parse_chosen(name, text.as_bytes()).is_err(), "{name:?}");
    }
}
