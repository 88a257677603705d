# SPDX-License-Identifier: MIT
"""What the providers behind the gateway do wrong."""

import json
import socket
import time

from gateway_support import GatewayTest, eventually, events


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
        data = b"HTTP/1.1 200 " + b"A" * 10_000_000
        self.check_fault(self.fake(data).url, 502, "upstream_invalid_answer", "upstream")

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
            body = json.dumps({"choices": [{"message": {"content": text}}]}).encode() + b" " * 6000
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

        fake = self.fake(answer("mine") + answer("somebody else's"), stays=True)
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

    def connections(self):
        return self.ask("GET", "/api/state").json["providers"][0]["connections"]

    def test_one_connection_serves_one_call_after_the_other(self):
        self.start_gateway(("beta", self.provider("beta").url, {"workers": 4}))
        for _ in range(5):
            self.assertEqual(self.complete("beta-1").status, 200)
        self.assertEqual(self.connections(), {"used": 0, "idle": 1, "made": 1, "closed_idle": 0})
        self.assertEqual(self.metric("penstock_slot_queue_idle", queue="beta"), 1)

    def test_a_connection_that_nobody_uses_is_closed(self):
        self.start_gateway(("beta", self.provider("beta").url, {"keep_idle_ms": 50}))
        before = self.gateway.descriptors()
        self.assertEqual(self.complete("beta-1").status, 200)
        eventually(lambda: self.connections()["closed_idle"] == 1, "it was idle for too long")
        self.assertEqual(self.connections(), {"used": 0, "idle": 0, "made": 1, "closed_idle": 1})
        eventually(lambda: self.gateway.descriptors() <= before + 1, "its descriptors are closed")  # one is the client's
        self.assertEqual(self.complete("beta-1").status, 200)
