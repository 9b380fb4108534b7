"""`setkeeper_live` against files as the agent writes them and a stand-in for Flask's signal."""

import datetime
import json
import os
import sys
import tempfile
import threading
import types
import unittest

import setkeeper_live


class Signal:
    """What Flask's `appcontext_pushed` does of use here."""

    def __init__(self):
        self.receivers = []

    def connect(self, receiver, sender, weak):
        # Flask's keeps only a weak reference otherwise, and a receiver that nothing else holds is gone at once.
        if not weak:
            self.receivers.append((receiver, sender))

    def send(self, app):
        for receiver, sender in self.receivers:
            if sender is app:
                receiver(app)


class App:
    """An application with a configuration."""

    def __init__(self, config):
        self.config = dict(config)


class LiveTest(unittest.TestCase):
    """Each test has a file of its own and a Superset whose defaults are `self.defaults`."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "live.json")
        self.signal = Signal()
        self.defaults = types.ModuleType("superset.config")
        vars(self.defaults).update(
            ROW_LIMIT=50000,
            TALISMAN_ENABLED=True,
            FUNCTIONS={"sqlite": {"randomblob"}},
            SESSION=datetime.timedelta(days=1),
            GET_FEATURE_FLAGS_FUNC=None,
            IS_FEATURE_ENABLED_FUNC=None,
            VERSION_STRING="6.1.0",
            FLASK_APP_MUTATOR=None,
        )
        flask = types.ModuleType("flask")
        flask.appcontext_pushed = self.signal
        for name, module in {"superset.config": self.defaults, "flask": flask}.items():
            self.addCleanup(sys.modules.__setitem__, name, sys.modules.get(name))
            sys.modules[name] = module

    def write(self, flags=None, config=None, live=("ROW_LIMIT", "FUNCTIONS", "NEW")):
        def entry(value, **more):
            return {"value": value, "digest": "digest of %s" % json.dumps(value), **more}

        written = {
            "v": 1,
            "feature_flags": {name: entry(value) for name, value in (flags or {}).items()},
            "config": {key: entry(value, live=key in live) for key, value in (config or {}).items()},
        }
        self.write_text(json.dumps(written))

    def write_text(self, text):
        part = self.path + ".part"
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(part, self.path)

    def start(self, **namespace):
        """What a process of Superset does with superset_config.py; returns its application and its flags."""
        setkeeper_live.install(namespace, self.path)
        config = {key: value for key, value in vars(self.defaults).items() if key.isupper()}
        app = App({**config, **namespace})
        app.config["FLASK_APP_MUTATOR"](app)
        return app, lambda: app.config["GET_FEATURE_FLAGS_FUNC"]({"ALERTS": False})

    def pushed(self, app, key):
        self.signal.send(app)
        return app.config.get(key)

    def note(self):
        with open(os.path.join(self.path + ".d", str(os.getpid())), encoding="utf-8") as file:
            return json.load(file)

    def test_a_flag_is_live_and_back_again(self):
        self.write()
        _, flags = self.start()
        self.assertEqual(flags(), {"ALERTS": False})
        self.write(flags={"ALERTS": True, "OTHER": True})
        self.assertEqual(flags(), {"ALERTS": True, "OTHER": True})
        self.write()
        self.assertEqual(flags(), {"ALERTS": False})

    def test_a_flag_that_is_no_true_or_false_is_none(self):
        self.write(flags={"ALERTS": "false", "OTHER": 1, "GOOD": True})
        _, flags = self.start()
        self.assertEqual(flags(), {"ALERTS": False, "GOOD": True})

    def test_hooks_that_are_there_go_on_working(self):
        seen = []
        self.write(flags={"ALERTS": True})
        app, flags = self.start(
            GET_FEATURE_FLAGS_FUNC=lambda flags: {**flags, "ALERTS": False, "THEIRS": True},
            FLASK_APP_MUTATOR=seen.append,
        )
        self.assertEqual(flags(), {"ALERTS": True, "THEIRS": True})
        self.assertEqual(seen, [app])

    def test_the_hook_for_single_flags_is_refused_with_words(self):
        with self.assertRaisesRegex(RuntimeError, "GET_FEATURE_FLAGS_FUNC"):
            setkeeper_live.install({"IS_FEATURE_ENABLED_FUNC": lambda name, default: default}, self.path)

    def test_all_keys_are_set_at_import_and_only_live_ones_later(self):
        self.write(config={"ROW_LIMIT": 7, "TALISMAN_ENABLED": False})
        app, _ = self.start()
        self.assertEqual((app.config["ROW_LIMIT"], app.config["TALISMAN_ENABLED"]), (7, False))
        self.write(config={"ROW_LIMIT": 8, "TALISMAN_ENABLED": True})
        self.assertEqual(self.pushed(app, "ROW_LIMIT"), 8)
        self.assertEqual(app.config["TALISMAN_ENABLED"], False)

    def test_a_removed_key_gets_back_what_superset_config_had_or_else_superset(self):
        self.write(config={"ROW_LIMIT": 7})
        for own, wanted in (({"ROW_LIMIT": 100}, 100), ({}, 50000)):
            self.write(config={"ROW_LIMIT": 7})
            app, _ = self.start(**own)
            self.assertEqual(self.pushed(app, "ROW_LIMIT"), 7)
            self.write()
            self.assertEqual(self.pushed(app, "ROW_LIMIT"), wanted)
            self.write(config={"ROW_LIMIT": 9})
            self.assertEqual(self.pushed(app, "ROW_LIMIT"), 9)
            self.write()
            self.assertEqual(self.pushed(app, "ROW_LIMIT"), wanted)

    def test_a_key_that_comes_later_and_was_never_there_goes_again(self):
        self.write()
        app, _ = self.start()
        self.write(config={"NEW": {"a": 1}, "ROW_LIMIT": 3})
        self.assertEqual((self.pushed(app, "NEW"), app.config["ROW_LIMIT"]), ({"a": 1}, 3))
        self.write()
        self.assertEqual(self.pushed(app, "ROW_LIMIT"), 50000)
        self.assertNotIn("NEW", app.config)

    def test_what_stood_before_is_not_guessed(self):
        del sys.modules["superset.config"]
        self.write(config={"ROW_LIMIT": 7})
        namespace = {}
        setkeeper_live.install(namespace, self.path)
        app = App(namespace)
        namespace["FLASK_APP_MUTATOR"](app)
        self.write()
        with self.assertLogs("setkeeper_live", "WARNING"):
            self.assertEqual(self.pushed(app, "ROW_LIMIT"), 7)

    def test_types_that_json_lacks_are_those_that_stood_there(self):
        self.write(config={"FUNCTIONS": {"sqlite": ["a"], "hive": ["b", "b"]}, "SESSION": 60})
        app, _ = self.start()
        self.assertEqual(app.config["FUNCTIONS"], {"sqlite": {"a"}, "hive": {"b"}})
        self.assertEqual(app.config["SESSION"], datetime.timedelta(minutes=1))
        self.write(config={"FUNCTIONS": {"sqlite": [["no", "set"]]}})
        with self.assertLogs("setkeeper_live", "WARNING"):
            self.assertEqual(self.pushed(app, "FUNCTIONS"), {"sqlite": {"a"}, "hive": {"b"}})

    def test_a_value_of_another_type_is_refused_alone_and_what_stood_stands(self):
        def mutator(sql):
            return sql

        own = {
            "SQL_QUERY_MUTATOR": mutator,
            "CELERY_CONFIG": App,
            "LOGGING_CONFIGURATOR": self,
            "JSON": json,
            "TALISMAN_CONFIG": {"force_https": False, "sources": ["'self'"], "hook": mutator},
            "HOOKS": [mutator],
            "ENABLE_CORS": False,
            "LIMIT": 1,
            "SHARE": 0.5,
            "MODULES": ["a"],
            "SESSION": datetime.timedelta(days=1),
        }
        bad = {
            "SQL_QUERY_MUTATOR": "x",
            "CELERY_CONFIG": {},
            "LOGGING_CONFIGURATOR": None,
            "JSON": {},
            "TALISMAN_CONFIG": {"hook": 1},
            "HOOKS": [],
            "ENABLE_CORS": 1,
            "LIMIT": True,
            "SHARE": "1",
            "MODULES": {},
            "SESSION": 1e300,
        }
        code = {"CUSTOM_SECURITY_MANAGER": "x", "BLUEPRINTS": ["x"]}
        good = {"ROW_LIMIT": 7, "ANY": {"a": [1]}}
        self.write(config={**bad, **code, **good})
        with self.assertLogs("setkeeper_live", "WARNING") as logs:
            app, _ = self.start(**own)
        self.assertEqual(len(logs.records), len(bad) + len(code))
        self.assertEqual({key: app.config[key] for key in own}, own)
        self.assertEqual({key: app.config[key] for key in good}, good)
        self.assertNotIn("CUSTOM_SECURITY_MANAGER", app.config)

        changed = {
            "TALISMAN_CONFIG": {"force_https": True, "sources": "'self'", "new": 1},
            "LIMIT": None,
            "SHARE": 1,
            "MODULES": [],
        }
        self.write(config=changed)
        app, _ = self.start(**own)
        self.assertEqual({key: app.config[key] for key in changed}, changed)

    def test_one_bad_live_value_is_told_once_and_stops_no_other(self):
        self.write(config={"ROW_LIMIT": 7})
        app, _ = self.start(NEW=datetime.timedelta(days=1))
        self.write(config={"FUNCTIONS": "x", "NEW": 1e300, "ROW_LIMIT": 8})
        with self.assertLogs("setkeeper_live", "WARNING") as logs:
            for _ in range(3):
                self.assertEqual(self.pushed(app, "ROW_LIMIT"), 8)
        self.assertEqual(len(logs.records), 2)
        self.assertEqual(app.config["FUNCTIONS"], {"sqlite": {"randomblob"}})
        self.write(config={"ROW_LIMIT": "9"})
        with self.assertLogs("setkeeper_live", "WARNING"):
            self.assertEqual(self.pushed(app, "ROW_LIMIT"), 8)
        self.write()
        self.assertEqual(self.pushed(app, "ROW_LIMIT"), 50000)

    def test_a_file_that_cannot_be_opened_for_a_moment_is_read_the_next_time(self):
        self.write(config={"ROW_LIMIT": 7})
        app, _ = self.start()
        self.write(config={"ROW_LIMIT": 8})

        def refuse(*_, **__):
            raise PermissionError("not now")

        setkeeper_live.open = refuse
        with self.assertLogs("setkeeper_live", "WARNING"):
            self.assertEqual(self.pushed(app, "ROW_LIMIT"), 7)
        del setkeeper_live.open
        self.assertEqual(self.pushed(app, "ROW_LIMIT"), 8)

    def test_a_missing_or_broken_file_leaves_the_last_good_one_and_is_told_once(self):
        self.write(flags={"ALERTS": True}, config={"ROW_LIMIT": 7})
        app, flags = self.start()
        broken = ["", '{"v": 1, "feature_', '{"v": 2}', '{"v": 1}', '{"v": 1, "feature_flags": 3}', "\0"]
        for text in broken:
            self.write_text(text)
            with self.assertLogs("setkeeper_live", "WARNING") as logs:
                for _ in range(3):
                    self.assertEqual((flags(), self.pushed(app, "ROW_LIMIT")), ({"ALERTS": True}, 7))
            self.assertEqual(len(logs.records), 1, text)
        os.remove(self.path)
        with self.assertLogs("setkeeper_live", "WARNING") as logs:
            for _ in range(3):
                self.assertEqual((flags(), self.pushed(app, "ROW_LIMIT")), ({"ALERTS": True}, 7))
        self.assertEqual(len(logs.records), 1)
        self.write(config={"ROW_LIMIT": 8})
        self.assertEqual((flags(), self.pushed(app, "ROW_LIMIT")), ({"ALERTS": False}, 8))

    def test_without_a_file_superset_starts_and_the_file_may_come_later(self):
        with self.assertLogs("setkeeper_live", "WARNING"):
            app, flags = self.start()
        self.write(flags={"ALERTS": True}, config={"ROW_LIMIT": 8})
        self.assertEqual((flags(), self.pushed(app, "ROW_LIMIT")), ({"ALERTS": True}, 8))

    def test_one_look_at_the_file_a_call(self):
        self.write(flags={"ALERTS": True}, config={"ROW_LIMIT": 7})
        app, flags = self.start()
        calls = []
        real = os.stat, open
        self.addCleanup(setattr, os, "stat", os.stat)
        os.stat = lambda path: calls.append(path) or real[0](path)
        setkeeper_live.open = lambda *_, **__: self.fail("an unchanged file is opened")
        self.addCleanup(delattr, setkeeper_live, "open")
        flags()
        self.signal.send(app)
        self.assertEqual(calls, [self.path, self.path])

    def test_a_process_tells_what_it_began_with(self):
        self.write(flags={"ALERTS": True}, config={"ROW_LIMIT": 7})
        self.start()
        note = self.note()
        with open("/proc/self/stat", encoding="utf-8") as file:
            started = file.read().rpartition(")")[2].split()[19]
        self.assertEqual((note["pid"], note["started"], note["version"]), (os.getpid(), started, "6.1.0"))
        wanted = {"feature_flags/ALERTS": "digest of true", "config/ROW_LIMIT": "digest of 7"}
        self.assertEqual(note["had"], wanted)

    def test_a_folder_that_takes_no_note_is_no_matter(self):
        self.write(flags={"ALERTS": True})
        with open(self.path + ".d", "w", encoding="utf-8"):
            pass
        _, flags = self.start()
        self.assertEqual(flags(), {"ALERTS": True})

    def test_the_path_may_come_from_the_environment(self):
        self.write(config={"ROW_LIMIT": 7})
        os.environ["SETKEEPER_LIVE_FILE"] = self.path
        self.addCleanup(os.environ.pop, "SETKEEPER_LIVE_FILE")
        namespace = {}
        setkeeper_live.install(namespace)
        self.assertEqual(namespace["ROW_LIMIT"], 7)

    def test_many_threads_see_whole_settings_and_end_with_the_newest(self):
        self.write(config={"ROW_LIMIT": 0})
        app, flags = self.start()
        wrong, end = [], threading.Event()

        def read():
            while not end.is_set():
                self.signal.send(app)
                if sorted(flags()) != ["ALERTS"] or not isinstance(app.config["ROW_LIMIT"], int):
                    wrong.append(dict(app.config))

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for n in range(200):
            self.write(flags={"ALERTS": n % 2 == 0}, config={"ROW_LIMIT": n})
        end.set()
        for thread in threads:
            thread.join()
        self.assertEqual((wrong, self.pushed(app, "ROW_LIMIT"), flags()), ([], 199, {"ALERTS": False}))

    def test_a_forked_child_looks_too_though_the_lock_was_held(self):
        self.write(flags={"ALERTS": False})
        _, flags = self.start()
        live = app_live(flags)
        live._lock.acquire()
        child = os.fork()
        if child == 0:
            self.write(flags={"ALERTS": True})
            os._exit(0 if flags()["ALERTS"] is True else 1)
        live._lock.release()
        self.assertEqual(os.waitpid(child, 0)[1], 0)


def app_live(flags):
    """The installation behind the wrapped hook."""
    hook = flags.__closure__[0].cell_contents.config["GET_FEATURE_FLAGS_FUNC"]
    return next(cell.cell_contents for cell in hook.__closure__ if hasattr(cell.cell_contents, "look"))


if __name__ == "__main__":
    unittest.main()
