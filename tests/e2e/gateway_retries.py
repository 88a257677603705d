# SPDX-License-Identifier: MIT
"""When the gateway tries again, when it does not, and that nobody is answered twice or holds a worker meanwhile."""

import concurrent.futures
import math
import re
import signal
import threading
import time

from gateway_scripted import ScriptedProvider, failed, good, limited
from gateway_support import LIMIT, GatewayTest, chat, events, eventually

QUICK = {"attempts": 3, "initial_ms": 1, "max_ms": 1, "budget_ratio": 100, "budget_capacity": 1000}
MINUTE = {"attempts": 3, "initial_ms": 60_000, "max_ms": 60_000}
PATIENT = {"queue_wait_ms": 120_000, "processing_timeout_ms": 120_000}


def fails_first(times):
    """A script: each content is refused so many times before it is served."""
    lock, seen = threading.Lock(), {}

    def script(call):
        with lock:
            seen[call.content] = seen.get(call.content, 0) + 1
            return failed() if seen[call.content] <= times else good(call)
    return script


class Retries(GatewayTest):
    """Another attempt, and none."""

    def start_scripted(self, script, settings, server=None):
        beta = ScriptedProvider(script)
        self.addCleanup(beta.close)
        self.start_gateway(("beta", beta.url, settings), server=server)
        return beta

    def retry_state(self):
        state = self.ask("GET", "/api/state").json
        return {**state["router"]["providers"][0]["retry"], "waiting": state["providers"][0]["waiting_for_retry"]}

    def test_a_burst_of_failures_is_not_seen_by_the_clients(self):
        beta = self.start_scripted(fails_first(2), {"retry": QUICK, "workers": 4, "queue": 100})
        with concurrent.futures.ThreadPoolExecutor(16) as executor:
            answers = list(executor.map(
                lambda i: (self.complete("beta-1", "no %d" % i, stream=i % 2 == 0), "no %d" % i), range(100)))
        for answer, content in answers:
            self.assertEqual(answer.status, 200, answer.body)
            self.assertIn('"content": "%s"' % content, answer.body.decode())
            self.assertEqual(beta.attempts(content), 3)
        self.assertEqual(beta.count(), 300)
        state = self.retry_state()
        self.assertEqual((state["calls"], state["retries"], state["succeeded_after_retry"], state["waiting"]),
                         (100, 200, 100, 0))
        self.assertEqual(self.metric("penstock_pool_accepted_total", pool="beta"), 300)

    def test_the_last_failure_is_told(self):
        retry = {"max_retries": 2, "initial": "1ms", "max": 5}  # the other words for QUICK
        beta = self.start_scripted(lambda call: failed(500), {"retry": retry})
        for stream in (False, True):
            answer = self.complete("beta-1", stream=stream)
            self.check_failure(answer, 502, "upstream_failed", provider="beta", stage="upstream")
            self.assertIn("after 3 attempts", answer.error["message"])
        self.assertEqual(beta.count(), 6)

    def test_what_the_client_has_done_wrong_is_not_tried_again(self):
        beta = self.start_scripted(lambda call: (400, {}, {"error": {"message": "too long"}}), {"retry": QUICK})
        answer = self.complete("beta-1")
        self.assertEqual((answer.status, answer.error["message"], beta.count()), (400, "too long", 1))

    def test_a_limit_that_lasts_too_long_is_passed_on(self):
        beta = self.start_scripted(lambda call: limited(7), {"retry": {**QUICK, "max_retry_after_ms": 6999}})
        for stream in (False, True):
            answer = self.complete("beta-1", stream=stream)
            self.assertEqual((answer.status, answer.headers["Retry-After"]), (429, "7"))
            self.assertEqual(answer.error["message"], "slow down")
        self.assertEqual(beta.count(), 2)

    def test_the_time_that_the_upstream_asks_for_wins(self):
        for answer in (limited(1), (503, {"Retry-After": "1"}, {})):
            with self.subTest(status=answer[0]):
                beta = self.start_scripted(lambda call: answer if call.number == 1 else good(call),
                                           {"retry": MINUTE, **PATIENT})
                self.assertEqual(self.complete("beta-1").status, 200)
                self.assertGreaterEqual(beta.calls[1].time - beta.calls[0].time, 1.0)

    def test_who_waits_for_another_attempt_holds_no_worker(self):
        beta = self.start_scripted(lambda call: failed() if call.content == "unlucky" else good(call),
                                   {"retry": MINUTE, "workers": 1, "queue": 0, **PATIENT})
        clients = [self.send(chat("beta-1", "unlucky", stream=stream)) for stream in (False, True)]
        for number, client in enumerate(clients, 1):
            eventually(lambda: self.retry_state()["waiting"] >= 1, "the first attempt has failed")
        eventually(lambda: self.state_of("beta")["jobs"]["running"] == 0, "the worker is free")
        for number in range(5):
            eventually(lambda: self.complete("beta-1", "lucky").status == 200, "it serves others")
        for client in clients:
            client.close()
        eventually(lambda: self.retry_state()["waiting"] == 0, "nobody waits for those who have left")

    def test_only_so_many_wait_for_another_attempt(self):
        beta = self.start_scripted(lambda call: failed(), {"retry": {**MINUTE, "waiting": 1}, **PATIENT})
        first = self.send(chat("beta-1", "first"))
        eventually(lambda: self.retry_state()["waiting"] == 1, "one waits")
        self.check_failure(self.complete("beta-1", "second"), 502, "upstream_failed", provider="beta")
        self.assertEqual(beta.count(), 2)
        first.close()

    def test_the_budget(self):
        began = time.monotonic()
        beta = self.start_scripted(lambda call: failed(), {
            "retry": {**QUICK, "attempts": 10, "budget_ratio": 0, "budget_capacity": 5}})
        for _ in range(50):
            self.check_failure(self.complete("beta-1"), 502, "upstream_failed", provider="beta")
        # What is saved up, and one for each second.
        self.assertLessEqual(beta.count(), 50 + 5 + 1 + math.ceil(time.monotonic() - began))
        self.assertGreaterEqual(beta.count(), 50 + 5)

    def test_nothing_is_tried_again_while_the_breaker_is_open(self):
        beta = self.start_scripted(lambda call: failed(), {
            "retry": {**QUICK, "attempts": 100},
            "breaker": {"window": 10, "minimum_calls": 4, "failure_rate_percent": 50, "open_for_ms": 60_000}})
        self.check_failure(self.complete("beta-1"), 502, "upstream_failed", provider="beta")
        self.assertEqual(beta.count(), 4)
        self.check_failure(self.complete("beta-1"), 503, "circuit_open", provider="beta")
        self.assertEqual(beta.count(), 4)

    def test_a_full_queue_is_not_tried_again(self):
        beta = self.start_scripted(lambda call: beta.hold() or good(call), {"retry": QUICK, "workers": 1, "queue": 0})
        first = self.background(self.complete, "beta-1")
        eventually(lambda: beta.count() == 1, "it runs")
        self.check_failure(self.complete("beta-1"), 429, "queue_full", provider="beta")
        self.assertEqual(self.retry_state()["retries"], 0)
        beta.release()
        self.assertEqual(first.result(LIMIT).status, 200)

    def test_a_stream_that_has_begun_is_not_tried_again(self):
        piece = b'data: {"choices": [{"delta": {"content": "half"}}]}\n\n'
        fake = self.fake(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" +
                         b"%x\r\n%s\r\n" % (len(piece), piece))
        self.start_gateway(("beta", fake.url, {"retry": QUICK}))
        found = events(self.complete("beta-1", stream=True).body)
        self.assertEqual([event for event, _ in found], ["message", "error"])
        self.assertEqual(self.retry_state()["retries"], 0)

    def test_the_end_in_the_middle_of_a_burst(self):
        # Each request is refused once. The second attempts hang until after the signal, and half of the requests have
        # not even had their first one.
        refuse = fails_first(1)

        def script(call):
            answer = refuse(call)
            if answer[0] == 200:
                beta.hold()
            return answer

        beta = self.start_scripted(script, {"retry": {**QUICK, "waiting": 100}, "workers": 4, "queue": 100, **PATIENT})
        futures = {str(i): self.background(lambda i=i: self.complete("beta-1", str(i), stream=i % 2 == 0))
                   for i in range(24)}
        eventually(lambda: self.state_of("beta")["jobs"]["running"] == 4 and
                   sum(1 for i in futures if beta.attempts(i) == 2) == 4, "four hang in their second attempt")
        # The rest stands in the queue, with its first attempt or its second.
        eventually(lambda: self.state_of("beta")["queue"]["depth"] == 20, "all others wait")
        self.gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: self.ask("GET", "/healthz").status == 503, "it drains")
        self.check_failure(self.complete("beta-1", "late"), 503, "shutting_down", stage="shutdown")
        beta.release()
        for content, future in futures.items():
            answer = future.result(LIMIT)
            self.assertEqual(answer.status, 200, answer.body)
            self.assertIn('"content": "%s"' % content, answer.body.decode())
            self.assertEqual(beta.attempts(content), 2)
        self.assertEqual((self.gateway.wait(), beta.attempts("late")), (0, 0))
        self.assertIn("all requests are answered", self.gateway.errors)
        self.check_books(jobs=48, succeeded=24, failed=24, requests=24, attempts=48)

    def test_the_end_does_not_wait_for_another_attempt_for_ever(self):
        beta = self.start_scripted(lambda call: failed(), {"retry": MINUTE, **PATIENT}, {"drain_timeout_ms": 300})
        futures = [self.background(lambda s=stream: self.complete("beta-1", stream=s)) for stream in (False, True)]
        eventually(lambda: self.retry_state()["waiting"] == 2, "both wait for another attempt")
        self.gateway.process.send_signal(signal.SIGTERM)
        for future in futures:
            self.check_failure(future.result(LIMIT), 503, "shutting_down", provider="beta", stage="shutdown")
        self.assertEqual((self.gateway.wait(), beta.count()), (0, 2))
        self.check_books(jobs=2, succeeded=0, failed=2, requests=2, attempts=2)

    def check_books(self, jobs, succeeded, failed, requests, attempts):
        """What the gateway says at its end: nothing accepted is missing, and nothing runs any more."""
        line = next(line for line in self.gateway.errors.splitlines() if line.startswith("beta: "))
        numbers = {what: int(number) for number, what in re.findall(r"(\d+) ([a-z ]+)", line)}
        accepted = numbers["jobs accepted"]
        ends = ("succeeded", "failed", "threw", "cancelled", "expired", "timed out", "displaced", "abandoned")
        self.assertEqual(accepted, sum(numbers[end] for end in ends), line)
        self.assertEqual((accepted, numbers["succeeded"], numbers["failed"]), (jobs, succeeded, failed), line)
        self.assertEqual((numbers["requests"], numbers["attempts"], numbers["running"]), (requests, attempts, 0), line)
