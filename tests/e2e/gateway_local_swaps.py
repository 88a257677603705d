# SPDX-License-Identifier: MIT
"""Local models that take turns: who is served when, and what those who wait are told."""

import contextlib
import os
import signal

from gateway_local_support import LocalTest, children_of, process_stat
from gateway_support import LIMIT, chat, eventually


class LocalSwaps(LocalTest):
    """Swaps, queues and limits, with real child processes."""

    def test_six_requests_for_three_models_make_three_swaps(self):
        holds = {name: self.hold(name) for name in "abc"}
        self.start_local(*(self.model(name, "--load-while", holds[name]) for name in "abc"))
        streams = []
        for number, name in enumerate("abcabc"):
            streams.append(self.stream(name, str(number)))
            self.wait_for_arrivals(number + 1)
        # The first a is being loaded, and the second has joined it.
        eventually(lambda: [stream.positions()[-1:] for stream in streams] == [[], [1], [2], [], [3], [4]],
                   "all have been told their places")
        os.remove(holds["a"])
        eventually(lambda: streams[5].positions()[-1] == 2, "both of b have joined their swap")
        eventually(lambda: self.started() == ["a", "b"], "b has been started")
        os.remove(holds["b"])
        os.remove(holds["c"])
        for number, stream in enumerate(streams):
            self.assertEqual(stream.wait().content(), "%s says: %d" % ("abcabc"[number], number), stream.text)
            self.assertEqual(stream.headers["X-Provider"], "local")
            places = stream.positions()
            self.assertEqual(places, sorted(places, reverse=True))
        self.assertEqual(self.started(), ["a", "b", "c"])
        state = self.local()
        self.assertEqual((state["swaps"]["started"], state["swaps"]["succeeded"]), (3, 3))
        eventually(lambda: self.local()["requests"]["served"] == 6, "all leases have ended")

    def test_who_waits_is_told_why(self):
        hold = self.hold("b")
        self.start_local(self.model("a"), self.model("b", "--load-while", hold))
        self.check_content(self.complete("a"), "a")
        self.control("a", mode="hang")
        busy = self.send(chat("a"))
        self.wait_for_model("a", in_flight=1)
        stream = self.stream("b")
        told = eventually(stream.statuses, "it was told something")[-1]
        self.assertEqual((told["model"], told["state"], told["position"], told["why"]), ("b", "queued", 1, "busy_model"))
        self.assertIn("'a'", told["text"])
        busy.close()
        told = eventually(lambda: [each for each in stream.statuses() if each["state"] == "loading"], "b is loaded")[-1]
        self.assertEqual(told["why"], "own_swap")
        self.assertGreaterEqual(told["eta_seconds"], 0)
        os.remove(hold)
        self.assertEqual(stream.wait().content(), "b says: hello there")

    def test_statuses_as_events_and_none(self):
        for form, expected in (({"form": "events", "after_ms": 1, "every_ms": 20}, True), (False, False)):
            with self.subTest(form=form):
                hold = self.hold("a")
                self.start_local(self.model("a", "--load-while", hold), status=form)
                stream = self.stream("a")
                if expected:
                    eventually(lambda: b"event: status\ndata: {" in stream.text, "an event")
                else:
                    self.wait_for_arrivals(1)
                    self.assertIsNone(stream.status)
                os.remove(hold)
                stream.wait()
                self.assertEqual("status" in [event for event, _ in stream.events()], expected)
                self.assertEqual(stream.events()[-1], ("message", "[DONE]"))
                self.gateway.stop()

    def test_who_does_not_stream_just_waits(self):
        hold = self.hold("a")
        self.start_local(self.model("a", "--load-while", hold))
        waiting = self.background(self.complete, "a")
        self.wait_for_model("a", state="starting", joined=1)
        os.remove(hold)
        answer = waiting.result(LIMIT)
        self.check_content(answer, "a")
        self.assertEqual(answer.headers["X-Provider"], "local")

    def check_that_a_and_b_run_at_once(self, settings, **local):
        """And c needs the place of both."""
        self.start_local(*(self.model(name, **each) for name, each in settings.items()), **local)
        for name in "abab":
            self.check_content(self.complete(name), name)
        self.assertEqual(self.started(), ["a", "b"])
        self.assertEqual(sorted(pid for _, pid in self.starts()), sorted(children_of(self.gateway.process.pid)))
        self.check_content(self.complete("c"), "c")
        self.assertEqual([self.model_state(name)["state"] for name in "abc"], ["stopped", "stopped", "ready"])

    def test_models_of_a_group_that_does_not_swap_run_at_once(self):
        self.check_that_a_and_b_run_at_once({"a": {"group": "both"}, "b": {"group": "both"}, "c": {}},
                                            groups=[{"name": "both", "swap": False}])

    def test_models_of_a_set_run_at_once(self):
        self.check_that_a_and_b_run_at_once({"a": {}, "b": {}, "c": {}}, matrix={
            "sets": [{"name": "pair", "models": "a & bee"}], "variables": {"bee": "b"}, "evict_costs": {"bee": 2}})

    def test_models_that_fit_into_the_memory_run_at_once(self):
        self.check_that_a_and_b_run_at_once({"a": {"memory_mb": 400}, "b": {"memory_mb": 600}, "c": {"memory_mb": 700}},
                                            budget={"memory_mb": 1000, "victims": "cheapest"})

    def test_a_pinned_model_keeps_its_memory(self):
        self.start_local(self.model("a", memory_mb=400, pinned=True), self.model("b", memory_mb=600),
                         self.model("c", memory_mb=500), budget={"memory_mb": 1000})
        for name in "abcb":  # a is the one that was not used for longest
            self.check_content(self.complete(name), name)
        self.check_content(self.complete("a"), "a")
        self.assertEqual(self.started(), ["a", "b", "c", "b"])

    def test_the_one_that_matters_more_goes_first(self):
        self.start_local(self.model("a"), self.model("b"), self.model("c", priority=10))
        self.check_content(self.complete("a"), "a")
        self.control("a", mode="hang")
        busy = self.send(chat("a"))
        self.wait_for_model("a", in_flight=1)
        low = self.background(self.complete, "b")
        self.wait_for_model("b", queued=1)
        high = self.background(self.complete, "c")
        self.wait_for_model("c", queued=1)
        busy.close()
        self.check_content(high.result(LIMIT), "c")
        self.check_content(low.result(LIMIT), "b")
        self.assertEqual(self.started(), ["a", "c", "b"])

    def test_one_too_many_is_refused_before_anything_is_sent(self):
        hold = self.hold("a")
        self.start_local(self.model("a", "--load-while", hold, concurrency_limit=1))
        waiting = self.stream("a")
        eventually(waiting.statuses, "it waits")
        for stream in (False, True):
            refused = self.complete("a", stream=stream)
            self.check_failure(refused, 429, "queue_full", provider="local", stage="admission")
            self.assertGreaterEqual(int(refused.headers["Retry-After"]), 1)
        os.remove(hold)
        self.assertEqual(waiting.wait().content(), "a says: hello there")
        self.check_content(self.complete("a"), "a")

    def test_limits_at_arrival_let_in_as_many_as_they_say(self):
        hold = self.hold("a")
        self.start_local(self.model("a", "--load-while", hold, concurrency_limit=130))
        waiting = [self.background(self.complete, "a", str(number)) for number in range(130)]
        self.wait_for_model("a", joined=130)
        self.check_failure(self.complete("a"), 429, "queue_full", provider="local", stage="admission")
        os.remove(hold)
        for number, each in enumerate(waiting):
            self.check_content(each.result(LIMIT), "a", str(number))

    def test_who_may_wait_waits_and_only_so_many_do(self):
        hold = self.hold("a")
        self.start_local(self.model("a", "--load-while", hold, concurrency_limit=1), self.model("b"),
                         limit_at="service", max_queued=2)
        first = self.background(self.complete, "a", "1")
        self.wait_for_model("a", state="starting")
        queued = self.background(self.complete, "b")
        self.wait_for_model("b", queued=1)
        self.check_failure(self.complete("b"), 429, "queue_full", provider="local", stage="admission")
        os.remove(hold)
        self.check_content(first.result(LIMIT), "a", "1")
        self.check_content(queued.result(LIMIT), "b")

    def test_a_client_that_left_is_not_served(self):
        self.start_local(self.model("a"), self.model("b"))
        self.check_content(self.complete("a"), "a")
        self.control("a", mode="hang")
        busy = self.send(chat("a"))
        self.wait_for_model("a", in_flight=1)
        leaving = [self.send(chat("b")), self.stream("b")]
        self.wait_for_model("b", queued=2)
        leaving[0].close()
        leaving[1].leave()
        self.wait_for_model("b", queued=0)
        busy.close()
        self.wait_for_model("a", in_flight=0)
        self.control("a", mode="healthy")
        self.check_content(self.complete("a"), "a")
        self.assertEqual(self.started(), ["a"])

    def test_a_stream_keeps_its_model_until_it_is_passed_on(self):
        self.start_local(self.model("a", "--latency-ms", 2000), self.model("b"))
        stream = self.stream("a", "a b c d e f g h")
        eventually(stream.events, "it has begun")
        other = self.background(self.complete, "b")
        self.wait_for_model("b", queued=1)
        self.assertEqual(self.model_state("a")["in_flight"], 1)
        self.assertEqual(stream.wait().content(), "a says: a b c d e f g h")
        self.check_content(other.result(LIMIT), "b")

    def test_an_idle_model_is_unloaded_and_comes_back(self):
        self.start_local(self.model("a", idle_unload_ms=50), self.model("b", group="apart"),
                         groups=[{"name": "apart", "exclusive": False, "persistent": True}])
        self.check_content(self.complete("b"), "b")
        self.check_content(self.complete("a"), "a")
        self.wait_for_model("a", state="stopped", pid=0)
        self.assertEqual(self.model_state("b")["state"], "ready")
        self.check_content(self.complete("a"), "a")
        self.assertEqual(self.started(), ["b", "a", "a"])

    def test_unloaded_by_hand(self):
        hold = self.hold("b")
        self.start_local(self.model("a"), self.model("b", "--load-while", hold))
        self.check_content(self.complete("a"), "a")
        answer = self.ask("POST", "/api/models/unload/a", "")
        self.assertEqual((answer.status, answer.json), (200, {"unloaded": "a"}))
        self.assertEqual(self.model_state("a")["state"], "stopped")
        self.assertEqual(children_of(self.gateway.process.pid), {})
        self.assertEqual(self.ask("POST", "/api/models/unload/a", "").status, 200)  # once more does no harm
        waiting = self.background(self.complete, "b")
        self.wait_for_model("b", state="starting", joined=1)
        self.assertEqual(self.ask("POST", "/api/models/unload", "").json, {"unloaded": "all"})
        self.check_failure(waiting.result(LIMIT), 503, "model_unavailable", provider="local", stage="swap")
        self.assertEqual(children_of(self.gateway.process.pid), {})
        self.check_failure(self.ask("POST", "/api/models/unload/nobody", ""), 404, "unknown_model")
        self.check_failure(self.ask("GET", "/api/models/unload"), 405, "method_not_allowed")
        os.remove(hold)
        self.check_content(self.complete("b"), "b")

    def test_unloaded_by_hand_in_the_middle_of_an_answer(self):
        self.start_local(self.model("a", "--latency-ms", 100))
        self.check_content(self.complete("a"), "a")
        self.control("a", mode="hang")
        asking = self.background(self.complete, "a")
        self.wait_for_model("a", in_flight=1)
        self.assertEqual(self.ask("POST", "/api/models/unload/a", "").status, 200)
        self.check_failure(asking.result(LIMIT), 503, "unloaded", provider="local", stage="upstream")
        self.assertEqual(self.started(), ["a"])  # it was not tried again

    def test_beside_providers_and_in_batches(self):
        alpha = self.provider("alpha")
        self.start_local(self.model("a"), self.model("org/b"), providers=[
            {"name": "alpha", "url": alpha.url, "models": ["alpha-1"]}])
        models = self.ask("GET", "/v1/models").json["data"]
        self.assertEqual([(model["id"], model["owned_by"]) for model in models],
                         [("alpha-1", "alpha"), ("a", "local"), ("org/b", "local")])
        answers = self.ask("POST", "/v1/batch", {"requests": [chat(name, name) for name in (
            "a", "alpha-1", "org/b", "a")]}).json["answers"]
        self.assertEqual([answer["status"] for answer in answers], [200] * 4, answers)
        self.assertEqual([answer["body"]["choices"][0]["message"]["content"] for answer in answers],
                         ["a says: a", "alpha says: alpha-1", "org/b says: org/b", "a says: a"])
        self.assertEqual(self.ask("POST", "/api/models/unload/org/b", "").json, {"unloaded": "org/b"})
        self.check_failure(self.complete("c"), 404, "unknown_model", stage="request")

    def test_what_a_process_inherits(self):
        self.start_local(self.model("a"))
        self.check_content(self.complete("a"), "a")
        self.stream("a").wait()

        def sockets(pid):
            folder, links = "/proc/%d/fd" % pid, set()
            for entry in os.listdir(folder):
                with contextlib.suppress(FileNotFoundError):  # it has just been closed
                    links.add(os.readlink(os.path.join(folder, entry)))
            return {link for link in links if link.startswith("socket:")}
        self.assertEqual(sockets(self.pid("a")) & sockets(self.gateway.process.pid), set())
        with open("/proc/%d/status" % self.pid("a"), encoding="utf-8") as file:
            fields = dict(line.split(":", 1) for line in file)
        self.assertEqual(int(fields["SigBlk"], 16) & (1 << (signal.SIGCHLD - 1)), 0)
        self.assertNotEqual(os.getpgid(self.pid("a")), os.getpgid(self.gateway.process.pid))
        self.assertEqual(process_stat(self.pid("a"))[1], self.gateway.process.pid)
