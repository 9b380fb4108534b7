#!/usr/bin/env bash
# The demo: real ZooKeeper, PostgreSQL, Superset and setkeeper, on free loopback ports, left running.
#   deploy/demo.sh start | stop
set -euo pipefail
cd "$(dirname "$0")/.."

demo="${XDG_CACHE_HOME:-$HOME/.cache}/setkeeper/demo"
setkeeper="$PWD/target/debug/setkeeper"
chart=assets/main/charts/revenue_by_region

say() { if [ -t 1 ]; then printf '\n\033[1m== %s\033[0m\n' "$*"; else printf '\n== %s\n' "$*"; fi; }
die() { printf 'demo: %s\n' "$*" >&2; exit 1; }
# When a process began, in ticks since the machine did: a pid may be another process's later.
began() { sed 's/.*) //' "/proc/$1/stat" 2> /dev/null | cut -d ' ' -f 20; }
note_pid() { echo "$1 $2 $(began "$2")" >> "$demo/pids"; }
runs() { [ -n "$2" ] && [ "$(began "$1")" = "$2" ]; }
port_of() { awk -v name="$1" '$1 == name { print $2 }' "$demo/ports"; }

# rest METHOD PATH: asks Superset's REST API as admin, retrying while it warms up, and prints the answer.
rest() {
    curl --silent --fail --max-time 60 --retry 5 --retry-connrefused -X "$1" \
        -H "Authorization: Bearer $token" "http://127.0.0.1:$(port_of superset)$2"
}

# field EXPRESSION: evaluates Python's `answer…` over the JSON on standard input.
field() { python3 -c 'import json, sys; answer = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }

# expect TEXT: passes standard input on, and ends the demo with an error where the text is not in it.
expect() {
    local shown
    shown=$(cat)
    printf '%s\n' "$shown"
    [[ "$shown" == *"$1"* ]] || die "this should have shown \"$1\""
}

start() {
    [ ! -e "$demo/pids" ] || die "it runs already (or was not stopped): ./justw demo-stop ends it"
    export no_proxy=127.0.0.1
    say "Building"
    cargo build --locked -p setkeeper -p testbed
    # Whatever goes wrong from here on, or whoever interrupts it: nothing is left running.
    trap 'status=$?; trap - EXIT INT TERM; [ "$status" = 0 ] || { echo "demo: it failed; ending what was started" >&2; stop; exit "$status"; }' EXIT
    trap 'exit 130' INT TERM
    rm -rf "$demo"
    mkdir -p "$demo/state" "$demo/secrets"
    chmod 700 "$demo"

    say "Starting ZooKeeper, PostgreSQL and Superset (some 20 s)"
    ./target/debug/testbed "$demo" > "$demo/servers"
    while read -r name pid port; do note_pid "$name" "$pid"; done < "$demo/servers"
    awk '{ print $1, $3 }' "$demo/servers" > "$demo/ports"
    psql --quiet --set ON_ERROR_STOP=1 -h 127.0.0.1 -p "$(port_of postgres)" -U postgres shop -f deploy/demo/data.sql
    configure
    "$setkeeper" init
    "$setkeeper" init-db

    say "Starting setkeeper: watcher, applier and auditor in one process"
    setsid "$setkeeper" run > "$demo/setkeeper.log" 2>&1 < /dev/null &
    note_pid setkeeper "$!"
    curl --silent --fail --output /dev/null --retry 60 --retry-delay 1 --retry-all-errors \
        "http://127.0.0.1:$(port_of setkeeper)/readyz" || die "setkeeper is not ready; see $demo/setkeeper.log"

    show
    summary
}

configure() {
    local free
    free=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    echo "setkeeper $free" >> "$demo/ports"
    printf '%s' testbed-secret-key-not-for-production > "$demo/secrets/superset_secret_key"
    printf '%s' demo-shop-password > "$demo/secrets/shop_password"
    chmod 600 "$demo"/secrets/*
    cat > "$demo/setkeeper.toml" <<TOML
env = "demo"

[zookeeper]
connect = "127.0.0.1:$(port_of zookeeper)"

[queue]
path = "$demo/state/queue.db"

[[target]]
name = "superset"
url = "sqlite://$demo/superset.db"
secret_key = "file:$demo/secrets/superset_secret_key"
secret_folders = ["$demo/secrets"]

[audit]
url = "sqlite://$demo/state/audit.db"

[http]
listen = "127.0.0.1:$free"
TOML
    export SETKEEPER_CONFIG="$demo/setkeeper.toml" SETKEEPER_AUTHOR="${USER:-demo}"
    cp -r deploy/demo/bundle "$demo/bundle"
    sed -i -e "s/127.0.0.1:5432/127.0.0.1:$(port_of postgres)/" \
        -e "s#env:SETKEEPER_SECRET_SHOP#file:$demo/secrets/shop_password#" "$demo/bundle/databases/shop.yaml"
}

show() {
    local id
    say "setkeeper push: a database, two datasets, three charts and a dashboard, into ZooKeeper"
    "$setkeeper" push "$demo/bundle" -m "the shop's first dashboard" --wait

    say "What Superset's own REST API serves now"
    token=$(curl --silent --fail --max-time 60 -H 'Content-Type: application/json' \
        -d '{"username":"admin","password":"admin","provider":"db","refresh":true}' \
        "http://127.0.0.1:$(port_of superset)/api/v1/security/login" | field 'answer["access_token"]')
    rest GET /api/v1/dashboard/ | field '"dashboards: " + ", ".join(d["dashboard_title"] for d in answer["result"])' |
        expect Shop
    rest GET /api/v1/chart/ | field '"charts:     " + ", ".join(c["slice_name"] for c in answer["result"])'
    id=$(rest GET /api/v1/chart/ | field '[c["id"] for c in answer["result"] if c["slice_name"] == "Revenue by region"][0]')
    echo "data of \"Revenue by region\":"
    rest GET "/api/v1/chart/$id/data/" | field '"\n".join(f"  {r}" for r in answer["result"][0]["data"])' |
        expect revenue

    say "Changing one chart in ZooKeeper"
    "$setkeeper" get "$chart" |
        python3 -c 'import json, sys; c = json.load(sys.stdin); c["slice_name"] = "Revenue by region, top 2"; c["params"]["row_limit"] = 2; print(json.dumps(c))' |
        "$setkeeper" put "$chart" - -m "two regions are enough" --wait
    rest GET "/api/v1/chart/$id" | field '"Superset serves: " + answer["result"]["slice_name"]' |
        expect "Revenue by region, top 2"

    say "setkeeper history $chart"
    "$setkeeper" history "$chart" | expect "two regions are enough"
}

summary() {
    say "It all runs on"
    cat <<TEXT
  Superset      http://127.0.0.1:$(port_of superset)/superset/dashboard/shop/   log in as admin / admin
  ZooKeeper     127.0.0.1:$(port_of zookeeper), tree /superset/demo
  PostgreSQL    127.0.0.1:$(port_of postgres), database shop, user postgres
  setkeeper     http://127.0.0.1:$(port_of setkeeper)/readyz and /metrics, log $demo/setkeeper.log

  export SETKEEPER_CONFIG=$demo/setkeeper.toml PATH="$PWD/target/debug:\$PATH"
  setkeeper status · setkeeper ls · setkeeper history · setkeeper --help
  ./justw demo-stop ends it
TEXT
}

# Ends each process by its own pid, setkeeper first so that it can finish its batch.
stop() {
    [ -e "$demo/pids" ] || { echo "demo: nothing runs"; return 0; }
    local name pid since
    tac "$demo/pids" | while read -r name pid since; do
        if runs "$pid" "$since"; then
            # PostgreSQL's postmaster takes INT as "fast": it does not wait for clients.
            if [ "$name" = postgres ]; then kill -s INT "$pid"; else kill -s TERM "$pid"; fi
            for _ in $(seq 100); do runs "$pid" "$since" || break; sleep 0.1; done
            if runs "$pid" "$since"; then kill -s KILL "$pid"; fi
            echo "demo: $name ended"
        fi
    done
    # As root PostgreSQL's data may stand elsewhere, behind a link.
    if [ -L "$demo/postgres/data" ]; then rm -rf "$(readlink -f "$demo/postgres/data")"; fi
    rm -f "$demo/pids"
}

case "${1:-}" in
    start) start ;;
    stop) stop ;;
    *) die "usage: deploy/demo.sh start|stop" ;;
esac
