# SPDX-License-Identifier: MIT
"""Providers that hang, are killed, become slow and heal: who isolates them, who notices, and when they are back."""

import threading
import time

from gateway_scripted import ScriptedProvider, failed, good, limited
from gateway_support import LIMIT, GatewayTest, Server, chat, eventually, events

HEALTH = {"interval_ms": 100, "timeout_ms": 100, "unhealthy_after": 2}


class Isolation(GatewayTest):
    """What a provider in trouble means for its requests, and for those of the others."""

    def wait_for_state(self, provider, state):
        return eventually(lambda: self.state_of(provider)["state"] == state, "%s is %s" % (provider, state))

    def test_one_that_hangs_is_isolated_and_recovers_and_the_others_do_not_notice(self):
        alpha, beta = self.provider("alpha"), self.provider("beta")
        patient = {"health": HEALTH, "processing_timeout_ms": 60_000, "queue_wait_ms": 60_000}
        self.start_gateway(("alpha", alpha.url, patient), ("beta", beta.url, patient))
        self.wait_for_state("beta", "ready")
        stop, seen = threading.Event(), []

        def keep_asking():
            while not stop.is_set():
                began = time.monotonic()
                seen.append((self.complete("alpha-1").status, time.monotonic() - began))
        asking = self.background(keep_asking)
        self.addCleanup(stop.set)  # before the thread is waited for
        beta.control(mode="hang")
        stuck = [self.send(chat("beta-1")) for _ in range(4)]
        began = time.monotonic()
        self.wait_for_state("beta", "isolated")
        self.assertLess(time.monotonic() - began, 10)  # far less than any call's own time
        refused = self.complete("beta-1")
        self.check_failure(refused, 503, "unhealthy", provider="beta", stage="admission")
        self.assertGreaterEqual(int(refused.headers["Retry-After"]), 1)
        self.assertEqual(self.state_of("alpha")["state"], "ready")
        beta.control(mode="healthy")
        self.wait_for_state("beta", "ready")
        self.assertEqual(self.complete("beta-1").status, 200)
        stop.set()
        asking.result(LIMIT)
        self.assertEqual({status for status, _ in seen}, {200})
        self.assertLess(sorted(took for _, took in seen)[len(seen) // 2], 0.5)
        for connection in stuck:
            connection.close()

    def test_one_that_is_killed_is_isolated_and_recovers_once_it_is_started_again(self):
        beta = self.provider("beta")
        self.start_gateway(("beta", beta.url, {"health": HEALTH}))
        self.wait_for_state("beta", "ready")
        beta.process.kill()
        beta.ends_with = -9
        self.wait_for_state("beta", "isolated")
        self.check_failure(self.complete("beta-1"), 503, "unhealthy", provider="beta", stage="admission")
        self.assertIn("cannot connect", self.state_of("beta")["health"]["last_status"])
        self.provider("beta", port=beta.address[1])
        self.wait_for_state("beta", "ready")
        self.assertEqual(self.complete("beta-1").status, 200)

    def test_one_that_begins_isolated_is_ready_after_its_first_check(self):
        beta = self.provider("beta", mode="hang")
        self.start_gateway(("beta", beta.url, {"health": {**HEALTH, "start": "isolated"}}))
        self.assertEqual(self.state_of("beta")["state"], "isolated")
        beta.control(mode="healthy")
        self.wait_for_state("beta", "ready")

    def test_checks_feed_the_breaker(self):
        beta = self.provider("beta", mode="hang")
        self.start_gateway(("beta", beta.url, {
            "health": {**HEALTH, "unhealthy_after": 1000, "feeds_breaker": True},
            "breaker": {"window": 4, "minimum_calls": 2, "open_for_ms": 200, "half_open_probes": 1}}))
        eventually(lambda: self.state_of("beta")["breaker"]["state"] == "open", "nobody had to ask")
        beta.control(mode="healthy")
        eventually(lambda: self.state_of("beta")["breaker"]["state"] == "closed", "a check was the probe")

    def keep_busy(self, model, clients):
        stop = threading.Event()

        def keep_asking():
            while not stop.is_set():
                self.complete(model)
        for _ in range(clients):
            self.background(keep_asking)
        self.addCleanup(stop.set)  # before the threads are waited for

    def test_one_that_is_slow_gets_fewer_calls_at_a_time_and_no_more_workers(self):
        beta = self.provider("beta", latency_ms=100)
        self.start_gateway(("beta", beta.url, {
            "workers": 2, "queue": 100,
            "limiter": {"algorithm": "aimd", "initial": 8, "min": 1, "max": 8, "slow_ms": 50},
            "scaling": {"min_workers": 2, "max_workers": 8, "interval_ms": 50, "up_cooldown_ms": 0}}))
        self.assertEqual(self.state_of("beta")["limiter"]["limit"], 8)
        self.keep_busy("beta-1", 6)
        eventually(lambda: self.state_of("beta")["limiter"]["limit"] == 1, "one at a time")
        eventually(lambda: self.state_of("beta")["scaling"]["last_reason"] == "limited", "more workers cannot help")
        self.assertEqual(self.state_of("beta")["scaling"]["workers_added"], 0)

    def test_a_rush_is_followed_by_more_workers(self):
        beta = self.provider("beta", latency_ms=50)
        self.start_gateway(("beta", beta.url, {
            "workers": 1, "queue": 100,
            "scaling": {"min_workers": 1, "max_workers": 8, "interval_ms": 50, "up_cooldown_ms": 0}}))
        self.keep_busy("beta-1", 12)
        eventually(lambda: self.state_of("beta")["workers"]["configured"] > 1, "there are more workers")
        self.assertGreater(self.state_of("beta")["scaling"]["scale_ups"], 0)

    def test_a_rate_limit_shapes_what_comes(self):
        beta = self.provider("beta", latency_ms=0)
        self.start_gateway(("beta", beta.url, {"rate_limit": {"per_second": 20, "burst": 1}}))
        began = time.monotonic()
        for _ in range(11):
            self.assertEqual(self.complete("beta-1").status, 200)
        self.assertGreaterEqual(time.monotonic() - began, 0.5)
        self.assertEqual(self.state_of("beta")["rate_limit"]["acquired"], 11)


class Fallback(GatewayTest):
    """Who answers in whose place."""

    def start_with_fallback(self, alpha, settings=None):
        self.beta = self.provider("beta")
        self.start_gateway(("alpha", alpha, {"fallback": ["beta"], **(settings or {})}), ("beta", self.beta.url, {}))

    def test_one_that_fails_or_is_isolated_is_replaced(self):
        for what, settings in [("fails", {}), ("is refused", {"breaker": {"window": 2, "minimum_calls": 1}})]:
            with self.subTest(what=what):
                alpha = ScriptedProvider(lambda call: failed())
                self.addCleanup(alpha.close)
                self.start_with_fallback(alpha.url, settings)
                for _ in range(3):
                    answer = self.complete("alpha-1")
                    self.assertEqual((answer.status, answer.headers["X-Provider"]), (200, "beta"), answer.body)
                    self.assertEqual(answer.json["model"], "beta-1")  # as it is called there
                if settings:
                    self.assertEqual(alpha.count(), 1)

    def test_a_stream_comes_from_the_other_one_unless_it_has_begun(self):
        alpha = ScriptedProvider(lambda call: failed())
        self.addCleanup(alpha.close)
        self.start_with_fallback(alpha.url)
        answer = self.complete("alpha-1", stream=True)
        self.assertEqual((answer.status, answer.headers["X-Provider"]), (200, "beta"), answer.body)
        self.assertEqual(events(answer.body)[-1], ("message", "[DONE]"))

        piece = b'data: {"choices": [{"delta": {"content": "half"}}]}\n\n'
        half = self.fake(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" +
                         b"%x\r\n%s\r\n" % (len(piece), piece))
        self.start_with_fallback(half.url)
        answer = self.complete("alpha-1", stream=True)
        self.assertEqual([event for event, _ in events(answer.body)], ["message", "error"])
        self.assertEqual(self.beta.state()["requests"], 0)

    def test_what_the_client_has_done_wrong_is_the_same_elsewhere(self):
        alpha = ScriptedProvider(lambda call: (400, {}, {"error": {"message": "too long"}}))
        self.addCleanup(alpha.close)
        self.start_with_fallback(alpha.url)
        answer = self.complete("alpha-1")
        self.assertEqual((answer.status, answer.headers["X-Provider"]), (400, "alpha"))
        self.assertEqual(self.beta.state()["requests"], 0)

    def test_if_all_fail_the_answer_names_them(self):
        alpha = ScriptedProvider(lambda call: failed() if call.content != "limit" else limited(3))
        self.addCleanup(alpha.close)
        self.start_with_fallback(alpha.url)
        self.beta.control(error_rate=1)
        answer = self.complete("alpha-1")
        self.check_failure(answer, 502, "upstream_failed", provider="alpha")
        self.assertIn("beta", answer.error["message"])
        self.beta.control(error_rate=0)
        self.assertEqual(self.complete("alpha-1", "limit").headers["X-Provider"], "beta")
