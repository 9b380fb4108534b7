"""Live settings for Apache Superset from the file that `setkeeper agent` keeps.

The last line of superset_config.py:

    import setkeeper_live; setkeeper_live.install(globals())

The file is looked for at `install(globals(), "/path/live.json")`, else at SETKEEPER_LIVE_FILE, else at
/var/lib/setkeeper-agent/live.json. What it holds is read at import, so that a restart brings every key, and looked at
again with one stat() a call: feature flags whenever Superset asks for one, the live keys of `settings/config` whenever
an application context is pushed (requests, Celery tasks and the command line alike). A key that is removed gets back
what superset_config.py or Superset itself had. While the file is missing or broken, the last good one stands.

Only the standard library is needed. But for what `install` refuses, no exception of this module reaches Superset.
"""

import copy
import datetime
import json
import logging
import os
import re
import sys
import threading

DEFAULT_FILE = "/var/lib/setkeeper-agent/live.json"
# ZooKeeper holds at most 1 MiB a znode; a file beyond this bound is not the agent's.
LARGEST_FILE = 64 * 1024 * 1024

_log = logging.getLogger("setkeeper_live")
_KEY = re.compile(r"[A-Z][A-Z0-9_]*\Z")
# There was no such key.
_ABSENT = object()
# superset_config.py was imported before Superset's own configuration: what that says of a key is not known.
_UNKNOWN = object()


class _State:
    """What one good file says. Never changed once made."""

    def __init__(self, text):
        parsed = json.loads(text)
        if not isinstance(parsed, dict) or parsed.get("v") != 1:
            raise ValueError('not the form {"v": 1, ...}')
        self.flags = {}
        self.values = {}
        self.live = set()
        # What a process has at its import, in the names of the znodes below `settings`.
        self.had = {}
        for flag, entry in parsed["feature_flags"].items():
            # Superset takes the text "false" for on: true or false, and nothing else.
            if isinstance(entry["value"], bool):
                self.flags[flag] = entry["value"]
                self.had["feature_flags/" + flag] = str(entry["digest"])
        for key, entry in parsed["config"].items():
            if _KEY.match(key):
                self.values[key] = entry["value"]
                self.had["config/" + key] = str(entry["digest"])
                if entry["live"] is True:
                    self.live.add(key)


class _Live:
    """One installation: the file, what it last said, and what stood there before."""

    def __init__(self, path):
        self.path = path
        self.state = None
        self._seen = None
        self._told = None
        self._originals = {}
        self._applied = {}
        # Never waited for: a thread that finds it taken goes on with what is there.
        self._lock = threading.Lock()
        # A child that is forked while another thread holds the lock would find it taken for ever.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self):
        self._lock = threading.Lock()

    def look(self):
        """Reads the file if it is another one than last time, and returns what stands."""
        try:
            stat = os.stat(self.path)
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen != self._seen and self._lock.acquire(blocking=False):
                try:
                    try:
                        self.state = self._read()
                    except OSError:
                        # It may pass, and the file is no other one then: the next call tries again.
                        raise
                    except Exception:
                        self._seen = seen
                        raise
                    self._seen = seen
                    self._told = None
                finally:
                    self._lock.release()
        except Exception as error:  # pylint: disable=broad-except
            self._tell("%s: %s; the last good settings stand" % (self.path, error))
        return self.state

    def _read(self):
        with open(self.path, "rb") as file:
            text = file.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            raise ValueError("more than %d bytes" % LARGEST_FILE)
        return _State(text)

    def _tell(self, message):
        # Once, and not at every request.
        if message != self._told:
            self._told = message
            _log.warning("setkeeper_live: %s", message)

    def bring(self, namespace):
        """Sets all keys of the file in superset_config.py's names, and remembers what stood there."""
        state = self.look()
        if state is None:
            return
        # Superset runs superset_config.py when its own defaults are set already.
        superset = sys.modules.get("superset.config")
        for key, value in state.values.items():
            default = _UNKNOWN if superset is None else getattr(superset, key, _ABSENT)
            before = namespace.get(key, default)
            try:
                if key in _CODE:
                    raise ValueError("Superset wants Python there")
                namespace[key] = _like(value, before)
            except Exception as error:  # pylint: disable=broad-except
                self._refuse(key, error)
                continue
            if key in state.live:
                self._originals[key] = before
                self._applied[key] = state.had["config/" + key]

    def apply(self, app):
        """Brings `app.config` to what the file says of the live keys."""
        state = self.look()
        if state is None or state is getattr(app, "_setkeeper_live", None):
            return
        if not self._lock.acquire(blocking=False):
            return
        try:
            state = self.state
            for key in state.live:
                if self._applied.get(key) != state.had["config/" + key]:
                    before = self._originals.get(key, app.config.get(key, _ABSENT))
                    try:
                        app.config[key] = _like(state.values[key], before)
                    except Exception as error:  # pylint: disable=broad-except
                        self._refuse(key, error)
                        continue
                    self._originals[key] = before
                    self._applied[key] = state.had["config/" + key]
            for key in [key for key in self._applied if key not in state.live]:
                self._restore(app, key)
            app._setkeeper_live = state  # pylint: disable=protected-access
        finally:
            self._lock.release()

    def _refuse(self, key, error):
        self._tell("settings/config/%s is not taken over: %s; what stood there stands" % (key, error))

    def _restore(self, app, key):
        before = self._originals.pop(key)
        del self._applied[key]
        if before is _UNKNOWN:
            self._tell("%s is removed, and what stood before it is not known: it stays until a restart" % key)
        elif before is _ABSENT:
            app.config.pop(key, None)
        else:
            app.config[key] = copy.deepcopy(before)

    def leave_note(self):
        """Tells the agent which settings this process began with, so that it knows what a restart would bring."""
        try:
            folder = self.path + ".d"
            os.makedirs(folder, mode=0o770, exist_ok=True)
            had = self.state.had if self.state is not None else {}
            version = getattr(sys.modules.get("superset.config"), "VERSION_STRING", None)
            note = {"v": 1, "pid": os.getpid(), "started": _started(), "version": version, "had": had}
            part = os.path.join(folder, ".%d" % os.getpid())
            with open(part, "w", encoding="utf-8") as file:
                json.dump(note, file, sort_keys=True)
            os.replace(part, os.path.join(folder, str(os.getpid())))
        except Exception as error:  # pylint: disable=broad-except
            _log.info("setkeeper_live: no note for the agent: %s", error)


def _started():
    """When the kernel started this process, in its own ticks: with the pid, it names the process."""
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        # The second field is the program's name in brackets, and may hold blanks and brackets.
        return file.read().rpartition(")")[2].split()[19]


def _like(value, before):
    """A copy of `value` with the types that JSON lacks taken from what stood there.

    Raises what says why `value` cannot stand there: a key of another type breaks every process that reads it.
    """
    if before is None or before is _ABSENT or before is _UNKNOWN:
        return copy.deepcopy(value)
    if isinstance(before, datetime.timedelta) and _is_number(value):
        return datetime.timedelta(seconds=value)
    if isinstance(before, (set, frozenset, tuple)) and isinstance(value, list):
        return type(before)(copy.deepcopy(value))
    if isinstance(before, dict) and isinstance(value, dict):
        # The names in a dictionary of sets (functions that an engine must not run) may be new ones.
        other = next(iter(before.values()), None)
        new = other if isinstance(other, (set, frozenset)) else None
        return {key: _like_within(each, before.get(key, new)) for key, each in value.items()}
    if isinstance(before, list) and isinstance(value, list):
        if not _is_plain(before):
            raise ValueError("what stands there holds Python that JSON cannot say")
        return copy.deepcopy(value)
    # No number, and no text, is null at times: Superset's own defaults are so. `True` is an `int` to Python.
    is_scalar = isinstance(before, (int, float, str)) and not isinstance(before, bool)
    if value is None and is_scalar:
        return None
    if isinstance(before, bool) or isinstance(value, bool):
        fits = isinstance(before, bool) and isinstance(value, bool)
    elif isinstance(before, float):
        fits = _is_number(value)
    else:
        fits = is_scalar and isinstance(value, (int, str)) and isinstance(before, type(value))
    if not fits:
        raise ValueError("%s cannot take the place of %s" % (type(value).__name__, type(before).__name__))
    return value


def _like_within(value, before):
    """Within a dictionary, plain data may take the place of plain data: `"*"` and `["*"]` may mean the same."""
    try:
        return _like(value, before)
    except ValueError:
        if isinstance(before, (bool, int, float, str, list)) and _is_plain(before):
            return copy.deepcopy(value)
        raise


def _is_plain(value):
    return not isinstance(value, list) or all(isinstance(each, _PLAIN) for each in value)


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# What may stand in a list that JSON takes the place of.
_PLAIN = (type(None), bool, int, float, str, list, tuple, dict)

# Where Superset 6.1 has nothing and takes a function, a class or an object: no JSON is any of these.
_CODE = frozenset(
    (
        "ADDITIONAL_MIDDLEWARE",
        "BLUEPRINTS",
        "CUSTOM_SECURITY_MANAGER",
        "DATASET_HEALTH_CHECK",
        "DB_CONNECTION_MUTATOR",
        "DB_SQLA_URI_VALIDATOR",
        "GUEST_TOKEN_VALIDATOR_HOOK",
        "QUERY_LOGGER",
        "RESULTS_BACKEND",
        "SQLALCHEMY_CUSTOM_PASSWORD_STORE",
        "USER_AGENT_FUNC",
        "WEBDRIVER_AUTH_FUNC",
    )
)


def _wrap_flags(live, before):
    def feature_flags(flags):
        if before is not None:
            flags = before(flags)
        state = live.look()
        if state is None or not isinstance(flags, dict):
            return flags
        return {**flags, **state.flags}

    return feature_flags


def _wrap_mutator(live, before):
    def mutate(app):
        if before is not None:
            before(app)
        try:
            from flask import appcontext_pushed  # pylint: disable=import-outside-toplevel

            def pushed(sender, **_):
                try:
                    live.apply(sender)
                except Exception as error:  # pylint: disable=broad-except
                    live._tell("not applied: %s" % error)  # pylint: disable=protected-access

            appcontext_pushed.connect(pushed, app, weak=False)
        except Exception as error:  # pylint: disable=broad-except
            _log.warning("setkeeper_live: settings are not live in this process: %s", error)

    return mutate


def install(namespace, path=None):
    """Makes the settings of the file live in the Superset whose superset_config.py has these `globals()`."""
    defaults = sys.modules.get("superset.config")

    def standing(hook):
        return namespace.get(hook) or getattr(defaults, hook, None)

    if standing("IS_FEATURE_ENABLED_FUNC") is not None:
        raise RuntimeError(
            "setkeeper_live cannot be installed beside IS_FEATURE_ENABLED_FUNC: Superset then asks that function alone "
            "and no flag of setkeeper's would have an effect; write it as GET_FEATURE_FLAGS_FUNC(flags) -> flags, which "
            "setkeeper_live calls first"
        )
    live = _Live(os.fspath(path or os.environ.get("SETKEEPER_LIVE_FILE") or DEFAULT_FILE))
    try:
        live.bring(namespace)
    except Exception as error:  # pylint: disable=broad-except
        _log.warning("setkeeper_live: the settings are not set: %s", error)
    namespace["GET_FEATURE_FLAGS_FUNC"] = _wrap_flags(live, standing("GET_FEATURE_FLAGS_FUNC"))
    namespace["FLASK_APP_MUTATOR"] = _wrap_mutator(live, standing("FLASK_APP_MUTATOR"))
    live.leave_note()
