# SPDX-License-Identifier: MIT
"""What clients of the gateway ask, and what they do wrong."""

import contextlib
import http.client
import json
import socket
import tempfile
import time

from gateway_support import LIMIT, GatewayTest, Server, chat, events


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
        self.check_failure(self.ask("POST", "/v1/chat/completions", b"x" * 5_000_000), 413, "body_too_large")

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
        for data in [b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03\r\n\r\n", b"GET\r\n\r\n", b"BREW / HTTP/1.1\r\n\r\n"]:
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
