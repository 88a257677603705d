# SPDX-License-Identifier: MIT
"""Local models whose processes are killed, do not start, or do not want to end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

from gateway_local_support import LocalTest, process_stat
from gateway_support import LIMIT, PROGRAMS, Answer, chat, eventually


class LocalFailures(LocalTest):
    """What becomes of the requests, and of the processes."""

    def kill(self, name):
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    def check_gone(self, pid):
        eventually(lambda: process_stat(pid) is None, "the process has been reaped")
        self.assertEqual(self.zombies(), [])

    def start_serving(self, count, **local):
        """A gateway whose model a hangs with so many requests, every second one a stream."""
        self.start_local(self.model("a"), **local)
        self.check_content(self.complete("a"), "a")
        self.control("a", mode="hang")
        asking = [self.background(lambda i=i: self.complete("a", stream=i % 2 == 1)) for i in range(count)]
        self.wait_for_model("a", in_flight=count)
        return asking

    def test_killed_while_it_serves(self):
        asking = self.start_serving(6, attempts=1)
        killed = self.kill("a")
        for future in asking:
            answer = future.result(LIMIT)
            self.check_failure(answer, 502, "process_died", provider="local", stage="upstream")
            self.assertIn("Killed", answer.error["message"])
        self.check_gone(killed)
        self.check_content(self.complete("a"), "a")
        self.assertEqual(self.started(), ["a", "a"])
        self.assertEqual(self.model_state("a")["crashes"], 1)

    def test_killed_while_it_serves_and_tried_again(self):
        asking = self.start_serving(6)
        killed = self.kill("a")
        for i, future in enumerate(asking):
            self.assertEqual(future.result(LIMIT).status, 200)
        self.check_gone(killed)
        self.assertEqual(self.started(), ["a", "a"])

    def test_killed_in_the_middle_of_a_stream(self):
        self.start_local(self.model("a", "--latency-ms", 2000))
        stream = self.stream("a", "a b c d e f g h")
        eventually(stream.events, "it has begun")
        killed = self.kill("a")
        self.assertEqual(stream.wait().status, 200)
        self.assertEqual(stream.error["type"], "process_died")
        self.check_gone(killed)
        self.assertEqual(self.started(), ["a"])  # what was passed on cannot be taken back

    def test_a_request_that_crashes_its_model_crashes_it_twice_at_most(self):
        self.start_local(self.model("a", "--mode", "crash"))
        answer = self.complete("a")
        self.check_failure(answer, 502, "process_died", provider="local", stage="upstream")
        self.assertIn("70", answer.error["message"])  # the exit status
        self.assertEqual(self.started(), ["a", "a"])
        self.assertIn("out of memory", " ".join(self.model_state("a")["log"]))

    def test_killed_while_it_loads(self):
        hold = self.hold("a")
        self.start_local(self.model("a", "--load-while", hold))
        whole, stream = self.background(self.complete, "a"), self.stream("a")
        eventually(stream.statuses, "it waits")
        self.wait_for_model("a", state="starting", joined=2)
        eventually(self.starts, "it has been started")
        killed = self.kill("a")
        self.check_failure(whole.result(LIMIT), 502, "start_failed", provider="local", stage="swap")
        self.assertEqual(stream.wait().error["type"], "start_failed")  # its status had been sent
        self.check_gone(killed)
        os.remove(hold)
        self.check_content(self.complete("a"), "a")

    def test_killed_again_and_again_under_load(self):
        self.start_local(self.model("a", "--latency-ms", 5), self.model("b", "--latency-ms", 5), attempts=100)
        stop = []

        def ask(name):
            statuses = []
            while not stop:
                statuses.append(self.complete(name).status)
            return statuses
        clients = [self.background(ask, name) for name in "aabb"]
        self.addCleanup(stop.append, True)
        for count in range(5):
            eventually(lambda: len(self.starts()) > count, "there is another one")
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.starts()[-1][1], signal.SIGKILL)
        eventually(lambda: len(self.starts()) > 5, "they come back")
        stop.append(True)
        for client in clients:
            # A start that is killed fails, and whoever waits for it is told so.
            self.assertLessEqual(set(client.result(LIMIT)), {200, 502, 503})
        self.check_content(self.complete("a"), "a")
        self.assertEqual(self.zombies(), [])

    def failing(self, command, **settings):
        """A model that does not start, beside one that does and is serving; returns the failure that its clients get."""
        model = {"name": "bad", "command": command, "group": "apart", **settings}
        self.start_local(self.model("good", group="apart"), model, groups=[{"name": "apart", "swap": False}],
                         back_off={"first_ms": 60000})
        self.check_content(self.complete("good"), "good")
        self.control("good", mode="hang")
        busy = self.background(self.complete, "good")
        self.wait_for_model("good", in_flight=1)
        stream = self.stream("bad")
        self.wait_for_arrivals(3)
        whole = self.complete("bad")
        error = stream.wait().error
        if whole.status == 502:  # it has come in time to wait for the same start
            self.check_failure(whole, 502, "start_failed", provider="local", stage="swap")
        self.assertEqual((error["type"], error["stage"], error["provider"]), ("start_failed", "swap", "local"))
        # It is not tried again for a while.
        refused = self.complete("bad")
        self.check_failure(refused, 503, "model_unavailable", provider="local", stage="swap")
        self.assertGreater(int(refused.headers["Retry-After"]), 1)
        self.assertEqual(self.model_state("bad")["start_failures"], 1)
        self.control("good", mode="healthy")
        self.check_content(busy.result(LIMIT), "good")
        self.assertEqual(self.started(), ["good"])
        self.assertEqual(self.zombies(), [])
        return error["message"]

    def test_there_is_no_such_program(self):
        self.assertIn("/nowhere/llama-server", self.failing(["/nowhere/llama-server"]))

    def test_it_ends_at_once(self):
        message = self.failing(["/bin/sh", "-c", "echo loading; echo CUDA error: out of memory >&2; exit 3"])
        self.assertIn("exit status 3", message)
        self.assertIn("CUDA error: out of memory", message)

    def test_it_is_never_ready(self):
        self.assertIn("300 ms", self.failing(["/bin/sleep", "1000"], ready={"timeout_ms": 300}))

    def test_one_that_cannot_start_evicts_nobody_for_a_while(self):
        self.start_local(self.model("a"), {"name": "bad", "command": ["/bin/false"]}, back_off={"first_ms": 60000})
        self.check_content(self.complete("a"), "a")
        self.check_failure(self.complete("bad"), 502, "start_failed", provider="local")
        self.check_content(self.complete("a"), "a")
        for _ in range(5):
            self.check_failure(self.complete("bad"), 503, "model_unavailable", provider="local")
        self.check_content(self.complete("a"), "a")
        self.assertEqual(self.started(), ["a", "a"])

    def test_a_process_that_hangs_costs_its_caller_the_time_it_has(self):
        self.start_local(self.model("a", "--mode", "hang", processing_timeout_ms=200))
        self.check_failure(self.complete("a"), 504, "deadline_exceeded", provider="local", stage="upstream")
        self.check_failure(self.complete("a", stream=True), 504, "deadline_exceeded", provider="local")
        self.assertEqual(self.started(), ["a"])

    def test_nobody_waits_for_ever(self):
        hold = self.hold("a")
        self.start_local(self.model("a", "--load-while", hold), queue_wait_ms=200)
        self.check_failure(self.complete("a"), 504, "deadline_exceeded", provider="local", stage="queue")
        self.assertEqual(self.stream("a").wait().error["type"], "deadline_exceeded")
        os.remove(hold)
        self.wait_for_model("a", state="ready")

    def test_what_a_model_says_to_its_client_is_passed_on(self):
        self.start_local(self.model("a", "--error-rate", 1), self.model("b"))
        self.check_failure(self.complete("a"), 502, "upstream_failed", provider="local", stage="upstream")
        self.assertEqual(self.started(), ["a"])  # it was not tried again

    def test_what_a_model_refuses_is_passed_on(self):
        hold = self.hold("b")
        script = """if True:
            import http.server, json, sys, os
            class Handler(http.server.BaseHTTPRequestHandler):
                def answer(self, status, body):
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                def do_GET(self):
                    self.answer(503 if os.path.exists(sys.argv[2]) else 200, b"{}")
                def do_POST(self):
                    self.rfile.read(int(self.headers["Content-Length"]))
                    self.answer(422, json.dumps({"error": {"message": "too long"}}, indent=2).encode())
            http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()"""
        self.start_local({"name": "b", "command": [sys.executable, "-c", script, "{port}", hold]})
        late = self.stream("b")
        eventually(late.statuses, "it waits")
        os.remove(hold)
        self.assertEqual(late.wait().error, {"message": "too long"})  # its status had been sent
        for stream in (False, True):
            answer = self.complete("b", stream=stream)
            self.assertEqual((answer.status, answer.error), (422, {"message": "too long"}))
            self.assertEqual(answer.headers["X-Provider"], "local")


class LocalEnding(LocalTest):
    """SIGTERM and SIGINT with local models."""

    def wait(self):
        """Waits for the end of a gateway that has been asked to end; returns how long that took."""
        began = time.monotonic()
        self.assertEqual(self.gateway.wait(), 0, self.gateway.errors)
        return time.monotonic() - began

    def test_what_is_being_served_is_finished_and_nobody_is_left(self):
        self.start_local(self.model("a", "--latency-ms", 300), self.model("b", "--latency-ms", 300))
        asking = [self.background(self.complete, name) for name in "aba"]
        self.wait_for_arrivals(3)
        self.gateway.process.terminate()
        self.assertEqual([future.result(LIMIT).status for future in asking], [200] * 3)  # also what still had to wait
        self.wait()
        self.check_nobody_is_left()
        self.assertIn("local models: 3 requests: 3 granted", self.gateway.errors)

    def test_who_waits_too_long_is_told_so(self):
        hold = self.hold("a")
        self.start_local(self.model("a", "--load-while", hold), server={"drain_timeout_ms": 300})
        whole, stream = self.background(self.complete, "a"), self.stream("a")
        eventually(stream.statuses, "it waits")
        self.wait_for_model("a", joined=2)
        self.gateway.process.terminate()
        self.check_failure(whole.result(LIMIT), 503, "shutting_down", provider="local", stage="shutdown")
        self.assertEqual(stream.wait().error["type"], "shutting_down")
        self.assertLess(self.wait(), 10)
        self.check_nobody_is_left()

    def test_new_requests_are_refused_meanwhile(self):
        self.start_local(self.model("a"), self.model("b"))
        self.check_content(self.complete("a"), "a")
        self.control("a", mode="hang")
        busy = self.background(self.complete, "a")
        self.wait_for_model("a", in_flight=1)
        port = self.model_state("a")["port"]
        self.gateway.process.terminate()
        eventually(lambda: self.ask("GET", "/healthz").status == 503, "it drains")
        for stream in (False, True):
            self.check_failure(self.complete("b", stream=stream), 503, "shutting_down", stage="shutdown")
        Answer.of(("127.0.0.1", port), "POST", "/control", {"mode": "healthy"})
        self.check_content(busy.result(LIMIT), "a")
        self.wait()
        self.assertEqual(self.started(), ["a"])

    def stubborn(self, name, **settings):
        """A model whose process, and a child of that, ignore all signals that can be ignored."""
        stand_in = " ".join([os.path.join(PROGRAMS, "provider"), "--name", name, "--port", "{port}", "--journal",
                             self.journal])
        script = "trap '' TERM INT; (trap '' TERM INT; echo %s $$ >> %s; while :; do sleep 1; done) & %s; wait; wait" % (
            name, self.journal, stand_in)
        return {"name": name, "command": ["/bin/sh", "-c", script], "ready": {"interval_ms": 50}, **settings}

    def test_one_that_does_not_want_to_end_is_killed_with_all_it_has_started(self):
        self.start_local(self.stubborn("a", stop_timeout_ms=60_000), server={"drain_timeout_ms": 500})
        self.check_content(self.complete("a"), "a")
        group = [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and self.is_in_group(
            int(entry), self.model_state("a")["pid"])]
        self.assertGreaterEqual(len(group), 2)
        self.gateway.process.terminate()
        self.assertLess(self.wait(), 15)
        for pid in group:
            eventually(lambda pid=pid: process_stat(pid) is None, "nobody of the group is left")

    @staticmethod
    def is_in_group(pid, group):
        with contextlib.suppress(ProcessLookupError):
            return os.getpgid(pid) == group
        return False

    def test_a_second_signal_leaves_nobody_either(self):
        self.start_local(self.model("a"))
        self.check_content(self.complete("a"), "a")
        self.control("a", mode="hang")
        busy = self.send(chat("a"))
        self.wait_for_model("a", in_flight=1)
        self.gateway.process.terminate()
        eventually(lambda: self.ask("GET", "/healthz").status == 503, "it drains")
        self.gateway.process.terminate()
        self.gateway.ends_with = 128 + signal.SIGTERM
        self.assertEqual(self.gateway.wait(), self.gateway.ends_with)
        busy.close()
        eventually(lambda: self.has_ended(self.pid("a")), "it has been killed")


class LocalConfiguration(LocalTest):
    """What is said about a wrong configuration, and about a right one."""

    def run_config(self, config):
        path = os.path.join(self.folder, "bad.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
        done = subprocess.run([os.path.join(PROGRAMS, "gateway"), "--config", path], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=LIMIT)
        self.assertEqual((done.returncode, done.stdout), (78, ""), done.stderr)
        return done.stderr

    def test_all_violations_are_named_at_once(self):
        errors = self.run_config({
            "providers": [{"name": "p", "url": "http://127.0.0.1:1", "models": ["taken"]}],
            "local": {
                "models": [
                    {"name": "taken", "command": ["x"], "group": "none"},
                    {"command": [], "port": -1, "ready": {"path": "health", "after": 3}, "priority": 1.5},
                    {"name": "c", "command": ["x", 3], "concurrency_limit": 0, "idle_unload_ms": 0,
                     "stop_timeout_ms": -1, "comand": 1},
                    7],
                "groups": [{"swap": "yes"}], "limit_at": "random", "max_wait_ms": 0, "status": {"form": "morse"},
                "back_off": {"factor": 0.5}, "attempts": 0, "queue": 3}})
        for expected in [
                "$.local.models[0].name: 'taken' is taken by $.providers[0].models[0]",
                "$.local.models[0].group: there is no group 'none' in $.local.groups",
                "$.local.models[1].name: must be a text that is not empty, got nothing",
                "$.local.models[1].command: must be a list of texts that is not empty, got []",
                "$.local.models[1].port: must be a whole number in [0, 65535], got -1",
                "$.local.models[1].ready.after: there is no such key, expected one of path, timeout_ms",
                "$.local.models[1].ready.path: must begin with '/', got \"health\"",
                "$.local.models[1].priority: must be a whole number in [-1000000, 1000000], got 1.5",
                "$.local.models[2].command: must be a list of texts that is not empty, got [\"x\",3]",
                "$.local.models[2].concurrency_limit: must be a whole number in [1, 10000], got 0",
                "$.local.models[2].idle_unload_ms: must be false or a number in [1, ",
                "$.local.models[2].stop_timeout_ms: must be a number in [0, 86400000], got -1",
                "$.local.models[2].comand: there is no such key, expected one of name, command",
                "$.local.models[3]: must be an object, got 7",
                "$.local.groups[0].name: must be a text that is not empty, got nothing",
                "$.local.groups[0].swap: must be true or false, got \"yes\"",
                "$.local.limit_at: must be one of arrival, grant, service, got \"random\"",
                "$.local.max_wait_ms: must be false or a number in [1, 86400000], got 0",
                "$.local.status.form: must be one of comments, events, got \"morse\"",
                "$.local.back_off.factor: must be a number in [1, 10], got 0.5",
                "$.local.attempts: must be a whole number in [1, 100], got 0",
                "$.local.queue: there is no such key, expected one of models"]:
            self.assertIn(expected, errors)

    def test_two_ways_to_say_who_runs_with_whom(self):
        errors = self.run_config({"local": {
            "models": [{"name": "a", "command": ["x"]}], "groups": [], "budget": {"memory_mb": 10}}})
        self.assertIn("$.local.budget: must not stand beside groups", errors)
        errors = self.run_config({"local": {
            "models": [{"name": "a", "command": ["x"]}], "matrix": {"sets": [{"name": "s", "models": "a & (b"}]}}})
        self.assertIn("$.local: ", errors)
        self.assertIn("'s'", errors)
        errors = self.run_config({"local": {
            "models": [{"name": "a", "command": ["x"], "memory_mb": 20}, {"name": "b", "command": ["x"]}],
            "budget": {"memory_mb": 10, "victims": "any"}}})
        for expected in ["$.local.models[1].memory_mb: must be a number, got nothing",
                         "$.local.budget.victims: must be one of least_recently_used, cheapest, got \"any\""]:
            self.assertIn(expected, errors)

    def test_sums_that_do_not_fit(self):
        model = {"name": "a", "command": ["x"], "concurrency_limit": 500}
        self.assertIn("$.server.max_connections: must be at least 532", self.run_config({"local": {"models": [model]}}))

    def test_a_reload_refuses_other_local_models(self):
        path = os.path.join(self.folder, "gateway.json")
        provider = self.provider("beta")

        def write(*models, **local):
            config = {"providers": [{"name": "beta", "url": provider.url, "models": ["beta-1"]}]}
            if models:
                config["local"] = {"models": list(models), **local}
            with open(path, "w", encoding="utf-8") as file:
                json.dump(config, file, indent=len(models))

        def reload():
            return self.ask("POST", "/admin/reload")
        self.addCleanup(self.check_nobody_is_left)
        write(self.model("a"))
        self.gateway = self.start("gateway", "--config", path)
        self.check_content(self.complete("a"), "a")
        for change in (lambda: write(), lambda: write(self.model("a"), self.model("b")),
                       lambda: write(self.model("a", priority=1)), lambda: write(self.model("a"), max_wait_ms=1000)):
            change()
            refused = reload()
            self.check_failure(refused, 400, "invalid_request", stage="request")
            self.assertIn("$.local: local models cannot be changed while the gateway runs", refused.error["message"])
            self.assertEqual(self.state_of("beta")["updates"], 0)
        write(self.model("a"))
        self.assertEqual(reload().status, 200)
        self.assertEqual(self.state_of("beta")["updates"], 1)
        self.check_content(self.complete("a"), "a")
        self.assertEqual(self.started(), ["a"])  # it was not disturbed

    def test_other_shapes(self):
        self.assertIn("$.local: must be an object, got [1]", self.run_config({"local": [1]}))
        self.assertIn("$.local.models: must be a list that is not empty, got nothing", self.run_config({"local": {}}))
