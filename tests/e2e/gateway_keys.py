# SPDX-License-Identifier: MIT
"""API keys of the gateway: rests, revoked keys, weights, sessions. A key is never used while it is disabled."""

import concurrent.futures
import os

from gateway_scripted import ScriptedProvider, good, limited, refused
from gateway_support import LIMIT, GatewayTest, eventually

RETRY = {"attempts": 3, "initial_ms": 1, "max_ms": 1, "budget_ratio": 100, "budget_capacity": 1000}


class Keys(GatewayTest):
    """What the keys of a provider go through."""

    def start_with_keys(self, script, keys, **settings):
        """Keys are id: settings; the secret of the key "a" is "secret-a"."""
        beta = ScriptedProvider(script)
        self.addCleanup(beta.close)
        for name in keys:
            os.environ["PENSTOCK_TEST_" + name] = "secret-" + name
            self.addCleanup(os.environ.pop, "PENSTOCK_TEST_" + name, None)
        self.start_gateway(("beta", beta.url, {"retry": RETRY, "keys": [
            {"id": name, "env": "PENSTOCK_TEST_" + name, **limits} for name, limits in keys.items()], **settings}))
        return beta

    def key(self, name):
        for key in self.state_of("beta")["lease"]["resources"]:
            if key["id"] == name:
                return key
        raise AssertionError("no key " + name)

    def check_leases(self, beta):
        """There was one for each call, and all have come back."""
        eventually(lambda: self.metric("penstock_resources_in_use", pool="beta") == 0, "all are back")
        self.assertEqual(self.metric("penstock_resources_leases_total", pool="beta"), beta.count())
        self.assertEqual(self.metric("penstock_resources_returns_total", pool="beta"), beta.count())

    def check_taken_out(self, bad_answer):
        """Key a answers with bad_answer; b is a spare, so that a is tried first. A hundred requests at once."""
        beta = self.start_with_keys(lambda call: bad_answer if call.key == "secret-a" else good(call),
                                    {"a": {"max_concurrent": 1}, "b": {"weight": 0, "max_concurrent": 4}}, workers=4,
                                    queue=200)
        with concurrent.futures.ThreadPoolExecutor(16) as executor:
            answers = list(executor.map(
                lambda i: (self.complete("beta-1", str(i), stream=i % 2 == 0), str(i)), range(100)))
        tried_with_a = [call.content for call in beta.calls if call.key == "secret-a"]
        for answer, content in answers:
            self.assertEqual(answer.status, 200, answer.body)
            self.assertIn('"content": "%s"' % content, answer.body.decode())
            self.assertEqual(beta.attempts(content), 1 if content not in tried_with_a else 2)
        # The call that it was disabled after is the last one.
        self.assertEqual((beta.count("secret-a"), beta.count("secret-b")), (1, 100))
        self.assertEqual((self.key("a")["disabled"], self.key("b")["disabled"]), (True, False))
        self.assertEqual((self.key("a")["errors"], self.key("b")["errors"]), (1, 0))
        self.check_leases(beta)

    def test_one_that_has_reached_its_limit_rests_and_another_one_goes_on(self):
        self.check_taken_out(limited(3600))

    def test_one_that_is_refused_is_out_and_another_one_goes_on(self):
        self.check_taken_out(refused())

    def test_a_rest_without_a_time(self):
        self.check_taken_out(limited())  # key_rest_ms, 30 s unless said

    def test_one_that_rests_is_used_again_when_its_time_has_come_and_not_before(self):
        beta = self.start_with_keys(lambda call: limited(1) if call.key == "secret-a" else good(call),
                                    {"a": {"max_concurrent": 1}, "b": {"weight": 0, "max_concurrent": 4}}, workers=4,
                                    queue=200)

        def ask_until_it_was_used_three_times():
            answers = []
            while beta.count("secret-a") < 3:
                answers.append(self.complete("beta-1").status)
            return answers

        with concurrent.futures.ThreadPoolExecutor(4) as executor:
            futures = [executor.submit(ask_until_it_was_used_three_times) for _ in range(4)]
            answers = [status for future in futures for status in future.result(LIMIT)]
        self.assertEqual(set(answers), {200})
        used = [call.time for call in beta.calls if call.key == "secret-a"]
        for earlier, later in zip(used, used[1:]):
            self.assertGreaterEqual(later - earlier, 1.0)
        self.assertEqual(beta.count("secret-b"), len(answers))  # each request was answered once
        self.check_leases(beta)

    def test_all_are_refused(self):
        beta = self.start_with_keys(lambda call: refused(), {"a": {}, "b": {}})
        for stream in (False, True, False):
            answer = self.complete("beta-1", stream=stream)
            self.check_failure(answer, 503, "no_key", provider="beta", stage="admission")
        self.assertEqual(sorted(call.key for call in beta.calls), ["secret-a", "secret-b"])
        self.assertNotIn(b"sk-", answer.body)
        self.check_leases(beta)

    def test_the_only_one_is_refused(self):
        beta = self.start_with_keys(lambda call: refused(), {"a": {}})
        self.check_failure(self.complete("beta-1"), 502, "key_refused", provider="beta", stage="upstream")
        self.check_failure(self.complete("beta-1"), 503, "no_key", provider="beta", stage="admission")
        self.assertEqual(beta.count(), 1)

    def test_all_rest_for_longer_than_anybody_waits(self):
        beta = self.start_with_keys(lambda call: limited(3600), {"a": {}, "b": {}})
        for _ in range(3):
            answer = self.complete("beta-1")
            self.check_failure(answer, 503, "no_key", provider="beta", stage="admission")
            self.assertGreater(int(answer.headers["Retry-After"]), 3000)
        self.assertEqual(sorted(call.key for call in beta.calls), ["secret-a", "secret-b"])

    def test_the_only_one_rests_and_is_waited_for(self):
        # What the upstream asks for is kept, not the formula's: that would be a minute, or nothing.
        for initial_ms in (1, 60_000):
            with self.subTest(initial_ms=initial_ms):
                beta = self.start_with_keys(lambda call: limited(1) if call.number == 1 else good(call), {"a": {}},
                                            retry={**RETRY, "initial_ms": initial_ms, "max_ms": initial_ms})
                self.assertEqual(self.complete("beta-1").status, 200)
                self.assertEqual(beta.count(), 2)
                self.assertGreaterEqual(beta.calls[1].time - beta.calls[0].time, 1.0)
                self.assertFalse(self.key("a")["disabled"])

    def test_all_are_busy(self):
        beta = self.start_with_keys(lambda call: beta.hold() or good(call), {"a": {"max_concurrent": 1}}, workers=2,
                                    key_wait_ms=50)
        first = self.background(self.complete, "beta-1", "first")
        eventually(lambda: beta.count() == 1, "the key is in use")
        second = self.complete("beta-1", "second")
        self.check_failure(second, 429, "keys_busy", provider="beta", stage="admission")
        beta.release()
        self.assertEqual(first.result(LIMIT).status, 200)
        self.assertEqual(self.complete("beta-1", "third").status, 200)
        self.assertEqual(beta.attempts("second"), 0)

    def test_a_call_that_hangs_gives_its_key_back(self):
        beta = self.start_with_keys(lambda call: (beta.hold() if call.content == "hang" else None) or good(call),
                                    {"a": {"max_concurrent": 1}, "b": {"weight": 0}}, processing_timeout_ms=300)
        self.check_failure(self.complete("beta-1", "hang"), 504, "deadline_exceeded", provider="beta")
        eventually(lambda: self.key("a")["in_use"] == 0, "it is back")
        self.assertEqual(self.complete("beta-1").status, 200)
        self.assertEqual(beta.attempts("hang"), 1)  # its time was up: nothing is left for another attempt
        self.check_leases(beta)

    def test_the_weights(self):
        beta = self.start_with_keys(good, {"a": {"weight": 1}, "b": {"weight": 0}})
        for _ in range(10):
            self.assertEqual(self.complete("beta-1").status, 200)
        self.assertEqual((beta.count("secret-a"), beta.count("secret-b")), (10, 0))

    def test_a_session_stays_with_its_key(self):
        beta = self.start_with_keys(good, {name: {} for name in "abcd"})
        for session in ("one", "two", "three"):
            first = len(beta.calls)
            for stream in [False, True] * 5:
                self.assertEqual(self.complete("beta-1", prompt_cache_key=session, stream=stream).status, 200)
            self.assertEqual(len({call.key for call in beta.calls[first:]}), 1)
        self.check_failure(self.complete("beta-1", prompt_cache_key=7), 400, "invalid_request", stage="request")

    def test_no_key_appears_in_any_text(self):
        self.start_with_keys(lambda call: refused() if call.key == "secret-a" else good(call),
                             {"a": {}, "b": {"weight": 0}})
        texts = [self.complete("beta-1").body, self.ask("GET", "/api/state").body, self.ask("GET", "/metrics").body]
        self.gateway.stop()
        self.assertNotIn(b"secret", b"".join(texts) + self.gateway.errors.encode())
