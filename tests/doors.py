"""What tests of the doors share: a real web process in a thread, a signing client, and a receiver of callbacks."""

import base64
import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from connectors import web
from connectors.signatures import secret_bytes, sign
from engine.endpoints import WebhookEndpoint
from engine.settings import Settings
from tests.conftest import wait_for
from workers.embedded import free_port

SECRET = "whsec_" + base64.b64encode(b"a secret of the tests, 32 bytes.").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"another secret of tests, 32 byte").decode()


def with_endpoint(settings: Settings, name: str = "shop", **fields: Any) -> Settings:
    """The settings with one more webhook endpoint."""
    endpoint = WebhookEndpoint(**{"name": name, "secrets": (SECRET,), "callback_secret": SECRET, "tenant": name, **fields})
    return dataclasses.replace(settings, port=free_port(), webhooks={**settings.webhooks, name: endpoint})


class Door:
    """A running web process and a client of it."""

    def __init__(self, server: web.Server) -> None:
        self.server = server
        self.settings = server.web.settings
        self.url = f"http://{self.settings.host}:{self.settings.port}"
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=30)

    def post(
        self, body: Any, *, message_id: str = "msg_1", name: str = "shop", secret: str = SECRET, **headers: str
    ) -> httpx.Response:
        """A signed request; `body` is bytes, or what JSON can hold."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(f"/webhooks/{name}", content=raw, headers={**signed(raw, message_id, secret=secret), **headers})

    def look(self, message_id: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.settings.api_keys[0]}"}
        return self.http.get(f"/v1/messages/{message_id}", headers=headers)


def signed(raw: bytes, message_id: str, *, secret: str = SECRET, age: float = 0) -> dict[str, str]:
    """The headers of a request signed `age` seconds ago."""
    headers = sign(secret_bytes(secret), message_id, timestamp=int(time.time() - age), body=raw)
    return {**headers, "content-type": "application/json"}


@contextmanager
def opened(settings: Settings) -> Iterator[Door]:
    """The web process in a thread, ended gracefully."""
    server = web.Server(web.Web(settings))
    thread = threading.Thread(target=server.run, name="web", daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started)
        door = Door(server)
        with door.http:
            yield door
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def ready(door: Door) -> bool:
    return door.http.get("/readyz").status_code == 200


class Received(list[dict[str, Any]]):
    """The callbacks that came, each with its headers, body and raw bytes."""


class Receiver:
    """A callback address: answers each request with the next of `answers`, then 204."""

    def __init__(self) -> None:
        self.received = Received()
        #: (status, headers, body)
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.connections: set[Any] = set()
        outer = self

        class Handling(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"]))
                outer.connections.add(self.client_address)
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.received.append({"path": self.path, "headers": headers, "raw": raw})
                status, extra, body = outer.answers.pop(0) if outer.answers else (204, {}, b"")
                self.send_response(status)
                for name, value in ({"content-length": str(len(body))} | extra).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handling)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/replies"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> "Receiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
