# SPDX-License-Identifier: MIT
"""The gateway under load: queues, breakers, isolation, clients that leave, and its end."""

import concurrent.futures
import http.client
import json
import signal
import socket
import time

from gateway_support import LIMIT, GatewayTest, Server, chat, eventually, events


class Load(GatewayTest):
    """Queues, breakers, isolation, and clients that leave."""

    def test_a_full_queue_and_a_wait_that_is_too_long(self):
        beta = self.provider("beta", mode="hang")
        self.start_gateway(("beta", beta.url, {"workers": 1, "queue": 1, "queue_wait_ms": 800,
                                               "processing_timeout_ms": 3000}))
        running = self.background(self.complete, "beta-1")
        eventually(lambda: self.state_of("beta")["jobs"]["running"] == 1, "one runs")
        queued = self.background(lambda: self.complete("beta-1", stream=True))
        eventually(lambda: self.state_of("beta")["queue"]["depth"] == 1, "one waits")
        for stream in (False, True):
            refused = self.complete("beta-1", stream=stream)
            self.check_failure(refused, 429, "queue_full", provider="beta", stage="admission")
            self.assertGreaterEqual(int(refused.headers["Retry-After"]), 1)
        self.check_failure(queued.result(LIMIT), 504, "deadline_exceeded", provider="beta", stage="queue")
        self.check_failure(running.result(LIMIT), 504, "deadline_exceeded", provider="beta", stage="upstream")

    def test_each_connection_has_a_thread_and_no_more(self):
        self.start_gateway(("beta", self.provider("beta").url, {}))
        for _ in range(20):
            connection = self.connect()
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertTrue(connection.recv(1))  # it is served, and stays open
        asking = http.client.HTTPConnection(*self.gateway.address, timeout=LIMIT)  # one for both, with one thread
        self.addCleanup(asking.close)
        asking.request("GET", "/api/state")
        threads = json.loads(asking.getresponse().read())["gateway"]["connection_threads"]
        self.assertEqual(threads["live"] - threads["idle"], 21)  # the one that asked is the last
        self.assertLessEqual(threads["peak"], 25)
        asking.request("GET", "/metrics")
        metrics = asking.getresponse().read().decode()
        self.assertEqual(self.metric_in(metrics, "penstock_elastic_pool_workers", pool="connections"), threads["live"])

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
        self.start_gateway(("beta", beta.url, {"workers": 2, "queue": 2}))
        with concurrent.futures.ThreadPoolExecutor(16) as executor:
            answers = list(executor.map(lambda i: self.complete("beta-1", stream=i % 2 == 0).status, range(200)))
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
