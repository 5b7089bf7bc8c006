"""Logs: one JSON line an event, with its action and the ids bound to it, and never a secret."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from engine.settings import Settings
from workers import logs


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    """The logging of the test run itself comes back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Terminal(io.StringIO):
    """A stream that a person reads."""

    def isatty(self) -> bool:
        return True


def configured(stream: io.StringIO | None = None, **settings: Any) -> io.StringIO:
    stream = stream or io.StringIO()
    logs.configure(Settings(**settings), stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_action_and_what_is_bound() -> None:
    stream = configured()
    with structlog.contextvars.bound_contextvars(message="m1", conversation="c1"):
        structlog.get_logger("workers.some").info("A reply was sent", action="delivery.sent", attempt=1)

    [line] = lines(stream)
    assert line.pop("at").endswith("Z")
    assert line == {
        "event": "A reply was sent",
        "action": "delivery.sent",
        "attempt": 1,
        "message": "m1",
        "conversation": "c1",
        "level": "info",
        "logger": "workers.some",
    }


def test_lines_of_libraries_look_the_same_and_have_an_action() -> None:
    stream = configured()
    with structlog.contextvars.bound_contextvars(message="m1"):
        logging.getLogger("celery.worker").warning("Lost the %s", "broker", extra={"queue": "jobs"})

    [line] = lines(stream)
    assert (line["event"], line["action"], line["level"]) == ("Lost the broker", "library.celery.worker", "warning")
    assert (line["message"], line["queue"]) == ("m1", "jobs")


@pytest.mark.parametrize("name", ["httpx", "httpcore", "urllib3", "huggingface_hub", "uvicorn.access"])
def test_libraries_that_print_urls_are_silent_at_info(name: str) -> None:
    stream = configured()
    logging.getLogger(name).info("GET /bot123:secret/")
    logging.getLogger(f"{name}.inner").info("GET /bot123:secret/")

    assert stream.getvalue() == ""


def test_a_warning_of_python_is_a_line_too() -> None:
    stream = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(capture=True)
        warnings.warn("old call", DeprecationWarning, stacklevel=1)

    assert "old call" in lines(stream)[0]["event"]


@pytest.mark.parametrize(("level", "expected"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_of_the_settings_holds_for_ours_and_for_libraries(level: str, expected: int) -> None:
    stream = configured(log_level=level)
    for logger in (structlog.get_logger(f"ours.{level}"), logging.getLogger("theirs")):
        for method in ("debug", "info", "warning", "error"):
            getattr(logger, method)("text")

    assert len(lines(stream)) == 2 * expected


@pytest.mark.parametrize(
    ("settings", "stream", "readable"),
    [
        ({}, io.StringIO, False),
        ({}, Terminal, True),
        ({"log_format": "json"}, Terminal, False),
        ({"log_format": "console"}, io.StringIO, True),
    ],
)
def test_a_terminal_gets_readable_lines_unless_told_otherwise(
    settings: dict[str, str], stream: type[io.StringIO], readable: bool
) -> None:
    written = configured(stream(), **settings)
    structlog.get_logger("some").info("A reply was sent", action="delivery.sent")

    assert written.getvalue().startswith("{") is not readable
    assert "A reply was sent" in written.getvalue()


SECRETS = ["secret", "webhook_secret", "api_key", "apikey", "Authorization", "PASSWORD", "signature", "access_token", "set-cookie"]


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secret_looking_fields_are_hidden_wherever_they_stand(name: str, log_format: str) -> None:
    stream = configured(log_format=log_format)
    fields: dict[str, Any] = {name: "hunter2", "inner": {"deep": [{name: "hunter2"}]}, "many": {name: ["hunter2", b"hunter2"]}}
    structlog.get_logger("some").info("Something happened", action="x.y", **fields)
    logging.getLogger("theirs").info("text", extra={name: "hunter2"})

    assert "hunter2" not in stream.getvalue()
    assert logs.HIDDEN in stream.getvalue()


@pytest.mark.parametrize("value", [45, 0.5, True, None])
def test_numbers_are_no_secrets(value: Any) -> None:
    stream = configured()
    structlog.get_logger("some").info("A batch was answered", action="x.y", prompt_tokens=value)

    assert lines(stream)[0]["prompt_tokens"] == value


def test_passwords_in_urls_are_hidden_in_texts_fields_and_tracebacks() -> None:
    stream = configured()
    logging.getLogger("kombu").error("Cannot connect to redis://user:hunter2@host:6379/0")
    try:
        raise ConnectionError("redis://:hunter2@host")
    except ConnectionError:
        structlog.get_logger("some").exception("Redis is away", action="x.y", url="rediss://:hunter2@host")

    assert "hunter2" not in stream.getvalue()
    assert lines(stream)[0]["event"] == "Cannot connect to redis://***@host:6379/0"
    assert "ConnectionError: redis://***@host" in lines(stream)[1]["exception"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_local_variables(log_format: str) -> None:
    stream = configured(log_format=log_format)
    text_of_a_person = "my order " + "number is " + "4711"
    try:
        raise ValueError(len(text_of_a_person))
    except ValueError:
        structlog.get_logger("some").exception("It failed", action="x.y")

    assert "ValueError" in stream.getvalue()
    assert "4711" not in stream.getvalue()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON), st.text(st.characters(codec=None)))
def test_hiding_never_fails_and_keeps_all_names(event: dict[str, Any], text: str) -> None:
    assert logs.hide_secrets(None, "info", {**event, "event": text}).keys() == {**event, "event": text}.keys()


def test_any_text_makes_one_line() -> None:
    stream = configured()
    structlog.get_logger("some").info("Something", action="x.y", text="a\nb\x00\ud800\u2028", raw=b"\xff\n")

    assert len(stream.getvalue().splitlines()) == 1
    assert lines(stream)[0]["text"] == "a\nb\x00\ud800\u2028"
