"""Each batch as a Celery task event, so that Flower and `celery events` show it. Losing the broker loses events, never messages."""

import queue
import threading
import uuid
from typing import Any

import structlog
from kombu.exceptions import OperationalError

from engine.generating import Generating

log = structlog.get_logger()

#: Name under which batches are shown.
TASK = "replymill.answer"
#: Events that wait for the broker; more are dropped.
BUFFER = 1000
#: Seconds a worker that ends waits for the last of them to be sent.
FAREWELL = 1.0

_END = "end"


class BatchEvents:
    """Sends events from a thread of its own: the broker may be slow or away."""

    def __init__(self, app: Any, hostname: str) -> None:
        self._app = app
        self._hostname = hostname
        self._errors: tuple[type[Exception], ...] = (OperationalError, *app.connection_for_write().connection_errors)
        self._queue: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue(BUFFER)
        self._ids: dict[int, str] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._send, name="events", daemon=True)
        self._thread.start()

    def started(self, generating: Generating) -> None:
        """The model got a batch."""
        batch_id = self._ids[id(generating)] = str(uuid.uuid4())
        sizes = f"({len(generating.batch)} turns, {sum(prepared.prompt_tokens for prepared in generating.batch)} prompt tokens)"
        self._put("task-received", uuid=batch_id, name=TASK, args=sizes, kwargs="{}", retries=0, eta=None)
        self._put("task-started", uuid=batch_id)

    def finished(self, generating: Generating, error: BaseException | None) -> None:
        """It came back."""
        batch_id = self._ids.pop(id(generating))
        if error is None:
            seconds, size = round(generating.seconds, 3), len(generating.batch)
            log.info("the model has answered a batch", action="answer.batch", size=size, tokens=generating.tokens, seconds=seconds)
            self._put("task-succeeded", uuid=batch_id, result=f"{len(generating.batch)} replies", runtime=generating.seconds)
        else:
            self._put("task-failed", uuid=batch_id, exception=repr(error), traceback="")

    def close(self) -> None:
        """Send what still waits, if the broker takes it at once."""
        self._put(_END)
        self._thread.join(FAREWELL)
        self._closed = True

    def _put(self, kind: str, **fields: Any) -> None:
        try:
            self._queue.put_nowait((kind, fields))
        except queue.Full:
            log.debug("an event was dropped: the broker takes none", action="events.dropped", kind=kind)

    def _send(self) -> None:
        while not self._closed:
            try:
                with self._app.connection_for_write() as connection:
                    # Celery's own buffer for a broker that is away has no bound and is never flushed.
                    self._forward(self._app.events.Dispatcher(connection, self._hostname, buffer_while_offline=False))
            except self._errors as error:
                log.debug("the broker is away; events are dropped", action="events.away", error=str(error))

    def _forward(self, events: Any) -> None:
        while not self._closed:
            kind, fields = self._queue.get()
            if kind == _END:
                self._closed = True
            else:
                events.send(kind, **fields)
