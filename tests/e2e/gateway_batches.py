# SPDX-License-Identifier: MIT
"""Many requests in one, and the trace of a run."""

import json
import os
import subprocess
import tempfile

from gateway_scripted import ScriptedProvider, failed, good, limited
from gateway_support import LIMIT, PROGRAMS, GatewayTest, chat, eventually


class Batches(GatewayTest):
    """POST /v1/batch."""

    def scripted(self, script):
        provider = ScriptedProvider(script)
        self.addCleanup(provider.close)
        return provider

    def batch(self, requests, **more):
        return self.ask("POST", "/v1/batch", {"requests": requests, **more})

    def statuses(self, answer):
        self.assertEqual(answer.status, 200, answer.body)
        return [each["status"] for each in answer.json["answers"]]

    def test_one_question_to_several_providers(self):
        alpha, gamma = self.scripted(good), self.scripted(lambda call: failed())
        self.start_gateway(("alpha", alpha.url, {}), ("gamma", gamma.url, {}))
        answer = self.batch([chat("gamma-1", "why?"), chat("alpha-1", "why?")])
        self.assertEqual(self.statuses(answer), [502, 200])
        answers = [each["body"] for each in answer.json["answers"]]
        self.assertEqual((answers[0]["error"]["type"], answers[0]["error"]["provider"]), ("upstream_failed", "gamma"))
        self.assertEqual(answers[1]["choices"][0]["message"]["content"], "why?")

    def test_the_answers_are_in_the_order_of_the_requests(self):
        alpha, beta = self.scripted(good), self.scripted(good)
        self.start_gateway(("alpha", alpha.url, {}), ("beta", beta.url, {"batch": {"workers": 1}}))
        requests = [chat("alpha-1" if i % 3 else "beta-1", str(i)) for i in range(64)]
        answer = self.batch(requests)
        self.assertEqual(self.statuses(answer), [200] * 64)
        self.assertEqual([each["body"]["choices"][0]["message"]["content"] for each in answer.json["answers"]],
                         [str(i) for i in range(64)])
        self.assertEqual((alpha.count(), beta.count()), (42, 22))

    def test_each_is_tried_again_by_itself(self):
        alpha = self.scripted(lambda call: failed() if alpha.attempts(call.content) == 1 else good(call))
        self.start_gateway(("alpha", alpha.url, {"retry": {"initial_ms": 1, "max_ms": 1}}))
        self.assertEqual(self.statuses(self.batch([chat("alpha-1", str(i)) for i in range(20)])), [200] * 20)
        self.assertEqual(alpha.count(), 40)

    def test_what_an_upstream_says_to_the_client_is_an_answer(self):
        alpha = self.scripted(lambda call: limited(3600) if call.content == "much" else good(call))
        self.start_gateway(("alpha", alpha.url, {}))
        answer = self.batch([chat("alpha-1", "much"), chat("alpha-1")], stop_on_error=True)
        self.assertEqual(self.statuses(answer), [429, 200])
        self.assertEqual(answer.json["answers"][0]["body"]["error"]["message"], "slow down")

    def test_the_first_error_calls_off_the_rest(self):
        alpha = self.scripted(lambda call: alpha.hold() or good(call))

        def fail_late(call):
            eventually(lambda: alpha.count() == 2, "both workers of alpha's batches are busy")
            return failed()

        gamma = self.scripted(fail_late)
        self.start_gateway(("alpha", alpha.url, {}), ("gamma", gamma.url, {}))
        answer = self.batch([*(chat("alpha-1", str(i)) for i in range(4)), chat("gamma-1")], stop_on_error=True)
        self.assertEqual(self.statuses(answer), [424] * 4 + [502])
        self.assertEqual(answer.json["answers"][0]["body"]["error"]["type"], "called_off")
        eventually(lambda: self.state_of("alpha")["jobs"]["running"] == 0, "nobody works for them")
        self.assertEqual(alpha.count(), 2)  # two were asked, and two never

    def test_without_it_the_rest_goes_on(self):
        alpha, gamma = self.scripted(good), self.scripted(lambda call: failed())
        self.start_gateway(("alpha", alpha.url, {}), ("gamma", gamma.url, {}))
        answer = self.batch([chat("gamma-1"), *(chat("alpha-1", str(i)) for i in range(10))])
        self.assertEqual(self.statuses(answer), [502] + [200] * 10)

    def test_what_does_not_fit_is_refused_one_by_one(self):
        alpha = self.scripted(lambda call: alpha.hold() or good(call))
        self.start_gateway(("alpha", alpha.url, {"batch": {"workers": 1, "queue": 2}}))
        future = self.background(self.batch, [chat("alpha-1", str(i)) for i in range(5)])
        eventually(lambda: self.metric("penstock_pool_submitted_total", pool="alpha batch") == 5, "all have come")
        # Batches leave the workers to those who ask for one answer.
        self.assertEqual(self.state_of("alpha")["jobs"]["running"], 1)
        alpha.release()
        self.assertEqual(self.complete("alpha-1").status, 200)
        answer = future.result(LIMIT)
        self.assertEqual(self.statuses(answer), [200] * 3 + [429] * 2)
        self.assertEqual(answer.json["answers"][4]["body"]["error"]["type"], "queue_full")

    def test_a_client_that_leaves(self):
        alpha = self.scripted(lambda call: alpha.hold() or good(call))
        self.start_gateway(("alpha", alpha.url, {"processing_timeout_ms": 60_000}))
        body = json.dumps({"requests": [chat("alpha-1", str(i)) for i in range(10)]}).encode()
        client = self.connect()
        client.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        eventually(lambda: alpha.count() == 2, "two run")
        client.close()
        eventually(lambda: self.state_of("alpha")["jobs"]["running"] == 0, "nobody works for it")
        eventually(lambda: self.metric("gateway_responses_total", status="499") == 1, "it is counted")
        self.assertEqual(alpha.count(), 2)

    def test_bad_batches(self):
        self.start_gateway(("alpha", self.scripted(good).url, {}))
        good_one = chat("alpha-1")
        for body, status, parameter in [
                ("not JSON", 400, None), ([], 400, None), ({}, 400, "requests"), ({"requests": []}, 400, "requests"),
                ({"requests": [good_one] * 65}, 400, "requests"), ({"requests": [1]}, 400, "requests[0]"),
                ({"requests": [good_one, chat("nobody")]}, 404, "requests[1].model"),
                ({"requests": [chat("alpha-1", stream=True)]}, 400, "requests[0].stream"),
                ({"requests": [good_one], "stop_on_error": 1}, 400, "stop_on_error")]:
            with self.subTest(body=str(body)[:60]):
                answer = self.ask("POST", "/v1/batch", body)
                self.assertEqual((answer.status, answer.error.get("param")), (status, parameter), answer.body)
        self.assertEqual(self.ask("GET", "/v1/batch").headers["Allow"], "POST")


class Trace(GatewayTest):
    """--trace"""

    def test_each_request_is_a_slice(self):
        alpha = ScriptedProvider(good)
        self.addCleanup(alpha.close)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "trace.json")
            self.start_gateway(("alpha", alpha.url, {}), arguments=["--trace", path])
            for number in range(10):
                self.assertEqual(self.complete("alpha-1", str(number), stream=number % 2 == 0).status, 200)
            self.assertEqual(self.ask("POST", "/v1/batch", {"requests": [chat("alpha-1")] * 5}).status, 200)
            self.assertEqual(self.gateway.stop(), 0, self.gateway.errors)
            with open(path, encoding="utf-8") as file:
                trace = json.load(file)
        recorded = trace["traceEvents"] if isinstance(trace, dict) else trace
        names = {each["pid"]: each["args"]["name"] for each in recorded if each["name"] == "process_name"}
        slices = [names[each["pid"]] for each in recorded if each["ph"] == "X"]
        self.assertEqual((slices.count("alpha"), slices.count("alpha batch")), (15, 5))

    def test_a_file_that_cannot_be_written(self):
        done = subprocess.run([os.path.join(PROGRAMS, "gateway"), "--provider", "a=http://127.0.0.1:1", "--trace",
                               "/nowhere/trace.json"], capture_output=True, text=True, timeout=LIMIT, check=False)
        self.assertEqual((done.returncode, done.stderr), (1, "gateway: /nowhere/trace.json: cannot be written\n"))
