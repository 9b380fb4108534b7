"""Clients of kazoo, led by the test: each has a session of its own and a connection to the test.

    clients.py ZOOKEEPER TEST_PORT COUNT

The test writes a line, the client answers with one:

    lock KIND PATH              held
    unlock                      free
    contend KIND PATH TIMES     enter, leave, enter, leave, … (each answered by the test), and done

KIND is lock, read, write (kazoo's own), or curator: the subclass that docs/locks.md shows.
"""

import socket
import sys
import threading

from kazoo.client import KazooClient
from kazoo.recipe.lock import Lock, ReadLock, WriteLock


class CuratorLock(Lock):
    """A lock that Curator's and setkeeper's clients can contend for."""

    _NODE_NAME = "-lock-"
    _EXCLUDE_NAMES = ["lock-"]


KINDS = {"lock": Lock, "read": ReadLock, "write": WriteLock, "curator": CuratorLock}


def client(hosts, port, number):
    zookeeper = KazooClient(hosts=hosts, timeout=3.0)
    zookeeper.start(timeout=60)
    lines = socket.create_connection(("127.0.0.1", port)).makefile("rw", encoding="utf-8", newline="\n")

    def say(line):
        lines.write(line + "\n")
        lines.flush()

    def ask(line):
        say(line)
        assert lines.readline(), "the test is gone"

    say(f"kazoo {number}")
    held = None
    for line in lines:
        words = line.split()
        if words[0] == "unlock":
            held.release()
            say("free")
            continue
        lock = KINDS[words[1]](zookeeper, words[2], identifier=f"kazoo-{number}")
        if words[0] == "lock":
            lock.acquire()
            held = lock
            say("held")
            continue
        for _ in range(int(words[3])):
            lock.acquire()
            ask("enter")
            ask("leave")
            lock.release()
        say("done")


threads = [
    threading.Thread(target=client, args=(sys.argv[1], int(sys.argv[2]), number), daemon=True)
    for number in range(int(sys.argv[3]))
]
for thread in threads:
    thread.start()
# The test holds the other end: when it ends, however it does, so does this.
sys.stdin.read()
