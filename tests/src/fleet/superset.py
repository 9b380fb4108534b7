"""A stand-in for Superset where Superset itself adds nothing: it answers /health, and reads its live settings.

    superset.py FOLDER PORT PARENT

While FOLDER/slow is there it does not listen yet; while FOLDER/sick is there it says that it is not well. If
FOLDER/forgetful is there when it starts, the last line of superset_config.py was forgotten. It ends with the process
PARENT.
"""

import http.server
import json
import os
import signal
import sys
import threading
import time

folder, port, parent = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sys.path.insert(0, os.path.join(folder, "python"))
os.environ["SETKEEPER_LIVE_FILE"] = os.path.join(folder, "live.json")

ROW_LIMIT = 50000


def at(name):
    return os.path.join(folder, name)


if not os.path.exists(at("forgetful")):
    import setkeeper_live

    setkeeper_live.install(globals())


def end(*_):
    os.remove(at("pid"))
    os._exit(0)


def watch():
    while os.path.exists("/proc/%d" % parent):
        time.sleep(0.5)
    os._exit(0)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            sick = os.path.exists(at("sick"))
            code, body = (503, b"no") if sick else (200, b"OK")
        else:
            values = {key: value for key, value in globals().items() if key.isupper() and key.isidentifier()}
            values = {key: value for key, value in values.items() if isinstance(value, (bool, int, str))}
            flags = globals()["GET_FEATURE_FLAGS_FUNC"]({})
            code, body = 200, json.dumps({"flags": flags, "config": values}).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, end)
threading.Thread(target=watch, daemon=True).start()
with open(at("pid.new"), "w", encoding="utf-8") as file:
    file.write(str(os.getpid()))
os.replace(at("pid.new"), at("pid"))
while os.path.exists(at("slow")):
    time.sleep(0.05)
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
