#!/usr/bin/env bash
# Installs what setkeeper's tests and its demo run against, on Debian 12, as root or with sudo:
#
#   deploy/setup.sh                  ZooKeeper, Java, PostgreSQL, nginx, HAProxy, curl, Python's venv and a C compiler,
#                                    by apt
#   deploy/setup.sh --with-superset  the same, and in the user's cache folder Apache Superset and the libraries by
#                                    which other services register in ZooKeeper (Curator's by apt); MariaDB's server
#                                    and client programs, by apt, for the tests
#
# Only what is missing is installed, and each finished step leaves a stamp, so that a second run takes about a second.
# Nothing is started on the machine: tests and demo start their own servers, on loopback, in their own folders.
set -euo pipefail

readonly SUPERSET_VERSION=6.1.0
# rich and cachetools are needed by Superset 6.1.0 but not declared by it; with flask-caching 2.5 it does not start.
readonly SUPERSET_PINS=(
  "apache-superset==$SUPERSET_VERSION" rich cachetools flask-caching==2.3.1 psycopg2-binary pymysql gunicorn
)
# The last release whose examples are bundles as Superset exports them: what the tests push.
readonly EXAMPLES_VERSION=5.0.0
# Raised when the templates are made in another way.
readonly TEMPLATE_FORMAT=1

# Its ZooKeeperHiveHelper is what HiveServer2 registers by.
readonly HIVE=org.apache.hive:hive-standalone-metastore-common:4.0.1
readonly KAZOO_PIN=kazoo==2.11.0

readonly POLICY=/usr/sbin/policy-rc.d
readonly CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/setkeeper"
readonly VENV="$CACHE/superset-$SUPERSET_VERSION"
readonly EXAMPLES="$CACHE/superset-$EXAMPLES_VERSION-examples"
readonly HIVE_JAR="$CACHE/hive-standalone-metastore-common.jar"
readonly KAZOO="$CACHE/kazoo"
readonly SQLITE_TEMPLATE="$CACHE/superset-$SUPERSET_VERSION-metadata.db"
readonly POSTGRES_TEMPLATE="$CACHE/superset-$SUPERSET_VERSION-metadata.sql"

say() { printf 'setup: %s\n' "$*" >&2; }

fail() {
  say "failed: $*"
  exit 1
}

# Runs a command or function quietly; what it printed is shown only if it fails.
quietly() {
  local log status
  log=$(mktemp)
  # Not `if (...)`: below a condition bash ignores `set -e`, and a function would go on after a failure. The lock is
  # closed, so that nothing started here can keep it.
  set +e
  (
    set -e
    "$@"
  ) >"$log" 2>&1 </dev/null 9>&-
  status=$?
  set -e
  if [ "$status" -ne 0 ]; then
    tail -n 40 "$log" >&2
    rm -f "$log"
    fail "$1 (exit code $status); see above"
  fi
  rm -f "$log"
}

# step "what is done" command...: runs it as `quietly` does, and says how long it took.
step() {
  local what=$1 begun=$SECONDS
  shift
  say "$what …"
  quietly "$@"
  say "$what: done in $((SECONDS - begun)) s"
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "\`$*\` needs root: run this script as root, or install sudo"
  fi
}

# The folder of PostgreSQL's server programs, of the newest version that is installed; empty if there is none.
postgres_bin() {
  local found="" candidate
  for candidate in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V); do
    if [ -x "$candidate/postgres" ]; then found=$candidate; fi
  done
  printf '%s' "$found"
}

# What only the tests need: to register services with, and MariaDB for the SQL that docs/locks.md shows.
missing_client_packages() {
  command -v javac >/dev/null || echo default-jdk-headless
  command -v mvn >/dev/null || echo maven
  [ -e /usr/share/java/curator-recipes.jar ] || echo libcurator-recipes-java
  [ -e /usr/share/java/curator-x-discovery.jar ] || echo libcurator-discovery-java
  [ -e /usr/share/java/commons-lang3.jar ] || echo libcommons-lang3-java
  # Without `mariadb-server`: no service, and no data in /var/lib/mysql.
  [ -x /usr/sbin/mariadbd ] || echo mariadb-server-core
  [ -x /usr/bin/mariadb ] || echo mariadb-client-core
}

missing_packages() {
  command -v java >/dev/null || echo default-jre-headless
  [ -e /usr/share/java/zookeeper.jar ] || echo zookeeper
  [ -e /usr/share/java/slf4j-log4j12.jar ] || echo libslf4j-java
  [ -n "$(postgres_bin)" ] || echo postgresql
  command -v curl >/dev/null || echo curl
  [ -x /usr/sbin/nginx ] || echo nginx
  [ -x /usr/sbin/haproxy ] || echo haproxy
  command -v python3 >/dev/null || echo python3
  python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
  if ! command -v cc >/dev/null || ! command -v make >/dev/null; then echo build-essential; fi
  if [ "$1" = yes ]; then missing_client_packages; fi
}

# install_packages yes|no: with those that only the tests need, or without.
install_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$1")
  if [ "${#missing[@]}" -eq 0 ]; then
    say "Debian packages: all there"
    return
  fi
  if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null; then sudo -v; fi
  step "apt-get update" as_root apt-get update
  # A package that comes with a service must not start it: Debian's way to say so is this file.
  if [ ! -e "$POLICY" ]; then
    trap 'as_root rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
    as_root chmod 755 "$POLICY"
  fi
  step "installing ${missing[*]}" as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}"
  if [ -n "$(trap -p EXIT)" ]; then
    as_root rm -f "$POLICY"
    trap - EXIT
  fi
}

# stamped FILE TEXT: whether the step that writes this stamp was finished with the same text.
stamped() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

install_superset() {
  local stamp="$VENV/.setkeeper-stamp" pins="${SUPERSET_PINS[*]}"
  if stamped "$stamp" "$pins" && [ -x "$VENV/bin/gunicorn" ]; then
    say "Superset $SUPERSET_VERSION: there"
    return
  fi
  python3 -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' ||
    fail "Superset $SUPERSET_VERSION needs Python 3.10 to 3.12, and python3 is $(python3 --version 2>&1)"
  rm -rf "$VENV"
  step "a virtual environment in $VENV" python3 -m venv "$VENV"
  step "uv, to install quickly" "$VENV/bin/python" -m pip install --quiet uv
  # --python: without it, uv would rather use a virtual environment that the caller has active.
  step "Superset $SUPERSET_VERSION and its 150 packages (about 400 MB)" \
    "$VENV/bin/uv" pip install --python "$VENV/bin/python" "${SUPERSET_PINS[@]}"
  printf '%s' "$pins" >"$stamp"
}

unpack_examples() {
  local work
  work=$(mktemp -d)
  "$VENV/bin/python" -m pip download --quiet --no-deps --dest "$work" "apache-superset==$EXAMPLES_VERSION"
  "$VENV/bin/python" - "$work" "$EXAMPLES.new" <<'PYTHON'
import pathlib, sys, tarfile, zipfile

work, target = map(pathlib.Path, sys.argv[1:])
marker = "superset/examples/configs/"
(archive,) = work.iterdir()
if archive.suffix in (".whl", ".zip"):
    opened = zipfile.ZipFile(archive)
    entries = ((e.filename, lambda e=e: opened.read(e)) for e in opened.infolist() if not e.is_dir())
else:
    opened = tarfile.open(archive)
    entries = ((m.name, lambda m=m: opened.extractfile(m).read()) for m in opened if m.isfile())
count = 0
for name, read in entries:
    _, found, rest = name.partition(marker)
    if not found or ".." in rest.split("/"):
        continue
    path = target / rest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(read())
    count += 1
if count < 100:
    sys.exit(f"only {count} files below {marker} in {archive.name}")
PYTHON
  rm -rf "$work"
}

install_examples() {
  local stamp="$EXAMPLES/.setkeeper-stamp"
  if stamped "$stamp" "$EXAMPLES_VERSION"; then
    say "Superset $EXAMPLES_VERSION's examples: there"
    return
  fi
  rm -rf "$EXAMPLES" "$EXAMPLES.new"
  step "Superset $EXAMPLES_VERSION's examples (from its wheel, about 100 MB)" unpack_examples
  mv "$EXAMPLES.new" "$EXAMPLES"
  printf '%s' "$EXAMPLES_VERSION" >"$stamp"
}

# initialise_metadata FOLDER URI: Superset's metadata tables, roles and the user admin/admin in the database at URI.
initialise_metadata() {
  cat >"$1/superset_config.py" <<PYTHON
SECRET_KEY = "made only to initialise a template"
SQLALCHEMY_DATABASE_URI = "$2"
PYTHON
  local superset=(
    env SUPERSET_CONFIG_PATH="$1/superset_config.py" SUPERSET_HOME="$1" FLASK_APP=superset "$VENV/bin/superset"
  )
  "${superset[@]}" db upgrade
  "${superset[@]}" fab create-admin --username admin --firstname Ada --lastname Admin \
    --email admin@example.org --password admin
  "${superset[@]}" init
}

sqlite_template() {
  local work
  work=$(mktemp -d)
  initialise_metadata "$work" "sqlite:///$work/metadata.db"
  mv "$work/metadata.db" "$SQLITE_TEMPLATE"
  rm -rf "$work"
}

# PostgreSQL refuses to run as root: then it runs as the user that its Debian package made.
as_postgres() {
  if [ "$(id -u)" -eq 0 ]; then
    setpriv --reuid=postgres --regid=postgres --init-groups "$@"
  else
    "$@"
  fi
}

postgres_template() {
  local work bin port
  bin=$(postgres_bin)
  work=$(mktemp -d /tmp/setkeeper-setup.XXXXXX)
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  if [ "$(id -u)" -eq 0 ]; then chown postgres "$work"; fi
  chmod 711 "$work"
  cd "$work"
  as_postgres "$bin/initdb" -D "$work/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync
  as_postgres "$bin/pg_ctl" -D "$work/data" -w -t 60 -l "$work/log" \
    -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off" start
  # shellcheck disable=SC2064 # the folder of now is meant
  trap "as_postgres '$bin/pg_ctl' -D '$work/data' -m immediate stop; rm -rf '$work'" EXIT
  mkdir "$work/home"
  initialise_metadata "$work/home" "postgresql+psycopg2://postgres@127.0.0.1:$port/postgres"
  "$bin/pg_dump" -h 127.0.0.1 -p "$port" -U postgres --no-owner --no-privileges postgres >"$POSTGRES_TEMPLATE.new"
  mv "$POSTGRES_TEMPLATE.new" "$POSTGRES_TEMPLATE"
}

# install_template FILE WHAT FUNCTION: the function makes the file.
install_template() {
  local stamp="$1.stamp" text="$TEMPLATE_FORMAT ${SUPERSET_PINS[*]}"
  if stamped "$stamp" "$text" && [ -s "$1" ]; then
    say "$2: there"
    return
  fi
  step "$2 (about a minute)" "$3"
  printf '%s' "$text" >"$stamp"
}

copy_hive() {
  mvn --batch-mode dependency:copy -Dartifact="$HIVE" -DoutputDirectory="$1" -Dmdep.stripVersion=true
}

install_hive() {
  local stamp="$HIVE_JAR.stamp"
  if stamped "$stamp" "$HIVE" && [ -s "$HIVE_JAR" ]; then
    say "HiveServer2's registration: there"
    return
  fi
  step "HiveServer2's registration (one jar, 19 MB)" copy_hive "$CACHE"
  [ -s "$HIVE_JAR" ] || fail "Maven did not leave $HIVE_JAR"
  printf '%s' "$HIVE" >"$stamp"
}

install_kazoo() {
  local stamp="$KAZOO/.setkeeper-stamp"
  if stamped "$stamp" "$KAZOO_PIN"; then
    say "kazoo: there"
    return
  fi
  rm -rf "$KAZOO"
  step "a virtual environment in $KAZOO" python3 -m venv "$KAZOO"
  step "kazoo" "$KAZOO/bin/python" -m pip install --quiet --disable-pip-version-check "$KAZOO_PIN"
  printf '%s' "$KAZOO_PIN" >"$stamp"
}

with_superset() {
  install_hive
  install_kazoo
  install_superset
  install_examples
  install_template "$SQLITE_TEMPLATE" "an initialised metadata database on SQLite" sqlite_template
  install_template "$POSTGRES_TEMPLATE" "an initialised metadata database on PostgreSQL" postgres_template
}

main() {
  local superset=no
  case "${1-}" in
    "") ;;
    --with-superset) superset=yes ;;
    *)
      say "usage: deploy/setup.sh [--with-superset]"
      exit 64
      ;;
  esac
  mkdir -p "$CACHE"
  # One run at a time: a second one waits here, and then finds everything there.
  exec 9>"$CACHE/setup.lock"
  flock -w 1800 9 || fail "another run of this script holds $CACHE/setup.lock since half an hour"
  install_packages "$superset"
  if [ "$superset" = yes ]; then with_superset; fi
  say "ready"
}

main "$@"
