"""Logs of every process, its own and those of libraries: JSON lines in production, readable on a terminal.

Each line has the constant sentence of its event, a stable `action`, the time in UTC and whatever ids are bound to the context
(`structlog.contextvars.bind_contextvars(message=..., conversation=...)`). Secrets are hidden by the name of their field.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from engine.settings import Settings

#: What stands in the place of a secret.
HIDDEN = "(hidden)"

#: Fields whose text is hidden. Numbers stay: `prompt_tokens=45` is no secret.
_SECRET = re.compile(
    r"secret|passw|token|api_?key|authorization|signature|cookie|credential|private_?key|redis_url|broker_url", re.IGNORECASE
)

#: The user name and password in a URL.
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")

#: Libraries that tell at info what each request was, with its URL; a bot token may be part of one.
_QUIET = ("httpx", "httpcore", "httpx2", "httpcore2", "urllib3", "huggingface_hub", "filelock", "asyncio", "uvicorn.access")
#: One that tells each step of each search, and sets its own level when it is imported: nothing of it is shown.
_TALKATIVE = ("bm25s",)


def configure(settings: Settings, *, stream: TextIO | None = None, lasting: bool = True) -> None:
    """Send all logs of this process to `stream` (by default stderr); may be called again.

    `lasting`: for a process that serves, whose loggers are made once. A command's may be called within another program.
    """
    stream = stream or sys.stderr
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=lasting,
    )
    readable = settings.log_format == "console" or (settings.log_format == "auto" and stream.isatty())
    _route_libraries(stream, level, renderer=_console(stream) if readable else structlog.processors.JSONRenderer())


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replaces the text of fields with secret-looking names, and user names and passwords within URLs anywhere."""
    return {name: _hidden(name, value) for name, value in event.items()}


def ensure_action(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A line of a library gets its logger's name as action, such as `library.celery.worker`."""
    event.pop("color_message", None)  # uvicorn says everything twice
    event.setdefault("action", f"library.{event.get('logger', 'unknown')}")
    return event


def _hidden(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _hidden(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_hidden(name, inner) for inner in value]
    if isinstance(value, str | bytes) and value and _SECRET.search(name):
        return HIDDEN
    return _USER_INFO.sub("***", value) if isinstance(value, str) and "://" in value else value


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        ensure_action,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.StackInfoRenderer(),
        # A plain traceback: the richer ones print local variables, and with them what people wrote.
        structlog.processors.format_exc_info,
        hide_secrets,
    ]


def _console(stream: TextIO) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), timestamp_key="at", exception_formatter=structlog.dev.plain_traceback
    )


def _route_libraries(stream: TextIO, level: int, *, renderer: Processor) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    for name in _TALKATIVE:
        logging.getLogger(name).propagate = False
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
