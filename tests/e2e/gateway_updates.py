# SPDX-License-Identifier: MIT
"""Changes to a gateway that serves: live updates, and what an operator does by hand."""

import json
import os
import threading

from gateway_scripted import ScriptedProvider, good, limited
from gateway_support import LIMIT, GatewayTest, eventually


class Updates(GatewayTest):
    """Live updates, and the rest of /admin."""

    def put(self, provider, **settings):
        return self.ask("PUT", "/admin/providers/" + provider, {
            "models": [provider + "-1"], "breaker": False, "health": False, "retry": False, **settings})

    def test_under_load_no_request_is_lost_or_answered_twice(self):
        beta = ScriptedProvider(good)
        self.addCleanup(beta.close)
        settings = {"workers": 4, "queue": 64}
        self.start_gateway(("beta", beta.url, settings))
        stop, wrong, asked = threading.Event(), [], []

        def client(number):
            count = 0
            while not stop.is_set() or count < 300:
                content = "%d-%d" % (number, count)
                answer = self.complete("beta-1", content, stream=count % 4 == 3)
                if answer.status != 200 or ('"%s"' % content).encode() not in answer.body:
                    wrong.append((content, answer.status, answer.body))
                asked.append(content)
                count += 1
            return count
        clients = [self.background(client, number) for number in range(8)]
        self.addCleanup(stop.set)  # before the threads are waited for
        for number in range(20):
            before = len(asked)
            eventually(lambda: len(asked) > before + 20, "requests are answered between two updates")
            answer = self.put("beta", url=beta.url, workers=2 + number % 5, queue=64 + number, breaker={},
                              rate_limit={"per_second": 100_000, "burst": 1000} if number % 2 else False,
                              limiter={"algorithm": "fixed", "limit": 3 + number} if number % 3 else False)
            self.assertEqual((answer.status, answer.json["provider"]), (200, "beta"), answer.body)
            self.assertEqual(answer.json["called_off"], 0)
        stop.set()
        total = sum(one.result(LIMIT) for one in clients)
        self.assertEqual(wrong, [])
        self.assertGreaterEqual(total, 2400)
        self.assertEqual(sorted(call.content for call in beta.calls), sorted(asked))  # each was made once
        self.assertEqual(self.state_of("beta")["updates"], 20)

    def test_what_waits_is_moved_and_what_runs_is_finished(self):
        beta = ScriptedProvider(lambda call: beta.hold() or good(call))
        self.addCleanup(beta.close)
        self.start_gateway(("beta", beta.url, {"workers": 1, "queue": 10}))
        requests = [self.background(self.complete, "beta-1", "0")]
        eventually(lambda: beta.count() == 1, "it runs")
        requests += [self.background(self.complete, "beta-1", str(number)) for number in range(1, 4)]
        eventually(lambda: self.state_of("beta")["queue"]["depth"] == 3, "they wait")
        update = self.background(lambda: self.put("beta", url=beta.url, workers=2, queue=20))
        eventually(lambda: beta.count() == 3, "two of those that wait run on the new workers")
        beta.release()
        self.assertEqual([request.result(LIMIT).status for request in requests], [200] * 4)
        self.assertEqual(update.result(LIMIT).json["moved"], 3)
        self.assertEqual(self.state_of("beta")["workers"]["configured"], 2)

    def test_another_address_and_other_models(self):
        old, new = self.provider("beta"), self.provider("beta")
        self.start_gateway(("beta", old.url, {}))
        self.assertEqual(self.put("beta", url=new.url, models=["beta-2"]).status, 200)
        self.assertEqual(self.complete("beta-2").status, 200)
        self.check_failure(self.complete("beta-1"), 404, "unknown_model")
        self.assertEqual((old.state()["requests"], new.state()["requests"]), (0, 1))

    def test_a_key_keeps_its_rest_and_a_new_one_is_used(self):
        beta = ScriptedProvider(lambda call: limited(3600) if call.key == "secret-a" else good(call))
        self.addCleanup(beta.close)
        for name in "ab":
            os.environ["PENSTOCK_TEST_" + name] = "secret-" + name
            self.addCleanup(os.environ.pop, "PENSTOCK_TEST_" + name)
        keys = [{"id": name, "env": "PENSTOCK_TEST_" + name} for name in "ab"]
        self.start_gateway(("beta", beta.url, {"keys": keys[:1]}))
        self.assertEqual(self.complete("beta-1").status, 429)
        self.assertEqual(self.put("beta", url=beta.url, keys=keys).status, 200)
        for _ in range(5):
            self.assertEqual(self.complete("beta-1").status, 200)
        self.assertEqual((beta.count("secret-a"), beta.count("secret-b")), (1, 5))

    def test_what_is_wrong_changes_nothing(self):
        beta = self.provider("beta")
        self.start_gateway(("beta", beta.url, {}), ("alpha", beta.url, {}))
        answer = self.put("beta", url=beta.url, workers=0, health={"start": "soon", "interval": 3},
                          limiter={"algorithm": "magic"}, fallback=7, rate_limit={"per_second": 0})
        self.check_failure(answer, 400, "invalid_request", stage="request")
        for expected in ["$.workers: must be a whole number in [1, 256], got 0",
                         "$.health.start: must be one of unknown, isolated, checked, required, got \"soon\"",
                         "$.health.interval: there is no such key, expected one of path, interval_ms",
                         "$.limiter.algorithm: must be one of fixed, aimd, vegas, gradient, gradient2, got \"magic\"",
                         "$.fallback: must be a list of names, got 7", "$.rate_limit.per_second: must be a number in"]:
            self.assertIn(expected, answer.error["message"])
        for settings, expected in [({"fallback": ["beta"]}, "must be the name of another provider, got 'beta'"),
                                   ({"models": ["alpha-1"]}, "'alpha-1' is taken by"),
                                   ({"name": "gamma"}, "$.name: must be 'beta', as the path says, got 'gamma'"),
                                   ({"batch": {"workers": 7}}, "$.batch: cannot be changed"),
                                   ({"queue": 4000}, "$.server.max_connections: must be at least")]:
            answer = self.put("beta", url=beta.url, **settings)
            self.assertEqual(answer.status, 400)
            self.assertIn(expected, answer.error["message"])
        self.assertEqual(self.ask("PUT", "/admin/providers/beta", "{").status, 400)
        self.check_failure(self.put("gamma", url=beta.url), 404, "unknown_provider")
        self.assertEqual(self.ask("GET", "/admin/providers/beta").status, 405)
        self.assertEqual(self.ask("POST", "/admin/providers/beta/destroy", {}).status, 404)
        self.assertEqual(self.state_of("beta")["updates"], 0)
        self.assertEqual(self.complete("beta-1").status, 200)

    def test_checks_and_breakers_by_hand(self):
        beta = self.provider("beta")
        self.start_gateway(("beta", beta.url, {"breaker": {}, "health": {"interval_ms": 3_600_000, "timeout_ms": 200,
                                                                        "unhealthy_after": 1}}))
        self.assertEqual(self.ask("POST", "/admin/providers/beta/check").json["health"], "healthy")
        beta.control(mode="hang")
        answer = self.ask("POST", "/admin/providers/beta/check").json
        self.assertEqual(answer["health"], "unhealthy")
        self.assertIn("DEADLINE_EXCEEDED", answer["check"])
        beta.control(mode="healthy")
        eventually(lambda: self.ask("POST", "/admin/providers/beta/check").json["health"] == "healthy", "it is back")
        for state, is_open in [("open", True), ("reset", False), ("disabled", False), ("metrics_only", False)]:
            answer = self.ask("POST", "/admin/providers/beta/breaker", {"state": state})
            self.assertEqual(answer.status, 200, answer.body)
            self.assertEqual(self.state_of("beta")["state"], "isolated" if is_open else "ready")
            self.assertEqual(self.complete("beta-1").status, 503 if is_open else 200)
        self.assertEqual(self.ask("POST", "/admin/providers/beta/breaker", {"state": "ajar"}).status, 400)
        self.put("beta", url=beta.url)
        for action in ("check", "breaker"):
            answer = self.ask("POST", "/admin/providers/beta/" + action, {"state": "open"})
            self.check_failure(answer, 409, "conflict", provider="beta")

    def test_the_file_is_read_again(self):
        old, new = self.provider("beta"), self.provider("beta")
        path = os.path.join(self.temporary_folder(), "gateway.json")

        def write(url, name="beta"):
            with open(path, "w", encoding="utf-8") as file:
                json.dump({"providers": [{"name": name, "url": url, "models": ["beta-1"]}]}, file)
        write(old.url)
        self.gateway = self.start("gateway", "--config", path)
        write(new.url)
        answer = self.ask("POST", "/admin/reload")
        self.assertEqual((answer.status, answer.json["updated"][0]["provider"]), (200, "beta"), answer.body)
        self.assertEqual(self.complete("beta-1").status, 200)
        self.assertEqual((old.state()["requests"], new.state()["requests"]), (0, 1))
        for wrong in (lambda: write("nowhere"), lambda: write(new.url, "gamma"), lambda: os.remove(path)):
            wrong()
            self.assertEqual(self.ask("POST", "/admin/reload").status, 400)
        self.assertEqual(self.complete("beta-1").status, 200)

    def test_tokens_and_attempts_are_counted(self):
        beta = self.provider("beta")
        self.start_gateway(("beta", beta.url, {}))
        usage = self.complete("beta-1").json["usage"]
        beta.control(error_rate=1)
        self.complete("beta-1")
        state = self.ask("GET", "/api/state").json["providers"][0]
        self.assertEqual(state["attempts"], {"OK": 1, "INTERNAL": 1})
        self.assertEqual(state["tokens"], {"prompt": usage["prompt_tokens"], "completion": usage["completion_tokens"]})
        self.assertEqual(self.metric("gateway_attempts_total", provider="beta", status="INTERNAL"), 1)
