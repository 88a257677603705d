# SPDX-License-Identifier: MIT
"""Local models of the gateway, their processes, and clients that watch themselves wait."""

import contextlib
import http.client
import json
import os
import re
import tempfile
import threading

from gateway_support import LIMIT, PROGRAMS, Answer, GatewayTest, chat, eventually, events


def process_stat(pid):
    """(state, parent) of a process; nothing if there is none."""
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return fields[0], int(fields[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def children_of(parent):
    """{pid: state} of the processes whose parent that is; "Z" is a zombie."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = process_stat(int(entry))
            if stat and stat[1] == parent:
                found[int(entry)] = stat[0]
    return found


class Stream:
    """A client that reads a stream of events as it comes."""

    def __init__(self, address, body):
        self.connection = http.client.HTTPConnection(*address, timeout=LIMIT)
        self.body = body
        self.text = b""
        self.status = None
        self.headers = None
        self.ended = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        with contextlib.closing(self.connection), contextlib.suppress(
                OSError, http.client.HTTPException, AttributeError, ValueError):
            self.connection.request("POST", "/v1/chat/completions", json.dumps(self.body))
            response = self.connection.getresponse()
            self.headers = response.headers
            self.status = response.status
            while True:
                line = response.readline()
                if not line:
                    break
                self.text += line
        self.ended = True

    def wait(self):
        self.thread.join(LIMIT)
        if not self.ended:
            raise AssertionError("the stream has not ended: %s" % self.text)
        return self

    def leave(self):
        with contextlib.suppress(OSError, AttributeError):
            self.connection.sock.shutdown(2)

    def statuses(self):
        """What it was told while it waited."""
        return [json.loads(text) for text in re.findall(rb"(?m)^: status (.*)$", self.text)]

    def positions(self):
        return [status["position"] for status in self.statuses() if "position" in status]

    def events(self):
        return events(b"\n".join(line for line in self.text.split(b"\n") if not line.startswith(b":")))

    def content(self):
        found = self.events()
        words = [json.loads(data)["choices"][0]["delta"]["content"] for event, data in found[:-1]]
        return "".join(words) if found and found[-1] == ("message", "[DONE]") else None

    @property
    def error(self):
        event, data = self.events()[-1] if self.status == 200 else ("error", self.text)
        return json.loads(data)["error"] if event == "error" else None


class LocalTest(GatewayTest):
    """Helpers for tests with local models: what is started is the stand-in provider, which keeps a journal."""

    def setUp(self):
        self.folder = self.temporary_folder()
        self.journal = os.path.join(self.folder, "journal")

    def model(self, name, *flags, **settings):
        """A model whose process is the stand-in; flags are the stand-in's."""
        command = [os.path.join(PROGRAMS, "provider"), "--name", name, "--port", "{port}", "--latency-ms", "1",
                   "--jitter-ms", "0", "--journal", self.journal, *map(str, flags)]
        return {"name": name, "command": command, "ready": {"interval_ms": 50}, **settings}

    def start_local(self, *models, server=None, providers=(), arguments=(), **local):
        """A gateway with these models, which is asked for its children's end once it has ended."""
        self.addCleanup(self.check_nobody_is_left)
        local = {"models": list(models), "back_off": False, "status": {"after_ms": 20, "every_ms": 20}, **local}
        config = {"server": server or {}, "local": local, "providers": list(providers)}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(config, file)
            file.flush()
            self.gateway = self.start("gateway", "--config", file.name, *arguments)
        return self.gateway

    def check_nobody_is_left(self):
        for name, pid in self.starts():
            self.assertTrue(self.has_ended(pid), "a process of %s is left" % name)

    def has_ended(self, pid):
        """Whether a process is gone, or, if the gateway had no time for it, waits for the system to reap it."""
        stat = process_stat(pid)
        return stat is None or (self.gateway.ends_with != 0 and stat[0] == "Z")

    def starts(self):
        """(name, pid) of all processes that were started, in order."""
        try:
            with open(self.journal, encoding="utf-8") as file:
                return [(line.split()[0], int(line.split()[1])) for line in file]
        except FileNotFoundError:
            return []

    def started(self):
        return [name for name, _ in self.starts()]

    def pid(self, name):
        return [pid for each, pid in self.starts() if each == name][-1]

    def hold(self, name):
        """A file with which a stand-in (--load-while) is loading; gone, it is loaded."""
        path = os.path.join(self.folder, "hold-" + name)
        with open(path, "w", encoding="utf-8"):
            pass
        return path

    def local(self):
        return self.ask("GET", "/api/state").json["local"]

    def model_state(self, name):
        return next(model for model in self.local()["models"] if model["name"] == name)

    def wait_for_model(self, name, **expected):
        return eventually(lambda: all(self.model_state(name)[key] == value for key, value in expected.items()),
                          "%s: %s" % (name, expected))

    def wait_for_arrivals(self, count):
        return eventually(lambda: self.local()["requests"]["arrived"] == count, "%d requests have arrived" % count)

    def control(self, name, **settings):
        """Tells the stand-in of a model, which is ready, how to behave."""
        return Answer.of(("127.0.0.1", self.model_state(name)["port"]), "POST", "/control", settings).json

    def stream(self, model, content="hello there"):
        stream = Stream(self.gateway.address, chat(model, content, stream=True))
        self.addCleanup(stream.leave)
        return stream

    def check_content(self, answer, model, content="hello there"):
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.json["choices"][0]["message"]["content"], "%s says: %s" % (model, content))

    def zombies(self):
        return [pid for pid, state in children_of(self.gateway.process.pid).items() if state == "Z"]
