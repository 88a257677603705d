# SPDX-License-Identifier: MIT
"""The gateway and its providers as processes, and what tests of them have in common."""

import concurrent.futures
import contextlib
import glob
import http.client
import json
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse

LIMIT = 30.0  # seconds; reached by failures only


def find_programs():
    folder = os.environ.get("PENSTOCK_GATEWAY_DIR")
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    candidates = [folder] if folder else sorted(glob.glob(os.path.join(root, "build", "*", "examples", "gateway")))
    for candidate in candidates:
        if all(os.access(os.path.join(candidate, name), os.X_OK) for name in ("gateway", "provider")):
            return candidate
    return None


PROGRAMS = find_programs()


def eventually(condition, what):
    """Waits until condition() is true, and returns what it gave."""
    end = time.monotonic() + LIMIT
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("did not happen within %.0f s: %s" % (LIMIT, what))
        time.sleep(0.01)


class Server:
    """A program that says where it listens."""

    def __init__(self, program, *arguments):
        self.process = subprocess.Popen([os.path.join(PROGRAMS, program), *map(str, arguments)],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.errors = None
        line = self.process.stdout.readline()
        if "http://" not in line:
            raise AssertionError("%s did not start: %s%s" % (program, line, self.process.communicate()[1]))
        self.url = line.split()[-1]
        self.address = (urllib.parse.urlsplit(self.url).hostname, urllib.parse.urlsplit(self.url).port)

    def stop(self):
        """Asks it to end, if it has not; returns its exit code. What it had to say is in `errors` afterwards."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait()

    def wait(self):
        if self.errors is None:
            try:
                self.errors = self.process.communicate(timeout=LIMIT)[1]
            finally:
                self.process.kill()
        return self.process.returncode

    def control(self, **settings):
        return Answer.of(self.address, "POST", "/control", settings).json

    def state(self):
        return Answer.of(self.address, "GET", "/control").json

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]

    @staticmethod
    def of(address, method, path, body=None, headers=None, timeout=LIMIT):
        connection = http.client.HTTPConnection(*address, timeout=timeout)
        with contextlib.closing(connection):
            if body is not None and not isinstance(body, (bytes, str)):
                body = json.dumps(body)
            connection.request(method, path, body, headers or {})
            return Answer(connection.getresponse())


class FakeProvider:
    """Answers every request with the same bytes, whatever is asked."""

    def __init__(self, data, stays=False):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.socket.getsockname()[1]
        self.data = data
        self.stays = stays  # for more requests
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection = self.socket.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=[connection], daemon=True).start()

    def serve(self, connection):
        with connection, contextlib.suppress(OSError):
            connection.settimeout(LIMIT)
            while self.read_request(connection):
                connection.sendall(self.data)
                if not self.stays:
                    return

    @staticmethod
    def read_request(connection):
        received = b""
        while b"\r\n\r\n" not in received:
            piece = connection.recv(65536)
            if not piece:
                return False
            received += piece
        head, body = received.split(b"\r\n\r\n", 1)
        missing = int(re.search(rb"(?i)content-length: (\d+)", head)[1]) - len(body)
        while missing > 0:
            missing -= len(connection.recv(missing))
        return True

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def chat(model, content="hello there", **more):
    return {"model": model, "messages": [{"role": "user", "content": content}], **more}


def events(body):
    """The (event, data) pairs of a stream of events."""
    found = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line)
        if fields:
            found.append((fields.get("event", "message"), fields["data"]))
    return found


class GatewayTest(unittest.TestCase):
    """Helpers; each test starts what it needs, unless its class shares something."""

    gateway = None

    def start(self, program, *arguments):
        server = Server(program, *arguments)
        server.ends_with = 0
        self.addCleanup(lambda: self.assertEqual(server.stop(), server.ends_with, server.errors))
        return server

    def provider(self, name, **flags):
        arguments = ["--name", name, "--latency-ms", flags.pop("latency_ms", 5), "--jitter-ms", 0]
        for key, value in flags.items():
            arguments += ["--" + key.replace("_", "-"), value]
        return self.start("provider", *arguments)

    def temporary_folder(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return folder.name

    def fake(self, data, stays=False):
        fake = FakeProvider(data, stays)
        self.addCleanup(fake.close)
        return fake

    def start_gateway(self, *providers, server=None, arguments=()):
        """From a configuration: a provider is (name, url, settings)."""
        config = {"server": server or {}, "providers": []}
        for name, url, settings in providers:
            defaults = {"name": name, "url": url, "models": [name + "-1"], "breaker": False, "health": False,
                        "retry": False}
            config["providers"].append({**defaults, **settings})
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(config, file)
            file.flush()
            self.gateway = self.start("gateway", "--config", file.name, *arguments)
        return self.gateway

    def ask(self, method, path, body=None, headers=None, timeout=LIMIT):
        return Answer.of(self.gateway.address, method, path, body, headers, timeout)

    def complete(self, model, content="hello there", **more):
        return self.ask("POST", "/v1/chat/completions", chat(model, content, **more))

    def raw(self, data, close=False):
        """Sends bytes, and returns all that comes back until the gateway closes."""
        with socket.create_connection(self.gateway.address, timeout=LIMIT) as connection:
            connection.sendall(data)
            if close:
                connection.shutdown(socket.SHUT_WR)
            received = b""
            while True:
                piece = connection.recv(65536)
                if not piece:
                    return received
                received += piece

    def connect(self):
        connection = socket.create_connection(self.gateway.address, timeout=LIMIT)
        self.addCleanup(connection.close)
        return connection

    def send(self, body):
        """Asks for a completion and does not wait for the answer; returns the connection."""
        body = json.dumps(body).encode()
        connection = self.connect()
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" %
                           (len(body), body))
        return connection

    def state_of(self, provider):
        for entry in self.ask("GET", "/api/state").json["router"]["providers"]:
            if entry["name"] == provider:
                return entry
        raise AssertionError("no provider " + provider)

    def metric(self, name, **labels):
        return self.metric_in(self.ask("GET", "/metrics").body.decode(), name, **labels)

    @staticmethod
    def metric_in(text, name, **labels):
        for line in text.splitlines():
            match = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line)
            if match and match[1] == name:
                found = dict(re.findall(r'(\w+)="([^"]*)"', match[2]))
                if all(found.get(key) == value for key, value in labels.items()):
                    return float(match[3])
        raise AssertionError("no metric %s %s" % (name, labels))

    def check_failure(self, answer, status, kind, provider=None, stage=None):
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        self.assertEqual(answer.error["type"], kind)
        self.assertGreater(len(answer.error["message"]), 10)
        if provider:
            self.assertEqual(answer.error["provider"], provider)
            self.assertIn(provider, answer.error["message"])
        if stage:
            self.assertEqual(answer.error["stage"], stage)

    def background(self, function, *arguments):
        executor = concurrent.futures.ThreadPoolExecutor(1)
        self.addCleanup(executor.shutdown)
        return executor.submit(function, *arguments)
