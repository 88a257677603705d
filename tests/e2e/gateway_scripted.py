# SPDX-License-Identifier: MIT
"""A provider that does what a test tells it to, call by call."""

import collections
import contextlib
import http.server
import json
import threading
import time

from gateway_support import LIMIT

Call = collections.namedtuple("Call", "number key content time")


def good(call):
    return 200, {}, {"choices": [{"message": {"content": call.content}}]}


def limited(seconds=None):
    return 429, {} if seconds is None else {"Retry-After": str(seconds)}, {"error": {"message": "slow down"}}


def refused():
    return 401, {}, {"error": {"message": "the key sk-... is not known"}}


def failed(status=503):
    return status, {}, {"error": {"message": "overloaded"}}


class ScriptedProvider:
    """Answers each call with what script(call) returns: a status, headers and a document. Runs scripts at once for calls
    at once; `calls` has all that have come, in the order in which they came."""

    def __init__(self, script):
        self.script = script
        self.calls = []
        self.lock = threading.Lock()
        self.released = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                outer.answer(self)

            def log_message(self, *arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128

            def handle_error(self, *arguments):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def answer(self, request):
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        key = request.headers.get("Authorization", "").replace("Bearer ", "")
        with self.lock:
            call = Call(len(self.calls) + 1, key, body["messages"][-1]["content"], time.monotonic())
            self.calls.append(call)
        status, headers, document = self.script(call)
        streams = body.get("stream") and status == 200
        if streams:
            text = "data: %s\n\ndata: [DONE]\n\n" % json.dumps(
                {"choices": [{"delta": document["choices"][0]["message"]}]})
        else:
            text = json.dumps(document)
        with contextlib.suppress(OSError):
            request.send_response(status)
            request.send_header("Content-Type", "text/event-stream" if streams else "application/json")
            request.send_header("Content-Length", str(len(text)))
            for name, value in headers.items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(text.encode())

    def hold(self):
        """For scripts: waits until the test calls release()."""
        if not self.released.wait(LIMIT):
            raise AssertionError("nobody has released the call")

    def release(self):
        self.released.set()

    def count(self, key=None):
        with self.lock:
            return sum(1 for call in self.calls if key is None or call.key == key)

    def attempts(self, content):
        """How many calls had that content."""
        with self.lock:
            return sum(1 for call in self.calls if call.content == content)

    def close(self):
        self.release()
        self.server.shutdown()
        self.server.server_close()
