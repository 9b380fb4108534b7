use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::discover::fixtures::{server, world};
use crate::template::Builtin;

fn fleet() -> World {
    let nodes =
        [server("n2", "10.0.0.2", 8088), server("n1", "10.0.0.1", 8088), server("n3", "fd00::3", 8089)];
    world(
        &[
            ("services/superset/n2", &nodes[0]),
            ("services/superset/n1", &nodes[1]),
            ("services/superset/n3", &nodes[2]),
            ("services/superset", ""),
            ("services/supersetter/x", &nodes[0]),
            ("settings/config/ROW_LIMIT", "5000"),
            ("settings/feature_flags/ALERTS", "true"),
            ("settings/feature_flags/TAGS", "false"),
            ("endpoints/hive", r#"{"v":1,"endpoint":"hive","chosen":["hs2-1:10000"]}"#),
        ],
        &[],
    )
}

fn told(source: &str, vars: serde_json::Value, world: &World) -> String {
    came(Text { name: "x.j2", source, vars: &vars, fuel: 1_000_000 }, world)
}

fn came(text: Text<'_>, world: &World) -> String {
    match render(text, world) {
        Ok(rendered) if rendered.left_out.is_empty() => rendered.text,
        Ok(rendered) => format!("{}left out: {}", rendered.text, rendered.left_out.join("; ")),
        Err(fault) if fault.is_waiting() => format!("waits: {fault}"),
        Err(fault) => format!("fault: {fault}"),
    }
}

fn check_render(source: &str, expected: Expect) {
    expected.assert_eq(&told(source, json!({}), &fleet()));
}

#[test]
fn instances_come_in_the_order_of_their_names() {
    check_render(
        r#"{% for s in service("superset") %}{{ s.instance }}={{ s.hostport }} {% endfor %}"#,
        expect!["n1=10.0.0.1:8088 n2=10.0.0.2:8088 n3=[fd00::3]:8089 "],
    );
}

#[test]
fn an_empty_set_keeps_the_last_good_file_unless_it_is_not_required() {
    check_render(
        r#"{% for s in service("nobody") %}x{% endfor %}"#,
        expect![[
            r#"waits: nobody is registered as `nobody`, so the last good file stays; `service("nobody", required=false)` would make an empty list of it"#
        ]],
    );
    check_render(r#"{{ service("nobody", required=false) | length }}"#, expect!["0"]);
}

#[test]
fn settings_endpoints_and_services_are_looked_up() {
    check_render(
        r#"{{ setting("config", "ROW_LIMIT") }} {{ setting("config", "NO", default=7) }}
{% for name, on in settings("feature_flags") | items %}{{ name }}={{ on }} {% endfor %}
{{ endpoint("hive")[0].hostport }} {{ services() | join(",") }}"#,
        expect![[r#"
            5000 7
            ALERTS=True TAGS=False hs2-1:10000 superset,supersetter"#]],
    );
}

#[test]
fn what_is_not_there_is_a_fault_with_its_line() {
    check_render(
        "a\n{{ setting('config', 'NO') }}",
        expect![
            "fault: x.j2:2: `settings/config/NO` is not there; put it there, or give a default: default=…"
        ],
    );
    check_render(
        "{% for s in service('superset') %}\n\n{{ s.adress }}{% endfor %}",
        expect!["fault: x.j2:3: undefined value: `s.adress` is undefined"],
    );
    check_render("{{ vars.x }}", expect!["fault: x.j2:1: undefined value: `vars.x` is undefined"]);
}

#[test]
fn a_failed_read_is_no_absence() {
    let hidden =
        world(&[("services/superset/n1", &server("n1", "h", 1))], &["services/superset/n2", "assets/main"]);
    expect![
        "waits: zookeeper refuses `services/superset/n2`; check zookeeper.auth and the znode's ACL (`getAcl`)"
    ]
    .assert_eq(&told("{{ service('superset') }}", json!({}), &hidden));
    expect!["waits: zookeeper refuses `assets/main`; check zookeeper.auth and the znode's ACL (`getAcl`)"]
        .assert_eq(&told("{{ asset('assets/main/charts/x') }}", json!({}), &hidden));
    expect!["waits: zookeeper was not read yet"].assert_eq(&told(
        "{{ service('superset', required=false) }}",
        json!({}),
        &World::default(),
    ));
}

#[test]
fn a_registration_that_could_break_out_is_left_out_and_told() {
    let good = server("good", "a.example", 80);
    let bad = server("bad", "10.0.0.1; evil", 80);
    let port = server("port", "10.0.0.1", 0);
    let name = server("n", "10.0.0.1", 80);
    let world = world(
        &[
            ("services/superset/good", &good),
            ("services/superset/bad", &bad),
            ("services/superset/port", &port),
            ("services/superset/n; }", &name),
            ("services/superset/text", "10.0.0.1:80"),
        ],
        &[],
    );
    let told = told("{% for s in service('superset') %}{{ s.hostport }}\n{% endfor %}", json!({}), &world);
    assert!(told.starts_with("a.example:80\nleft out: "), "{told}");
    for name in ["bad", "port", "n; }", "text"] {
        assert!(told.contains(&format!("services/superset/{name}: ")), "{name}: {told}");
    }
}

#[test]
fn a_token_that_is_none_is_a_fault() {
    check_render(
        r#"{% for s in service("superset") %}{{ s.payload.zone | token }}{% endfor %}"#,
        expect![[
            r#"fault: x.j2:1: `a\"; }` is no token of 1 to 200 of A-Z a-z 0-9 . _ : -, and could break out of the file's syntax"#
        ]],
    );
}

#[test]
fn what_a_node_may_have_registered_or_not_has_a_default() {
    let world = world(&[("services/s/a", r#"{"name":"s","id":"a","address":"h","port":1}"#)], &[]);
    let source = r#"{{ service("s")[0].payload.zone | default("none") | token }}{{ service("s")[0].version | tojson }}"#;
    expect!["nonenull"].assert_eq(&told(source, json!({}), &world));
    expect!["fault: x.j2:1: syntax error: unknown statement include"].assert_eq(&told(
        "{% include 'x' %}",
        json!({}),
        &world,
    ));
}

#[test]
fn documents_are_read_as_the_applier_reads_them() {
    let chart = json!({"version": "1.0.0", "uuid": "00000000-0000-0000-0000-000000000001", "slice_name": "Sales",
        "viz_type": "table", "params": {}, "dataset_uuid": "00000000-0000-0000-0000-000000000002"});
    let world =
        world(&[("assets/main/charts/sales", &chart.to_string()), ("assets/main/charts/bad", "{}")], &[]);
    expect!["Sales"].assert_eq(&told(
        "{{ asset('assets/main/charts/sales').slice_name }}",
        json!({}),
        &world,
    ));
    let told = told("{{ assets('main/charts') }}", json!({}), &world);
    assert!(told.starts_with("fault: x.j2:1: `assets/main/charts/bad` is not understood: "), "{told}");
}

#[test]
fn a_template_cannot_run_or_grow_for_ever() {
    check_render(
        "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
        expect!["fault: x.j2:1: engine ran out of fuel"],
    );
    check_render(r#"{{ "x" * 1000000000 }}"#, expect!["fault: x.j2:1: engine ran out of fuel"]);
}

fn checked(source: &str) -> String {
    let text = Text { name: "x.j2", source, vars: &json!({}), fuel: 1_000_000 };
    match check(text) {
        Ok(roots) => format!("{roots:?}"),
        Err(fault) => fault.to_string(),
    }
}

#[test]
fn wrong_syntax_and_wrong_names_are_found_without_rendering() {
    expect!["x.j2:2: syntax error: unknown statement endfr"]
        .assert_eq(&checked("{% for a in b %}\n{% endfr %}"));
    expect!["x.j2:2: `servce` is no function and no variable; what a template is given stands in `vars`"]
        .assert_eq(&checked("a\n{% for a in servce('x') %}{% endfor %}"));
    expect!["{Services, Assets}"].assert_eq(&checked(
        "{% set x = namespace(n=0) %}{% for a in service(vars.s) %}{{ loop.index }}{{ assets('main') }}{% endfor %}",
    ));
}

/// The text of a built-in template.
fn builtin(builtin: Builtin, vars: serde_json::Value, world: &World) -> String {
    let name = format!("builtin:{}", builtin.name());
    came(Text { name: &name, source: builtin.text(), vars: &vars, fuel: 1_000_000 }, world)
}

#[test]
fn nginx_gets_an_upstream() {
    expect![[r#"
        # Written by setkeeper from services/superset; changes here are lost.
        upstream bi {
            least_conn;
            server 10.0.0.1:8088 weight=1 max_fails=2; # n1
            server 10.0.0.2:8088 weight=1 max_fails=2; # n2
            server [fd00::3]:8089 weight=1 max_fails=2; # n3
        }
    "#]]
    .assert_eq(&builtin(
        Builtin::Nginx,
        json!({"service": "superset", "upstream": "bi", "method": "least_conn", "options": "max_fails=2"}),
        &fleet(),
    ));
}

#[test]
fn haproxy_gets_a_backend() {
    expect![[r#"
        # Written by setkeeper from services/superset; changes here are lost.
        backend superset
            balance roundrobin
            option httpchk GET /health
            server n1 10.0.0.1:8088 weight 1 check
            server n2 10.0.0.2:8088 weight 1 check
            server n3 [fd00::3]:8089 weight 1 check
    "#]]
    .assert_eq(&builtin(Builtin::Haproxy, json!({"service": "superset", "check": "/health"}), &fleet()));
}

#[test]
fn envoy_gets_the_endpoints_of_a_cluster() {
    expect![[r#"
        # Written by setkeeper from services/superset; changes here are lost.
        resources:
          - "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
            cluster_name: "superset"
            endpoints:
              - lb_endpoints:
                  - endpoint:
                      hostname: "n1"
                      address:
                        socket_address:
                          address: "10.0.0.1"
                          port_value: 8088
                    load_balancing_weight: 1
                  - endpoint:
                      hostname: "n2"
                      address:
                        socket_address:
                          address: "10.0.0.2"
                          port_value: 8088
                    load_balancing_weight: 1
                  - endpoint:
                      hostname: "n3"
                      address:
                        socket_address:
                          address: "fd00::3"
                          port_value: 8089
                    load_balancing_weight: 1
    "#]]
    .assert_eq(&builtin(Builtin::Envoy, json!({"service": "superset"}), &fleet()));
}

#[test]
fn envoy_gets_no_names_where_it_takes_addresses_only() {
    let world = world(&[("services/superset/n1", &server("n1", "node-1.example", 8088))], &[]);
    expect![
        "fault: builtin:envoy:20: `node-1.example` is no IP address, which is needed here; register with one"
    ]
    .assert_eq(&builtin(Builtin::Envoy, json!({"service": "superset"}), &world));
}

#[test]
fn a_built_in_template_refuses_a_name_that_breaks_out() {
    for each in Builtin::ALL {
        let told = builtin(each, json!({"service": "superset;}\nevil"}), &fleet());
        assert!(told.starts_with("fault: ") && told.contains("is no token"), "{told}");
    }
}
