"""A Celery task per message, acknowledged late, behind a web server that queues: settings by environment, as a tutorial has it.

The worker: `celery -A tests.bench.plain_celery worker`; the server: `python -m tests.bench.plain_celery PORT`.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from celery import Celery

from connectors.signatures import secret_bytes, sign
from tests.bench.plain import THINKING

app = Celery("plain", broker=os.environ["PLAIN_BROKER"])
app.conf.task_acks_late = True
app.conf.task_reject_on_worker_lost = True
app.conf.worker_prefetch_multiplier = 1
app.conf.broker_connection_retry_on_startup = True
# As long as a lease of Replymill; the default is an hour, in which nothing of a killed worker would come back.
app.conf.broker_transport_options = {"visibility_timeout": float(os.environ["PLAIN_VISIBILITY"])}


@app.task(name="answer", bind=True, autoretry_for=(httpx.HTTPError,), max_retries=10, retry_backoff=True)  # type: ignore[untyped-decorator]
def answer(self: Any, conversation: str, text: str) -> None:
    time.sleep(THINKING)
    body = json.dumps({"data": {"conversation": conversation, "text": text}}).encode()
    # The id of the task stays with it over all attempts: the receiver recognises a repeat.
    signed = sign(secret_bytes(os.environ["PLAIN_SECRET"]), self.request.id, timestamp=int(time.time()), body=body)
    httpx.post(os.environ["PLAIN_CALLBACK"], content=body, headers=signed, trust_env=False, timeout=5).raise_for_status()


class Door(BaseHTTPRequestHandler):
    """Queues and acknowledges."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer.apply_async((asked["conversation"], asked["text"]), retry=False)
        self.send_response(202)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        return


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Door).serve_forever()
