use asset::Registry;
use expect_test::{Expect, expect};

use super::{Entry, Instance, Registered, read};

/// What a registry says of znodes, given as name and data in the order of their creation.
fn check(registry: Registry, nodes: &[(&str, &str)], want: &Expect) {
    // What comes first in the listing is not what was there first.
    let numbered = (1_i64..).zip(nodes).collect::<Vec<_>>().into_iter().rev();
    let entries = numbered.map(|(czxid, (node, data))| Entry { node, czxid, bytes: data.as_bytes() });
    let registered = read(registry, entries, 4);
    let mut lines = Vec::new();
    lines.extend(registered.instances.iter().map(|instance| format!("{} by {}", instance.at, instance.node)));
    lines.extend(registered.left_out.iter().map(|dropped| format!("left out {dropped}")));
    lines.extend(registered.faults.iter().map(|dropped| format!("fault {dropped}")));
    want.assert_eq(&lines.join("\n"));
}

#[test]
fn hiveserver2_says_in_its_name_where_it_is() {
    check(
        Registry::HiveServer2,
        &[
            ("serverUri=h1.example:10000;version=4.0.1;sequence=0000000007", "h1.example:10000"),
            (
                "_c_4f1f3a52-6d1f-4f3e-9f0e-2f1f5f7f8a90-serverUri=h2:10001;version=3.1.3;sequence=0000000008",
                "hive.server2.thrift.bind.host=0.0.0.0;hive.server2.thrift.port=10001;hive.server2.authentication=NONE",
            ),
        ],
        &expect![[r#"
            h1.example:10000 by serverUri=h1.example:10000;version=4.0.1;sequence=0000000007
            h2:10001 by _c_4f1f3a52-6d1f-4f3e-9f0e-2f1f5f7f8a90-serverUri=h2:10001;version=3.1.3;sequence=0000000008"#]],
    );
}

#[test]
fn kyuubi_may_add_what_it_likes_to_its_name() {
    check(
        Registry::Kyuubi,
        &[(
            "serverUri=k1:10009;version=1.10.2;spark.driver.url=a=b;c;refId=0815;sequence=0000000001",
            "hive.server2.thrift.sasl.qop=auth;hive.server2.thrift.bind.host=k1;hive.server2.thrift.port=10009",
        )],
        &expect![
            "k1:10009 by serverUri=k1:10009;version=1.10.2;spark.driver.url=a=b;c;refId=0815;sequence=0000000001"
        ],
    );
}

#[test]
fn one_bad_znode_is_named_with_its_reason_and_hides_no_other() {
    check(
        Registry::HiveServer2,
        &[
            ("leader", ""),
            ("serverUri=h1:99999;sequence=0000000001", ""),
            ("serverUri=h1:1;serverUri=h2:1;sequence=0000000002", ""),
            ("serverUri=h3:10000;sequence=0000000003", ""),
        ],
        &expect![[r#"
            h3:10000 by serverUri=h3:10000;sequence=0000000003
            fault `leader`: its name holds no `serverUri=host:port`
            fault `serverUri=h1:99999;sequence=0000000001`: `h1:99999` is not a host with its port
            fault `serverUri=h1:1;serverUri=h2:1;sequence=0000000002`: its name holds `serverUri` twice"#]],
    );
}

#[test]
fn what_could_do_harm_in_a_uri_is_no_host() {
    check(
        Registry::HiveServer2,
        &[
            ("serverUri=u:p@h1:10000;sequence=0000000001", ""),
            ("serverUri=h1:10000?auth=NOSASL;sequence=0000000002", ""),
            ("serverUri=0.0.0.0:10000;sequence=0000000003", ""),
        ],
        &expect![[r#"
            fault `serverUri=u:p@h1:10000;sequence=0000000001`: `u:p@h1:10000` is not a host with its port
            fault `serverUri=h1:10000?auth=NOSASL;sequence=0000000002`: `h1:10000?auth=NOSASL` is not a host with its port
            fault `serverUri=0.0.0.0:10000;sequence=0000000003`: `0.0.0.0:10000` is what a server binds to, not where a client finds it; let it register its own name"#]],
    );
}

#[test]
fn of_a_curator_service_the_plain_port_counts_and_one_that_is_not_enabled_takes_no_clients() {
    check(
        Registry::Curator,
        &[
            (
                "1",
                r#"{"name":"d","id":"1","address":"10.0.0.1","port":8080,"sslPort":8443,"payload":"hi","uriSpec":null}"#,
            ),
            (
                "2",
                r#"{"name":"d","id":"2","address":"2001:db8::2","port":-1,"sslPort":8443,"added":{"later":1}}"#,
            ),
            ("3", r#"{"name":"d","id":"3","address":"h3","port":1,"enabled":false}"#),
            (
                "4",
                r#"{"name":"d","id":"4","address":"h4","port":1,"payload":{"metadata":{"instance_status":"OUT_OF_SERVICE"}}}"#,
            ),
        ],
        &expect![[r#"
            10.0.0.1:8080 by 1
            [2001:db8::2]:8443 by 2
            left out `3`: it is not enabled
            left out `4`: its instance_status is OUT_OF_SERVICE"#]],
    );
    check(
        Registry::Curator,
        &[
            ("1", "10.0.0.1:8080"),
            ("2", r#"{"address":"h","port":null,"sslPort":null}"#),
            ("3", r#"{"address":null,"port":1}"#),
            ("4", r#"{"address":"h","port":1,"port":2}"#),
        ],
        &expect![[r#"
            fault `1`: its data is no ServiceInstance: invalid type: floating point `10.0`, expected struct Service at line 1 column 4
            fault `2`: it has neither `port` nor `sslPort`
            fault `3`: it has no `address`
            fault `4`: its data is no ServiceInstance: duplicate field `port` at line 1 column 30"#]],
    );
}

#[test]
fn only_the_members_of_a_serverset_that_are_alive_take_clients() {
    let member = |host: &str, status: &str| {
        format!(
            r#"{{"serviceEndpoint":{{"host":"{host}","port":9000}},"additionalEndpoints":{{"http":{{"host":"{host}","port":80}}}},"status":"{status}","shard":0}}"#
        )
    };
    check(
        Registry::Serverset,
        &[
            ("member_0000000001", &member("s1", "ALIVE")),
            ("member_0000000002", &member("s2", "STARTING")),
            (
                "member_0000000003",
                r#"{"serviceEndpoint":{"host":"s3","port":9000},"additionalEndpoints":{}}"#,
            ),
            ("member_0000000004", r#"{"status":"ALIVE"}"#),
        ],
        &expect![[r#"
            s1:9000 by member_0000000001
            s3:9000 by member_0000000003
            left out `member_0000000002`: its status is STARTING
            fault `member_0000000004`: its data is no serverset member: missing field `serviceEndpoint` at line 1 column 18"#]],
    );
}

#[test]
fn a_plain_znode_says_in_its_data_or_in_its_name_where_it_is() {
    check(
        Registry::HostPort,
        &[
            ("trino", "t1:8080\n"),
            ("t2:8080", r#"{"druid":"announcement"}"#),
            ("meta:90830000000004", "meta:9083"),
            ("x", "http://t3:8080"),
        ],
        &expect![[r#"
            t1:8080 by trino
            t2:8080 by t2:8080
            meta:9083 by meta:90830000000004
            fault `x`: neither its data, `http://t3:8080`, nor its name is a host with its port"#]],
    );
}

#[test]
fn what_is_registered_twice_counts_once_and_what_is_too_much_is_told() {
    check(
        Registry::HostPort,
        &[("a", "h1:1"), ("b", "h1:1"), ("c", "h2:1"), ("d", ""), ("e", "h3:1")],
        &expect![[r#"
            h1:1 by a
            h2:1 by c
            left out `b`: h1:1 is registered twice; the older znode counts
            fault `d`: it has no data, and its name is not a host with its port
            fault `e`: more than 4 are registered (endpoints.instances_max); it is not looked at"#]],
    );
}

#[test]
fn a_znode_that_cannot_be_understood_any_more_is_not_gone_in_the_same_life() {
    let entry = |node, czxid, bytes: &'static str| Entry { node, czxid, bytes: bytes.as_bytes() };
    let said = |registered: &Registered| -> Vec<String> {
        let line = |each: &Instance| format!("{}{}", each.at, if each.stale { " before" } else { "" });
        registered.instances.iter().map(line).collect()
    };
    let read = |entries: [Entry<'static>; 3], before: &Registered| {
        let mut registered = read(Registry::HostPort, entries, 9);
        registered
            .keep(before, |node| entries.iter().find(|entry| entry.node == node).map(|entry| entry.czxid));
        registered
    };
    let first =
        read([entry("a", 1, "h1:1"), entry("b", 2, "h2:1"), entry("c", 3, "h3:1")], &Registered::default());
    assert_eq!(said(&first), ["h1:1", "h2:1", "h3:1"]);
    // `b` in another life is another registration, and `d` takes the place of `c`.
    let bad = [entry("a", 1, "{"), entry("b", 4, "{"), entry("d", 5, "h3:1")];
    let second = read(bad, &first);
    assert_eq!(said(&second), ["h1:1 before", "h3:1"]);
    assert_eq!(second.faults.len(), 2);
    assert!(second.faults[0].reason.ends_with("what it said before counts"), "{second:?}");
    assert_eq!(said(&read(bad, &second)), ["h1:1 before", "h3:1"], "for as long as that is so");
    let mended = read([entry("a", 1, "h9:1"), bad[1], bad[2]], &second);
    assert_eq!(said(&mended), ["h9:1", "h3:1"]);
}
