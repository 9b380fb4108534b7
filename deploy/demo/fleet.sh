# shellcheck shell=bash
# The part of deploy/demo.sh that shows a fleet: two Supersets behind nginx, with an agent beside each.

fleet() {
    say "Starting ZooKeeper, PostgreSQL, two Supersets and nginx (some 40 s)"
    cp deploy/setkeeper_live.py "$demo"
    serve --fleet
    psql --quiet --set ON_ERROR_STOP=1 -h 127.0.0.1 -p "$(port_of postgres)" -U postgres shop -f deploy/demo/data.sql
    configure "postgres://postgres@127.0.0.1:$(port_of postgres)/superset"
    cat >> "$demo/setkeeper.toml" <<TOML

[agent]
health_every = "500ms"
failures = 2
TOML
    # Of the process beside nginx alone: every agent would keep the file otherwise.
    cp "$demo/setkeeper.toml" "$demo/nginx.toml"
    cat >> "$demo/nginx.toml" <<TOML

[[template]]
source = "builtin:nginx"
target = "$demo/nginx/conf.d/superset.conf"
vars = { service = "superset", options = "max_fails=0" }
reload = ["nginx", "-e", "stderr", "-c", "$demo/nginx/nginx.conf", "-s", "reload"]
TOML
    "$setkeeper" init
    "$setkeeper" init-db

    say "Starting setkeeper: the workers, an agent beside each Superset, and the one that writes nginx's upstream"
    work setkeeper run
    work agent-1 agent --set agent.instance=node-1 --set "agent.health_url=http://127.0.0.1:$(port_of node-1)/health" \
        --set agent.address=127.0.0.1 --set "agent.live_file=$demo/node-1/live.json"
    work agent-2 agent --set agent.instance=node-2 --set "agent.health_url=http://127.0.0.1:$(port_of node-2)/health" \
        --set agent.address=127.0.0.1 --set "agent.live_file=$demo/node-2/live.json"
    work templates template run --config "$demo/nginx.toml"
    "$setkeeper" nodes wait --count 2 --wait 60s
    await "both nodes in nginx's upstream" upstream_has node-1 node-2
    show nginx
    flip_a_flag
    kill_a_node
}

flip_a_flag() {
    local flag=settings/feature_flags/ALERT_REPORTS
    say "Turning the feature flag ALERT_REPORTS on in ZooKeeper: live in both running Supersets, without a restart"
    echo "reports API before: $(report_api node-1) at node-1, $(report_api node-2) at node-2"
    echo true | "$setkeeper" put "$flag" - -m "reports for everybody" --wait
    await "the reports API at both nodes" reports_are 200
    echo "reports API with the flag: $(report_api node-1) at node-1, $(report_api node-2) at node-2"
    "$setkeeper" rm "$flag" -m "not yet" --wait
    await "no reports API at either node" reports_are 404
    echo "reports API without it: $(report_api node-1) at node-1, $(report_api node-2) at node-2"
}

kill_a_node() {
    local pid
    say "Killing node-1 with -9: nginx's upstream follows"
    pid=$(awk '$1 == "node-1" { print $2 }' "$demo/pids")
    # It leads a group of its own: all of it.
    kill -s KILL -- "-$pid"
    await "node-1 out of nginx's upstream" upstream_lacks node-1
    cat "$demo/nginx/conf.d/superset.conf"
    log_in nginx
    rest GET /api/v1/chart/ | field '"nginx serves: " + ", ".join(c["slice_name"] for c in answer["result"])' |
        expect Revenue
    "$setkeeper" nodes list
}

upstream_has() {
    local node
    for node in "$@"; do grep -q "# $node\$" "$demo/nginx/conf.d/superset.conf" || return 1; done
}
upstream_lacks() { ! upstream_has "$1"; }

# What a node answers to a request for its reports, which only the flag brings.
report_api() {
    curl --silent --output /dev/null --write-out '%{http_code}' --max-time 30 -H "Authorization: Bearer $token" \
        "http://127.0.0.1:$(port_of "$1")/api/v1/report/"
}
reports_are() { [ "$(report_api node-1)" = "$1" ] && [ "$(report_api node-2)" = "$1" ]; }

# await WHAT COMMAND...: until the command succeeds, for at most a minute; says how long it took.
await() {
    local what=$1 begun
    shift
    begun=$(date +%s%N)
    until "$@"; do
        [ $((($(date +%s%N) - begun) / 1000000000)) -lt 60 ] || die "not in a minute: $what"
        sleep 0.02
    done
    echo "$what: after $((($(date +%s%N) - begun) / 1000000)) ms"
}
