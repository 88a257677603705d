#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The gateway of examples/gateway as its clients see it: real processes, real HTTP, loopback only.

    tests/e2e/gateway_test.py [unittest arguments]

PENSTOCK_GATEWAY_DIR names the folder of the programs gateway and provider; without it they are looked for below build/.
Nothing here sleeps to let something happen: it waits for what it expects, with a limit that only a failure reaches.
"""

import concurrent.futures
import contextlib
import glob
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

LIMIT = 30.0  # seconds; reached by failures only
SKIPPED = 77  # the exit code that ctest takes for a skipped test


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
    """Answers every connection with the same bytes, whatever is asked."""

    def __init__(self, data, piece=None):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.socket.getsockname()[1]
        self.data = data
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
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(65536)
            for piece in [self.data] if isinstance(self.data, bytes) else self.data:
                connection.sendall(piece)

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

    def fake(self, data):
        fake = FakeProvider(data)
        self.addCleanup(fake.close)
        return fake

    def start_gateway(self, *providers, server=None):
        """From a configuration: a provider is (name, url, settings)."""
        config = {"server": server or {}, "providers": []}
        for name, url, settings in providers:
            config["providers"].append({"name": name, "url": url, "models": [name + "-1"], "breaker": False, **settings})
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(config, file)
            file.flush()
            self.gateway = self.start("gateway", "--config", file.name)
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

    def send(self, body):
        """Asks for a completion and does not wait for the answer; returns the connection."""
        body = json.dumps(body).encode()
        connection = socket.create_connection(self.gateway.address, timeout=LIMIT)
        self.addCleanup(connection.close)
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" %
                           (len(body), body))
        return connection

    def state_of(self, provider):
        for entry in self.ask("GET", "/api/state").json["router"]["providers"]:
            if entry["name"] == provider:
                return entry
        raise AssertionError("no provider " + provider)

    def metric(self, name, **labels):
        text = self.ask("GET", "/metrics").body.decode()
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


class Requests(GatewayTest):
    """One gateway with a healthy provider: the routes, and what clients do wrong."""

    @classmethod
    def setUpClass(cls):
        cls.alpha = Server("provider", "--name", "alpha", "--latency-ms", 5, "--jitter-ms", 0)
        cls.addClassCleanup(cls.end, cls.alpha)
        config = {"server": {"max_body_bytes": 10000, "receive_timeout_ms": 1500},
                  "providers": [{"name": "alpha", "url": cls.alpha.url, "models": ["alpha-1", "tiny"]}]}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(config, file)
            file.flush()
            cls.gateway = Server("gateway", "--config", file.name)
        cls.addClassCleanup(cls.end, cls.gateway)

    @staticmethod
    def end(server):
        if server.stop() != 0:
            raise AssertionError(server.errors)

    def test_a_completion(self):
        answer = self.complete("alpha-1", "how are you?")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.json["choices"][0]["message"]["content"], "alpha says: how are you?")

    def test_a_streamed_completion(self):
        answer = self.complete("alpha-1", "how are you?", stream=True)
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["Content-Type"], "text/event-stream")
        found = events(answer.body)
        self.assertEqual(found[-1], ("message", "[DONE]"))
        words = [json.loads(data)["choices"][0]["delta"]["content"] for _, data in found[:-1]]
        self.assertEqual("".join(words), "alpha says: how are you?")

    def test_a_stream_arrives_piece_by_piece(self):
        slow = self.provider("slow", latency_ms=1000)
        self.start_gateway(("slow", slow.url, {}))
        self.addCleanup(lambda: self.__dict__.pop("gateway", None))
        connection = http.client.HTTPConnection(*self.gateway.address, timeout=LIMIT)
        with contextlib.closing(connection):
            connection.request("POST", "/v1/chat/completions", json.dumps(chat("slow-1", "a b c d e f", stream=True)))
            response = connection.getresponse()
            first = time.monotonic()
            self.assertIn(b"slow", response.readline())
            response.read()
            self.assertGreater(time.monotonic() - first, 0.2)  # the rest of the words was still to come

    def test_the_other_routes(self):
        models = self.ask("GET", "/v1/models").json
        self.assertEqual([model["id"] for model in models["data"]], ["alpha-1", "tiny"])
        self.assertEqual({model["owned_by"] for model in models["data"]}, {"alpha"})
        self.assertEqual(self.ask("GET", "/healthz").json, {"status": "ok"})
        self.assertEqual(self.ask("HEAD", "/healthz").body, b"")
        self.assertEqual(self.state_of("alpha")["name"], "alpha")
        metrics = self.ask("GET", "/metrics")
        self.assertTrue(metrics.headers["Content-Type"].startswith("text/plain; version=0.0.4"))
        for line in metrics.body.decode().splitlines():
            self.assertRegex(line, r'^(# (HELP|TYPE) \w+ .*|\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [-+0-9.eEInfNa]+)$')

    def test_bodies_that_are_no_request(self):
        cases = [
            (b'{"model": "alpha-1", "mess', None),
            (b"", None),
            (b"\xff\xfe{}", None),
            (b"[" * 5000, None),
            (b"[1, 2]", None),
            (b"null", None),
            (b"{}", "model"),
            (b'{"model": 7, "messages": [{}]}', "model"),
            (b'{"model": "alpha-1"}', "messages"),
            (b'{"model": "alpha-1", "messages": []}', "messages"),
            (b'{"model": "alpha-1", "messages": [{}], "stream": "yes"}', "stream"),
        ]
        for body, parameter in cases:
            with self.subTest(body=body[:40]):
                answer = self.ask("POST", "/v1/chat/completions", body)
                self.check_failure(answer, 400, "invalid_request") if body else self.assertEqual(answer.status, 400)
                self.assertEqual(answer.error.get("param"), parameter)

    def test_an_unknown_model(self):
        answer = self.complete('no "such"\n\u20ac model')
        self.check_failure(answer, 404, "unknown_model", stage="request")
        self.assertIn('no "such"\n\u20ac model', answer.error["message"])

    def test_unknown_routes_and_methods(self):
        for method, path in [("GET", "/"), ("POST", "/v1/completions"), ("GET", "/v1/models/"), ("PUT", "/nowhere")]:
            with self.subTest(method=method, path=path):
                self.check_failure(self.ask(method, path), 404, "unknown_route")
        for method, path, allowed in [("GET", "/v1/chat/completions", "POST"), ("PUT", "/v1/chat/completions", "POST"),
                                      ("DELETE", "/v1/chat/completions", "POST"), ("POST", "/v1/models", "GET, HEAD"),
                                      ("OPTIONS", "/metrics", "GET, HEAD")]:
            with self.subTest(method=method, path=path):
                answer = self.ask(method, path)
                self.check_failure(answer, 405, "method_not_allowed")
                self.assertEqual(answer.headers["Allow"], allowed)

    def test_a_body_over_the_limit_is_refused_before_it_is_sent(self):
        answer = self.raw(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10001\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer)
        self.assertIn(b'"type":"body_too_large"', answer)
        expecting = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10001\r\n"
                     b"Expect: 100-continue\r\n\r\n")
        self.assertTrue(self.raw(expecting).startswith(b"HTTP/1.1 413 "))

    def test_a_body_over_the_limit_that_is_sent_anyway(self):
        self.check_failure(self.ask("POST", "/v1/chat/completions", b"x" * 200000), 413, "body_too_large")

    def test_a_chunked_body_over_the_limit(self):
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = self.raw(head + b"1000\r\n" + b"x" * 0x1000 + b"\r\n" + b"2000\r\n" + b"x" * 0x2000 + b"\r\n0\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer)

    def test_a_body_at_the_limit_and_a_chunked_one(self):
        body = json.dumps(chat("alpha-1", "x" * (10000 - len(json.dumps(chat("alpha-1", "")))))).encode()
        self.assertEqual(len(body), 10000)
        self.assertEqual(self.ask("POST", "/v1/chat/completions", body).status, 200)
        answer = self.ask("POST", "/v1/chat/completions", body=None)
        self.assertEqual(answer.status, 400)
        connection = http.client.HTTPConnection(*self.gateway.address, timeout=LIMIT)
        with contextlib.closing(connection):
            connection.request("POST", "/v1/chat/completions", iter([body[:5000], body[5000:]]), encode_chunked=True,
                               headers={"Transfer-Encoding": "chunked"})
            self.assertEqual(connection.getresponse().status, 200)

    def test_bodies_whose_end_is_not_clear(self):
        body = json.dumps(chat("alpha-1")).encode()
        for headers in [b"Content-Length: 5\r\nContent-Length: 6\r\n", b"Content-Length: five\r\n",
                        b"Content-Length: -1\r\n", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                        b"Transfer-Encoding: gzip\r\n", b"Content-Length: 99999999999999999999999\r\n"]:
            with self.subTest(headers=headers):
                answer = self.raw(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n" + body)
                self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
                self.assertEqual(answer.count(b"HTTP/1.1 "), 1)  # nothing of the body was taken for a request

    def test_a_body_that_breaks_off(self):
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        answer = self.raw(head + b"{", close=True)
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
        self.assertIn(b"broke off after 1 bytes", answer)

    def test_a_request_that_does_not_come_to_its_end(self):
        began = time.monotonic()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
        answer = self.raw(head)
        self.assertTrue(answer.startswith(b"HTTP/1.1 408 "), answer)
        self.assertLess(time.monotonic() - began, 10)

    def test_what_is_not_http(self):
        for data in [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"GET\r\n\r\n", b"BREW / HTTP/1.1\r\n\r\n"]:
            with self.subTest(data=data[:20]):
                answer = self.raw(data, close=True)
                self.assertRegex(answer, rb"^HTTP/1.1 4\d\d ")
                self.assertIn(b'"type":"invalid_request"', answer)
        self.assertEqual(self.ask("GET", "/healthz").status, 200)

    def test_a_long_list_of_ranges(self):
        answer = self.raw(b"GET /healthz HTTP/1.1\r\nConnection: close\r\nRange: bytes=" + b"1-2," * 1900 + b"\r\n\r\n")
        self.assertRegex(answer, rb"^HTTP/1.1 [24]\d\d ")

    def test_a_line_without_an_end_ends_the_connection(self):
        with socket.create_connection(self.gateway.address, timeout=LIMIT) as connection:
            with self.assertRaises(OSError):
                while True:  # until the gateway has had enough
                    connection.sendall(b"A" * 65536)
        self.assertEqual(self.ask("GET", "/healthz").status, 200)

    def test_many_requests_on_one_connection(self):
        connection = http.client.HTTPConnection(*self.gateway.address, timeout=LIMIT)
        with contextlib.closing(connection):
            for number in range(20):
                connection.request("POST", "/v1/chat/completions", json.dumps(chat("tiny", str(number))))
                answer = json.loads(connection.getresponse().read())
                self.assertEqual(answer["choices"][0]["message"]["content"], "alpha says: %d" % number)

    def test_requests_that_are_sent_ahead(self):
        one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = self.raw(one * 3 + one.replace(b"Host", b"Connection: close\r\nHost"))
        self.assertEqual(answer.count(b"HTTP/1.1 200 OK"), 4)


class Upstreams(GatewayTest):
    """What providers do wrong."""

    def check_fault(self, url, status, kind, stage, settings=None, streams=(False, True)):
        self.start_gateway(("beta", url, settings or {}))
        for stream in streams:
            with self.subTest(stream=stream):
                answer = self.complete("beta-1", stream=stream)
                self.check_failure(answer, status, kind, provider="beta", stage=stage)

    def test_refuses(self):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = "http://127.0.0.1:%d" % closed.getsockname()[1]
        self.check_fault(url, 502, "upstream_refused", "connect")

    def test_hangs(self):
        beta = self.provider("beta", mode="hang")
        began = time.monotonic()
        self.check_fault(beta.url, 504, "deadline_exceeded", "upstream", {"processing_timeout_ms": 700})
        self.assertGreater(time.monotonic() - began, 1.3)
        eventually(lambda: self.state_of("beta")["jobs"]["running"] == 0, "the worker is free again")

    def test_answers_garbage(self):
        self.check_fault(self.provider("beta", mode="garbage").url, 502, "upstream_invalid_answer", "upstream")

    def test_answers_something_else_than_json(self):
        self.check_fault(self.provider("beta", mode="bad_json").url, 502, "upstream_invalid_answer", "upstream")

    def test_closes_without_an_answer(self):
        self.check_fault(self.fake(b"").url, 502, "upstream_invalid_answer", "upstream")

    def test_answers_with_a_first_line_that_does_not_end(self):
        self.check_fault(self.fake(b"HTTP/1.1 200 " + b"A" * 10_000_000).url, 502, "upstream_invalid_answer", "upstream")

    def test_answers_with_headers_that_do_not_end(self):
        self.check_fault(self.fake(b"HTTP/1.1 200 OK\r\nX: " + b"A" * 10_000_000).url, 502, "upstream_died", "upstream",
                         {"max_answer_bytes": 100000})

    def test_answers_too_much(self):
        data = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"1" * 1_000_000
        self.check_fault(self.fake(data).url, 502, "upstream_invalid_answer", "upstream", {"max_answer_bytes": 100000})

    def test_redirects(self):
        data = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
        self.check_fault(self.fake(data).url, 502, "upstream_invalid_answer", "upstream")

    def test_dies_half_way(self):
        self.check_fault(self.provider("beta", mode="die").url, 502, "upstream_died", "upstream", streams=[False])

    def test_dies_in_the_middle_of_a_stream(self):
        self.start_gateway(("beta", self.provider("beta", mode="die").url, {}))
        answer = self.complete("beta-1", "one two three four", stream=True)
        self.assertEqual(answer.status, 200)
        found = events(answer.body)
        self.assertGreater(len(found), 1)
        self.assertEqual(found[-1][0], "error")
        self.assertEqual(json.loads(found[-1][1])["error"]["type"], "upstream_died")

    def test_dies_in_the_middle_of_an_event(self):
        piece = b'data: {"choices": [{"delta": {"content": "hal'
        data = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" +
                b"%x\r\n%s\r\n" % (len(piece), piece))
        self.start_gateway(("beta", self.fake(data).url, {}))
        answer = self.complete("beta-1", stream=True)
        self.assertEqual([event for event, _ in events(answer.body)], ["message", "error"])

    def test_fails(self):
        self.check_fault(self.provider("beta", error_rate=1).url, 502, "upstream_failed", "upstream")

    def test_what_it_says_to_the_client_is_passed_on(self):
        body = b'{"error": {"message": "slow down"}}'
        data = (b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: 7\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.start_gateway(("beta", self.fake(data).url, {}))
        for stream in (False, True):
            answer = self.complete("beta-1", stream=stream)
            self.assertEqual((answer.status, answer.body, answer.headers["Retry-After"]), (429, body, "7"))

    def test_an_unsolicited_answer_reaches_nobody(self):
        # Two answers to one request, on a connection that stays open: the second must not become the next client's.
        def answer(text):
            body = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
            return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        fake = self.fake([answer("mine") + answer("somebody else's")])
        self.start_gateway(("beta", fake.url, {"workers": 1}))
        for _ in range(5):
            reply = self.complete("beta-1")
            self.assertEqual(reply.json["choices"][0]["message"]["content"], "mine")

    def test_the_gateway_survives_them_all_without_a_leak(self):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            refusing = "http://127.0.0.1:%d" % closed.getsockname()[1]
        beta = self.provider("beta")
        self.start_gateway(("beta", beta.url, {"processing_timeout_ms": 300}), ("gamma", refusing, {}))

        def round_of_faults():
            for mode in ("healthy", "garbage", "bad_json", "die", "hang"):
                beta.control(mode=mode)
                for stream in (False, True):
                    self.complete("beta-1", stream=stream)
                    self.complete("gamma-1", stream=stream)
            beta.control(mode="healthy")
            self.assertEqual(self.complete("beta-1").status, 200)

        round_of_faults()
        eventually(lambda: self.state_of("beta")["jobs"]["running"] == 0, "beta is idle")
        before = self.gateway.descriptors()
        for _ in range(3):
            round_of_faults()
        eventually(lambda: self.gateway.descriptors() <= before, "no descriptor is left behind")


class Load(GatewayTest):
    """Queues, breakers, isolation, and clients that leave."""

    def test_a_full_queue_and_a_wait_that_is_too_long(self):
        beta = self.provider("beta", mode="hang")
        self.start_gateway(("beta", beta.url, {"workers": 1, "queue": 1, "queue_wait_ms": 800,
                                               "processing_timeout_ms": 3000}))
        running = self.background(self.complete, "beta-1")
        eventually(lambda: self.state_of("beta")["jobs"]["running"] == 1, "one runs")
        queued = self.background(self.complete, "beta-1")
        eventually(lambda: self.state_of("beta")["queue"]["depth"] == 1, "one waits")
        for stream in (False, True):
            refused = self.complete("beta-1", stream=stream)
            self.check_failure(refused, 429, "queue_full", provider="beta", stage="admission")
            self.assertGreaterEqual(int(refused.headers["Retry-After"]), 1)
        self.check_failure(queued.result(LIMIT), 504, "deadline_exceeded", provider="beta", stage="queue")
        self.check_failure(running.result(LIMIT), 504, "deadline_exceeded", provider="beta", stage="upstream")

    def test_one_that_hangs_does_not_disturb_the_others(self):
        alpha = self.provider("alpha", latency_ms=10)
        beta = self.provider("beta", mode="hang")
        settings = {"workers": 4, "queue": 4, "queue_wait_ms": 60000, "processing_timeout_ms": 60000}
        self.start_gateway(("alpha", alpha.url, settings), ("beta", beta.url, settings))
        for _ in range(8):
            self.send(chat("beta-1"))
        eventually(lambda: self.state_of("beta")["queue"]["depth"] == 4, "beta is full")
        self.check_failure(self.complete("beta-1"), 429, "queue_full", provider="beta")
        latencies = []
        for number in range(50):
            began = time.monotonic()
            self.assertEqual(self.complete("alpha-1", str(number)).status, 200)
            latencies.append(time.monotonic() - began)
        self.assertLess(sorted(latencies)[25], 0.5)

    def test_the_breaker_opens_and_recovers(self):
        gamma = self.provider("gamma", error_rate=1)
        self.start_gateway(("gamma", gamma.url, {"breaker": {
            "window": 10, "minimum_calls": 4, "failure_rate_percent": 50, "open_for_ms": 400, "half_open_probes": 2}}))
        for _ in range(4):
            self.check_failure(self.complete("gamma-1"), 502, "upstream_failed", provider="gamma")
        asked = gamma.state()["requests"]
        refused = self.complete("gamma-1")
        self.check_failure(refused, 503, "circuit_open", provider="gamma", stage="admission")
        self.assertEqual(refused.headers["Retry-After"], "1")
        self.assertEqual(gamma.state()["requests"], asked)  # the provider has not seen it
        self.assertEqual(self.state_of("gamma")["breaker"]["state"], "open")

        gamma.control(error_rate=0)
        eventually(lambda: self.complete("gamma-1").status == 200, "a probe is let through")
        eventually(lambda: self.complete("gamma-1").status == 200 and
                   self.state_of("gamma")["breaker"]["state"] == "closed", "the breaker closes")
        self.assertEqual(self.state_of("gamma")["breaker"]["entered"], {"open": 1, "half_open": 1, "closed": 1})

    def test_a_client_that_leaves_frees_its_worker(self):
        beta = self.provider("beta", mode="hang")
        self.start_gateway(("beta", beta.url, {"workers": 2, "queue": 2, "queue_wait_ms": 60000,
                                               "processing_timeout_ms": 60000}))
        for stream in (False, True):
            with self.subTest(stream=stream):
                gone = beta.state()["abandoned"]
                body = chat("beta-1", stream=stream)
                running = [self.send(body) for _ in range(2)]
                eventually(lambda: self.state_of("beta")["jobs"]["running"] == 2, "two run")
                waiting = [self.send(body) for _ in range(2)]
                eventually(lambda: self.state_of("beta")["queue"]["depth"] == 2, "two wait")
                for client in waiting:
                    client.close()
                eventually(lambda: self.state_of("beta")["queue"]["depth"] == 0, "nobody waits")
                for client in running:
                    client.close()
                eventually(lambda: self.state_of("beta")["jobs"]["running"] == 0, "nobody works for them")
                # The calls that ran were called off at the provider, and those that waited never reached it.
                eventually(lambda: beta.state()["abandoned"] == gone + 2, "the provider sees them leave, too")
        self.assertEqual(beta.state()["requests"], 4)
        eventually(lambda: self.metric("gateway_responses_total", status="499") == 8, "each is counted once")

    def test_a_client_that_leaves_in_the_middle_of_a_stream(self):
        beta = self.provider("beta", latency_ms=1000)  # half of it before the first word
        self.start_gateway(("beta", beta.url, {"processing_timeout_ms": 60000}))
        client = self.send(chat("beta-1", "many words that come slowly", stream=True))
        self.assertIn(b"200 OK", client.recv(65536))
        client.close()
        eventually(lambda: self.state_of("beta")["jobs"]["running"] == 0, "the worker is free")
        eventually(lambda: beta.state()["abandoned"] == 1, "the provider sees the client leave")

    def test_a_hundred_streams_and_a_health_check(self):
        beta = self.provider("beta", latency_ms=500)
        self.start_gateway(("beta", beta.url, {"workers": 100, "queue": 0}))
        with concurrent.futures.ThreadPoolExecutor(100) as executor:
            streams = [executor.submit(self.complete, "beta-1", str(i), stream=True) for i in range(100)]
            eventually(lambda: self.state_of("beta")["jobs"]["running"] > 50, "they run")
            self.assertEqual(self.ask("GET", "/healthz").status, 200)
            for i, stream in enumerate(streams):
                found = events(stream.result(LIMIT).body)
                self.assertEqual(found[-1][1], "[DONE]")
                self.assertIn(str(i), found[-2][1])

    def test_every_request_is_counted_once(self):
        beta = self.provider("beta", latency_ms=1)
        self.start_gateway(("beta", beta.url, {"workers": 2, "queue": 2, "breaker": {"minimum_calls": 1000, "window": 1000}}))
        with concurrent.futures.ThreadPoolExecutor(16) as executor:
            answers = list(executor.map(lambda i: self.complete("beta-1", str(i), stream=i % 2 == 0).status, range(200)))
        self.assertEqual(set(answers) - {200, 429}, set())
        eventually(lambda: self.state_of("beta")["jobs"]["running"] == 0, "beta is idle")
        self.assertEqual(self.metric("penstock_pool_submitted_total", pool="beta"), 200)
        self.assertEqual(self.metric("penstock_pool_accepted_total", pool="beta"), answers.count(200))
        self.assertEqual(self.metric("penstock_pool_refused_total", pool="beta", reason="rejected"), answers.count(429))
        self.assertEqual(beta.state()["requests"], answers.count(200))
        self.assertEqual(self.metric("gateway_responses_total", status="429"), answers.count(429))


class Ending(GatewayTest):
    """SIGTERM and SIGINT."""

    def test_what_is_in_flight_is_finished_and_what_is_new_is_refused(self):
        beta = self.provider("beta", mode="hang")
        self.start_gateway(("beta", beta.url, {"workers": 4, "queue": 4}))
        plain = [self.background(self.complete, "beta-1", str(i)) for i in range(4)]
        streams = [self.background(lambda: self.complete("beta-1", "a b c", stream=True)) for _ in range(4)]
        eventually(lambda: self.state_of("beta")["queue"]["depth"] == 4, "four run and four wait")
        idle = socket.create_connection(self.gateway.address, timeout=LIMIT)
        self.addCleanup(idle.close)

        self.gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: self.ask("GET", "/healthz").status == 503, "it drains")
        self.check_failure(self.complete("beta-1"), 503, "shutting_down", stage="shutdown")
        self.assertEqual(idle.recv(1), b"")  # a connection without a request is closed
        self.assertTrue(self.ask("GET", "/api/state").json["gateway"]["draining"])

        beta.control(mode="healthy")
        for future in plain:
            self.assertEqual(future.result(LIMIT).status, 200)
        for future in streams:
            self.assertEqual(events(future.result(LIMIT).body)[-1], ("message", "[DONE]"))
        self.assertEqual(self.gateway.wait(), 0)
        self.assertIn("all requests are answered", self.gateway.errors)

    def test_what_cannot_be_finished_is_told_so_when_the_time_is_over(self):
        beta = self.provider("beta", mode="hang")
        self.start_gateway(("beta", beta.url, {"workers": 1, "queue": 1, "queue_wait_ms": 60000,
                                               "processing_timeout_ms": 60000}), server={"drain_timeout_ms": 300})
        futures = [self.background(self.complete, "beta-1") for _ in range(2)]
        eventually(lambda: self.state_of("beta")["queue"]["depth"] == 1, "one runs and one waits")
        began = time.monotonic()
        self.gateway.process.send_signal(signal.SIGINT)
        for future in futures:
            self.check_failure(future.result(LIMIT), 503, "shutting_down", provider="beta", stage="shutdown")
        self.assertEqual(self.gateway.wait(), 0)
        self.assertLess(time.monotonic() - began, 10)

    def test_a_client_that_does_not_read_does_not_hold_it_up(self):
        beta = self.provider("beta")
        self.start_gateway(("beta", beta.url, {}), server={"drain_timeout_ms": 300})
        client = socket.create_connection(self.gateway.address, timeout=LIMIT)
        self.addCleanup(client.close)
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
        self.assertEqual(self.gateway.stop(), 0)

    def test_nothing_to_do(self):
        self.start_gateway(("beta", self.provider("beta").url, {}))
        self.assertEqual(self.gateway.stop(), 0)

    def test_at_once_after_its_start(self):
        beta = self.provider("beta")
        for _ in range(5):
            self.assertEqual(Server("gateway", "--provider", "beta=" + beta.url).stop(), 0)

    def test_a_second_signal_ends_it_at_once(self):
        beta = self.provider("beta", mode="hang")
        self.start_gateway(("beta", beta.url, {"processing_timeout_ms": 60000}))
        future = self.background(self.complete, "beta-1")
        eventually(lambda: self.state_of("beta")["jobs"]["running"] == 1, "it runs")
        self.gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: self.ask("GET", "/healthz").status == 503, "it drains")
        self.gateway.process.send_signal(signal.SIGTERM)
        self.gateway.ends_with = 128 + signal.SIGTERM
        self.assertEqual(self.gateway.wait(), self.gateway.ends_with)
        with self.assertRaises((OSError, http.client.HTTPException)):
            future.result(LIMIT)


class Configuration(GatewayTest):
    """What a gateway says that cannot start."""

    def run_gateway(self, *arguments):
        done = subprocess.run([os.path.join(PROGRAMS, "gateway"), *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=LIMIT)
        self.assertEqual(done.stdout, "")
        return done.returncode, done.stderr

    def run_config(self, text):
        with tempfile.NamedTemporaryFile("w", prefix="bad", suffix=".json") as file:
            file.write(text if isinstance(text, str) else json.dumps(text))
            file.flush()
            code, errors = self.run_gateway("--config", file.name)
        self.assertEqual(code, 78, errors)
        self.assertIn(os.path.basename(file.name), errors.splitlines()[0])
        return errors

    def test_all_violations_are_named_at_once(self):
        errors = self.run_config({
            "server": {"port": 70000, "max_conections": 5},
            "providers": [
                {"name": "a", "url": "ftp://x", "models": ["m"], "workers": 0},
                {"name": "a", "url": "http://127.0.0.1:1", "models": ["m", 3], "queue": "long", "overflow": "caller_runs"},
                {"url": "http://127.0.0.1:1", "models": [], "breaker": {"window": 1.5, "open_for_ms": -1},
                 "api_key_env": "PENSTOCK_TEST_NO_SUCH_VARIABLE"},
                7]})
        for expected in [
                "$.server.port: must be a whole number in [0, 65535], got 70000",
                "$.server.max_conections: there is no such key, expected one of host, port, max_connections",
                "$.providers[0].url: must look like http://host:port or https://host/path, got \"ftp://x\"",
                "$.providers[0].workers: must be a whole number in [1, 256], got 0",
                "$.providers[1].name: 'a' is taken by $.providers[0].name",
                "$.providers[1].models: must be a list of names that is not empty, got [\"m\",3]",
                "$.providers[1].queue: must be a whole number in [0, 4096], got \"long\"",
                "$.providers[1].overflow: must be one of block, reject, drop_newest, drop_oldest, got \"caller_runs\"",
                "$.providers[2].name: must be a text that is not empty, got nothing",
                "$.providers[2].models: must be a list of names that is not empty, got []",
                "$.providers[2].breaker.window: must be a whole number in [1, 10000], got 1.5",
                "$.providers[2].breaker.open_for_ms: must be a number in [1, 86400000], got -1",
                "$.providers[2].api_key_env: must be the name of an environment variable",
                "$.providers[3]: must be an object, got 7"]:
            self.assertIn(expected, errors)

    def test_a_syntax_error_names_its_line(self):
        self.assertIn("line 3, column", self.run_config('{\n  "providers": [\n    {"name" "a"}\n  ]\n}'))

    def test_other_shapes(self):
        self.assertIn("$: must be an object, got [1]", self.run_config("[1]"))
        self.assertIn("$.providers: must be a list, got nothing", self.run_config("{}"))
        self.assertIn("at least one provider, got none", self.run_config({"providers": []}))
        self.assertIn("parse error", self.run_config(""))
        model = {"name": "b", "url": "http://127.0.0.1:1", "models": ["m", "m"]}
        self.assertIn("$.providers[0].models[1]: 'm' is taken by $.providers[0].models[0]",
                      self.run_config({"providers": [model]}))

    def test_sums_that_do_not_fit(self):
        provider = {"name": "b", "url": "http://127.0.0.1:1", "models": ["m"], "workers": 10, "queue": 600}
        self.assertIn("$.server.max_connections: must be at least 642", self.run_config({"providers": [provider]}))
        self.assertIn("$.server.max_connections: must be at most",
                      self.run_config({"server": {"max_connections": 5000}, "providers": [provider]}))

    def test_a_key_does_not_appear_in_any_text(self):
        os.environ["PENSTOCK_TEST_KEY"] = "sk-very-secret"
        self.addCleanup(os.environ.pop, "PENSTOCK_TEST_KEY")
        received = []

        class Listening(FakeProvider):
            def serve(self, connection):
                received.append(connection.recv(65536))
                connection.close()
        beta = Listening(b"")
        self.addCleanup(beta.close)
        self.start_gateway(("beta", beta.url, {"api_key_env": "PENSTOCK_TEST_KEY"}))
        texts = [self.complete("beta-1").body, self.ask("GET", "/api/state").body, self.ask("GET", "/metrics").body]
        self.assertIn(b"Authorization: Bearer sk-very-secret", received[0])
        self.gateway.stop()
        self.assertNotIn(b"secret", b"".join(texts) + self.gateway.errors.encode())

    def test_files_and_flags(self):
        code, errors = self.run_gateway("--config", "/nowhere/gateway.json")
        self.assertEqual((code, errors), (78, "gateway: /nowhere/gateway.json: cannot be read\n"))
        code, errors = self.run_gateway("--provider", "alpha", "--workers", "many", "--quue", "3")
        self.assertEqual(code, 64)
        for expected in ["--provider: expected name=http://host:port, got 'alpha'", "--quue: there is no such flag",
                         "--workers: must be a number in [1, 256], got 'many'", "usage: gateway"]:
            self.assertIn(expected, errors)

    def test_a_port_that_is_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            code, errors = self.run_gateway("--provider", "a=http://127.0.0.1:1", "--port", str(taken.getsockname()[1]))
        self.assertEqual(code, 1)
        self.assertIn("cannot listen on 127.0.0.1:", errors)


if __name__ == "__main__":
    if PROGRAMS is None:
        print("skipped: the programs gateway and provider are not built")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
