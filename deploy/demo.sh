#!/usr/bin/env bash
# The demo: real ZooKeeper, PostgreSQL, Superset and setkeeper, on free loopback ports, left running.
#   deploy/demo.sh start            one Superset on SQLite: a bundle, a change, its history
#   deploy/demo.sh start --fleet    two Supersets behind nginx: a node killed, a flag flipped
#   deploy/demo.sh stop
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
        -H "Authorization: Bearer $token" "http://127.0.0.1:$(port_of "$served_by")$2"
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

    "$1"
    summary
}

# serve SERVERS...: starts them with the testbed and notes their pids and ports.
serve() {
    ./target/debug/testbed "$demo" "$@" > "$demo/servers"
    while read -r name pid port; do note_pid "$name" "$pid"; done < "$demo/servers"
    awk '{ print $1, $3 }' "$demo/servers" > "$demo/ports"
}

# work NAME ARGUMENTS...: starts setkeeper in the background, and waits until it is ready.
work() {
    local name=$1 port
    shift
    port=$(free_port)
    echo "$name $port" >> "$demo/ports"
    SETKEEPER__HTTP__LISTEN="127.0.0.1:$port" setsid "$setkeeper" "$@" > "$demo/$name.log" 2>&1 < /dev/null &
    note_pid "$name" "$!"
    curl --silent --fail --output /dev/null --retry 60 --retry-delay 1 --retry-all-errors \
        "http://127.0.0.1:$port/readyz" || die "$name is not ready; see $demo/$name.log"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

single() {
    say "Starting ZooKeeper, PostgreSQL and Superset (some 20 s)"
    serve
    psql --quiet --set ON_ERROR_STOP=1 -h 127.0.0.1 -p "$(port_of postgres)" -U postgres shop -f deploy/demo/data.sql
    configure "sqlite://$demo/superset.db"
    "$setkeeper" init
    "$setkeeper" init-db

    say "Starting setkeeper: watcher, applier and auditor in one process"
    work setkeeper run
    show superset
}

# configure URL: writes the configuration for the metadata database at that URL, and the bundle.
configure() {
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
url = "$1"
secret_key = "file:$demo/secrets/superset_secret_key"
secret_folders = ["$demo/secrets"]

[audit]
url = "sqlite://$demo/state/audit.db"
TOML
    export SETKEEPER_CONFIG="$demo/setkeeper.toml" SETKEEPER_AUTHOR="${USER:-demo}"
    cp -r deploy/demo/bundle "$demo/bundle"
    sed -i -e "s/127.0.0.1:5432/127.0.0.1:$(port_of postgres)/" \
        -e "s#env:SETKEEPER_SECRET_SHOP#file:$demo/secrets/shop_password#" "$demo/bundle/databases/shop.yaml"
}

# log_in NAME: the token of admin at the server of that name.
log_in() {
    served_by=$1
    token=$(curl --silent --fail --max-time 60 -H 'Content-Type: application/json' \
        -d '{"username":"admin","password":"admin","provider":"db","refresh":true}' \
        "http://127.0.0.1:$(port_of "$served_by")/api/v1/security/login" | field 'answer["access_token"]')
}

# show NAME: pushes the bundle, and shows what the Superset of that name serves, before a change and after it.
show() {
    local id
    say "setkeeper push: a database, two datasets, three charts and a dashboard, into ZooKeeper"
    "$setkeeper" push "$demo/bundle" -m "the shop's first dashboard" --wait

    say "What Superset's own REST API serves now"
    log_in "$1"
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
  Superset      http://127.0.0.1:$(port_of "$served_by")/superset/dashboard/shop/   log in as admin / admin
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

# shellcheck source=deploy/demo/fleet.sh
source deploy/demo/fleet.sh

case "${1:-} ${2:-}" in
    "start ") start single ;;
    "start --fleet") start fleet ;;
    "stop ") stop ;;
    *) die "usage: ./justw demo [--fleet], ./justw demo-stop" ;;
esac
