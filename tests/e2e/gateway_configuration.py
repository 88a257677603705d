# SPDX-License-Identifier: MIT
"""What the gateway says about a configuration."""

import json
import os
import socket
import subprocess
import tempfile

from gateway_support import LIMIT, PROGRAMS, FakeProvider, GatewayTest


class Configuration(GatewayTest):
    """What a gateway says that cannot start."""

    def run_gateway(self, *arguments):
        done = subprocess.run([os.path.join(PROGRAMS, "gateway"), *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=LIMIT)
        self.assertEqual(done.stdout, "")
        return done.returncode, done.stderr

    def run_config(self, text):
        with tempfile.NamedTemporaryFile("w", prefix="bad", suffix=".json") as file:
            file.write(text if isinstance(text, str) else json.dumps(text))
            file.flush()
            code, errors = self.run_gateway("--config", file.name)
        self.assertEqual(code, 78, errors)
        self.assertIn(os.path.basename(file.name), errors.splitlines()[0])
        return errors

    def test_all_violations_are_named_at_once(self):
        errors = self.run_config({
            "server": {"port": 70000, "max_conections": 5},
            "providers": [
                {"name": "a", "url": "ftp://x", "models": ["m"], "workers": 0},
                {"name": "a", "url": "http://127.0.0.1:1", "models": ["m", 3], "queue": "long",
                 "overflow": "caller_runs"},
                {"url": "http://127.0.0.1:1", "models": [], "breaker": {"window": 1.5, "open_for_ms": -1},
                 "api_key_env": "PENSTOCK_TEST_NO_SUCH_VARIABLE",
                 "keys": [{"weight": -1}, {"env": "PATH", "id": "p"}, {"env": "PATH", "id": "p", "max_concurrent": 0}],
                 "key_rest_ms": 0, "retry": {"attempts": 0, "tries": 3}, "batch": {"workers": 0}},
                7]})
        for expected in [
                "$.server.port: must be a whole number in [0, 65535], got 70000",
                "$.server.max_conections: there is no such key, expected one of host, port, max_connections",
                "$.providers[0].url: must look like http://host:port or https://host/path, got \"ftp://x\"",
                "$.providers[0].workers: must be a whole number in [1, 256], got 0",
                "$.providers[1].name: 'a' is taken by $.providers[0].name",
                "$.providers[1].models: must be a list of names that is not empty, got [\"m\",3]",
                "$.providers[1].queue: must be a whole number in [0, 4096], got \"long\"",
                "$.providers[1].overflow: must be one of block, reject, drop_newest, drop_oldest, got \"caller_runs\"",
                "$.providers[2].name: must be a text that is not empty, got nothing",
                "$.providers[2].models: must be a list of names that is not empty, got []",
                "$.providers[2].breaker.window: must be a whole number in [1, 10000], got 1.5",
                "$.providers[2].breaker.open_for_ms: must be a number in [1, 86400000], got -1",
                "$.providers[2].api_key_env: must be the name of an environment variable",
                "$.providers[2].keys[0].env: must be the name of an environment variable that holds the key, got nothing",
                "$.providers[2].keys[0].weight: must be a number in [0, ",
                "$.providers[2].keys[2].max_concurrent: must be a whole number in [1, 1000000], got 0",
                "$.providers[2].keys[2].id: 'p' is taken by $.providers[2].keys[1].id",
                "$.providers[2].key_rest_ms: must be a number in [1, 86400000], got 0",
                "$.providers[2].retry.attempts: must be a whole number in [1, 100], got 0",
                "$.providers[2].retry.tries: there is no such key, expected one of attempts, initial_ms",
                "$.providers[2].batch.workers: must be a whole number in [1, 256], got 0",
                "$.providers[3]: must be an object, got 7"]:
            self.assertIn(expected, errors)

    def test_a_retry_strategy_in_other_words(self):
        retry = {"attempts": 2, "max_retries": 100, "initial": "soon", "max": -1, "max_retry_after": "48h"}
        errors = self.run_config({"providers": [
            {"name": "a", "url": "http://127.0.0.1:1", "models": ["m"], "retry": retry}]})
        for expected in [
                "$.providers[0].retry.initial: must be a time such as \"500ms\", or milliseconds, in [0, 86400000], "
                "got \"soon\"",
                "$.providers[0].retry.max: must be a time such as \"500ms\", or milliseconds, in [0, 86400000], got -1",
                "$.providers[0].retry.max_retry_after: must be a time",
                "$.providers[0].retry.max_retries: must be a whole number in [0, 99], got 100",
                "$.providers[0].retry.max_retries: must not stand beside attempts"]:
            self.assertIn(expected, errors)

    def test_a_syntax_error_names_its_line(self):
        self.assertIn("line 3, column", self.run_config('{\n  "providers": [\n    {"name" "a"}\n  ]\n}'))

    def test_other_shapes(self):
        self.assertIn("$: must be an object, got [1]", self.run_config("[1]"))
        self.assertIn("$.providers: must be a list, got nothing", self.run_config("{}"))
        self.assertIn("at least one provider, got none", self.run_config({"providers": []}))
        self.assertIn("parse error", self.run_config(""))
        model = {"name": "b", "url": "http://127.0.0.1:1", "models": ["m", "m"]}
        self.assertIn("$.providers[0].models[1]: 'm' is taken by $.providers[0].models[0]",
                      self.run_config({"providers": [model]}))

    def test_sums_that_do_not_fit(self):
        provider = {"name": "b", "url": "http://127.0.0.1:1", "models": ["m"], "workers": 10, "queue": 600}
        self.assertIn("$.server.max_connections: must be at least 724", self.run_config({"providers": [provider]}))
        self.assertIn("$.server.max_connections: must be at most",
                      self.run_config({"server": {"max_connections": 5000}, "providers": [provider]}))

    def test_a_key_does_not_appear_in_any_text(self):
        os.environ["PENSTOCK_TEST_KEY"] = "sk-very-secret"
        self.addCleanup(os.environ.pop, "PENSTOCK_TEST_KEY")
        received = []

        class Listening(FakeProvider):
            def serve(self, connection):
                received.append(connection.recv(65536))
                connection.close()
        beta = Listening(b"")
        self.addCleanup(beta.close)
        self.start_gateway(("beta", beta.url, {"api_key_env": "PENSTOCK_TEST_KEY"}))
        texts = [self.complete("beta-1").body, self.ask("GET", "/api/state").body, self.ask("GET", "/metrics").body]
        self.assertIn(b"Authorization: Bearer sk-very-secret", received[0])
        self.gateway.stop()
        self.assertNotIn(b"secret", b"".join(texts) + self.gateway.errors.encode())

    def test_files_and_flags(self):
        code, errors = self.run_gateway("--config", "/nowhere/gateway.json")
        self.assertEqual((code, errors), (78, "gateway: /nowhere/gateway.json: cannot be read\n"))
        code, errors = self.run_gateway("--provider", "alpha", "--workers", "many", "--quue", "3")
        self.assertEqual(code, 64)
        for expected in ["--provider: expected name=http://host:port, got 'alpha'", "--quue: there is no such flag",
                         "--workers: must be a number in [1, 256], got 'many'", "usage: gateway"]:
            self.assertIn(expected, errors)

    def test_keys_from_the_command_line(self):
        code, errors = self.run_gateway("--provider", "a=http://127.0.0.1:1", "--key", "b=PATH", "--key",
                                        "a=PENSTOCK_TEST_NO_SUCH_VARIABLE", "--attempts", "0")
        self.assertEqual(code, 64)
        for expected in ["with its key, got 'b=PATH'", "with its key, got 'a=PENSTOCK_TEST_NO_SUCH_VARIABLE'",
                         "--attempts: must be a number in [1, 100], got '0'"]:
            self.assertIn(expected, errors)

    def test_the_configuration_of_the_page(self):
        page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/gateway/README.md")
        with open(page, encoding="utf-8") as file:
            config = file.read().split("```json\n")[1].split("```")[0]
        for variable in ("OPENAI_KEY_EU", "OPENAI_KEY_US"):
            os.environ[variable] = "secret"
            self.addCleanup(os.environ.pop, variable, None)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(config)
            file.flush()
            self.gateway = self.start("gateway", "--config", file.name)
        self.assertEqual([model["id"] for model in self.ask("GET", "/v1/models").json["data"]],
                         ["gpt-4o", "gpt-4o-mini"])
        keys = self.state_of("openai")["lease"]["resources"]
        self.assertEqual([(key["id"], key["weight"]) for key in keys], [("eu", 3), ("us", 1)])

    def test_the_configuration_of_local_models_on_the_page(self):
        page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/gateway/README.md")
        with open(page, encoding="utf-8") as file:
            config = file.read().split("```json\n")[2].split("```")[0]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(config)
            file.flush()
            self.gateway = self.start("gateway", "--config", file.name)
        models = self.ask("GET", "/v1/models").json["data"]
        self.assertEqual([(model["id"], model["owned_by"], model["state"]) for model in models],
                         [("qwen-7b", "local", "stopped")])

    def test_a_port_that_is_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            code, errors = self.run_gateway("--provider", "a=http://127.0.0.1:1", "--port", str(taken.getsockname()[1]))
        self.assertEqual(code, 1)
        self.assertIn("cannot listen on 127.0.0.1:", errors)
