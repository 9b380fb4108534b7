# What each recipe does stands in the line above it; `just --list` shows them.

set shell := ["bash", "-euo", "pipefail", "-c"]

# Show the recipes
default:
    @just --justfile '{{ justfile() }}' --list

# Install what the tests and the demo run against: ZooKeeper, PostgreSQL, MariaDB, nginx, HAProxy, Superset
setup:
    deploy/setup.sh --with-superset

# Run every test, on real services that it starts itself
test *ARGS: setup
    #!/usr/bin/env bash
    set -euo pipefail
    mkdir -p target
    status=0
    cargo test --workspace --no-fail-fast {{ ARGS }} 2>&1 | tee target/test.log || status=$?
    # What failed is told once more at the end: a long log may be cut in its middle.
    awk '/^---- .* ----$/ { told = 1 }
        /^failures:$/ { told = 0 }
        told { print }
        /^test result:/ { runs++; passed += $4; failed += $6; ignored += $8 }
        END { printf "summary: %d passed, %d failed, %d ignored, in %d test programs\n", passed, failed, ignored, runs }' \
        target/test.log
    exit "$status"

# Run the 1,000 kills for each metadata database, instead of the 60 of `test`
chaos: setup
    SETKEEPER_KILLS=1000 cargo test -p tests -- chaos --nocapture

# Start ZooKeeper, PostgreSQL, Superset and setkeeper, change a chart and show its history; leaves all of it running.
# With --fleet: two Supersets behind nginx, one killed, one flag flipped
demo *ARGS: setup
    deploy/demo.sh start {{ ARGS }}

# Measure what NAME stands for beside its floor, and write docs/benchmarks.md: discovery
bench NAME: setup
    cargo test --release -p tests --features bench -- bench::{{ NAME }}:: --nocapture

# Stop what `demo` left running
demo-stop:
    deploy/demo.sh stop

# Format the code
fmt:
    cargo fmt --all

# Check the formatting and the lints; a warning is an error
lint:
    cargo fmt --all -- --check
    cargo clippy --workspace --all-targets --features tests/bench -- -D warnings
