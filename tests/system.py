"""A whole running Replymill for tests: real processes, a real callback receiver, nothing replaced."""

import base64
import hashlib
import hmac
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import wait_for

ROOT = Path(__file__).resolve().parent.parent
API_KEY = "an-api-key-of-the-tests"
SECRET = "whsec_" + base64.b64encode(b"a secret of the tests, 32 bytes!").decode()
CALLBACK_SECRET = "whsec_" + base64.b64encode(b"another secret of the tests, 32!").decode()


def sign(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """Standard Webhooks, written from the specification."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


@dataclass(frozen=True)
class Posted:
    """One request that the receiver got."""

    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def data(self) -> dict[str, Any]:
        return dict(json.loads(self.body)["data"])


class Receiver:
    """The customer's server: records callbacks; answers the next statuses of `script`, then 200."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        #: Statuses for the next requests; 0 takes the request and never answers.
        self.script: list[int] = []
        receiver = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.posted.append(Posted({name.lower(): value for name, value in self.headers.items()}, body, time.time()))
                status = receiver.script.pop(0) if receiver.script else 200
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/replies"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def answers_to(self, webhook_id: str) -> list[Posted]:
        return [posted for posted in list(self.posted) if posted.data["in_reply_to"] == webhook_id]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class System:
    """Processes of one Replymill on one Redis."""

    redis_url: str
    port: int
    folder: Path
    receiver: Receiver
    extra: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    #: One for all requests: making one takes 20 ms.
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=10))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("REPLYMILL_")}
        ours = {
            "REDIS_URL": self.redis_url,
            "PORT": str(self.port),
            "DATA_DIR": str(self.folder),
            "SECRET_KEY": "a secret key of the tests",
            "API_KEYS": API_KEY,
            "MAX_TOKENS": "16",
            "LEASE": "2",
            "SEND_TIMEOUT": "0.9",
            "LOG_FORMAT": "json",
            "WEBHOOK_SHOP_SECRET": SECRET,
            "WEBHOOK_SHOP_CALLBACK_URL": self.receiver.url,
            "WEBHOOK_SHOP_CALLBACK_SECRET": CALLBACK_SECRET,
            "WEBHOOK_SHOP_CALLBACK_PRIVATE": "true",
        }
        return kept | {f"REPLYMILL_{name}": value for name, value in (ours | self.extra).items()}

    def start(self, *roles: str) -> None:
        """Start processes by role, `deliver-2` being a second of one; `web` is waited for."""
        for role in roles:
            with (self.folder / f"{role}.log").open("ab") as log:
                self.processes[role] = subprocess.Popen(
                    [sys.executable, "-m", "workers.cli", role.partition("-")[0]],
                    env=self.environ,
                    cwd=ROOT,
                    stdout=log,
                    stderr=log,
                )
        if "web" in roles:
            wait_for(self.ready, timeout=60)

    def ready(self) -> bool:
        self.check_alive()
        try:
            return self.client.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, role: str, *, by: signal.Signals = signal.SIGTERM) -> int:
        process = self.processes.pop(role)
        process.send_signal(by)
        return process.wait(60)

    def stop_all(self) -> None:
        for role in list(self.processes):
            self.stop(role)
        self.client.close()

    def log(self, role: str) -> str:
        return (self.folder / f"{role}.log").read_text()

    def post(self, text: str, *, conversation: str = "c", webhook_id: str = "") -> tuple[str, httpx.Response]:
        """Send a signed message; says its webhook id and the response."""
        webhook_id = webhook_id or "msg_" + secrets.token_hex(8)
        body = json.dumps({"conversation": conversation, "user": "u", "text": text}).encode()
        timestamp = str(int(time.time()))
        headers = {
            "webhook-id": webhook_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(SECRET, webhook_id, timestamp, body),
            "content-type": "application/json",
        }
        return webhook_id, self.client.post(f"{self.url}/webhooks/shop", content=body, headers=headers)

    def message(self, message_id: str) -> dict[str, Any]:
        response = self.client.get(f"{self.url}/v1/messages/{message_id}", headers={"Authorization": f"Bearer {API_KEY}"})
        assert response.status_code == 200, response.text
        return dict(response.json())

    def wait_delivered(self, message_id: str, timeout: float = 60) -> dict[str, Any]:
        return self.wait_state(message_id, "delivered", timeout=timeout)

    def wait_state(self, message_id: str, *states: str, timeout: float = 60) -> dict[str, Any]:
        """The message, once it is in one of the states; fails at once if a process has ended by itself."""

        def there() -> dict[str, Any] | None:
            self.check_alive()
            found = self.message(message_id)
            return found if found["state"] in states else None

        found = wait_for(there, timeout=timeout)
        assert found is not None
        return found

    def check_alive(self) -> None:
        for role, process in self.processes.items():
            assert process.poll() is None, f"{role} ended with {process.returncode}: {self.log(role)[-2000:]}"
