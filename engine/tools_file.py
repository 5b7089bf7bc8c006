"""Reads the file that registers tools (TOML or YAML), and refuses what could not work or would not be safe.

Each table at the top is one tool; `docs/tools.md` has the whole form. Everything is checked at start: no customer is to find out.
"""

import importlib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import msgspec

from engine.errors import SettingsError
from engine.settings import PREFIX, Settings
from engine.tool_answers import path_of
from engine.tool_requests import KNOWN, PLACE, SECRET
from engine.tool_values import MOST_VALUE, Kind, Parameter, compiled
from engine.tools import ANY, OnError, Rule, Texts, Tool, Tools

#: Bytes of the file, and of an answer at most.
MOST_FILE, MOST_ANSWER = 1_000_000, 1_048_576
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
#: Headers that we make ourselves.
_OURS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection", "idempotency-key"})
_LANGUAGE = re.compile(rf"[a-z]{{2,3}}|{ANY}")

Positive = Annotated[float, msgspec.Meta(gt=0, le=60)]


class _Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; an unknown name in it is a mistake."""


class _Rules(_Form, frozen=True, kw_only=True):
    patterns: list[str] = []
    keywords: list[str] = []


class _Parameter(_Form, frozen=True, kw_only=True):
    type: Kind
    pattern: str = ""
    minimum: int = -(10**18)
    maximum: int = 10**18
    values: dict[str, list[str]] = {}
    ask: dict[str, str]
    month_first: bool = False


class _Say(_Form, frozen=True, kw_only=True):
    reply: str
    not_found: str
    error: str


class _Tool(_Form, frozen=True, kw_only=True):
    url: str
    rules: dict[str, _Rules]
    say: dict[str, _Say]
    parameters: dict[str, _Parameter] = {}
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: dict[str, str] = {}
    body: Any = None
    timeout: Positive = 5.0
    most_bytes: Annotated[int, msgspec.Meta(ge=1, le=MOST_ANSWER)] = 65_536
    private: bool = False
    not_found: tuple[int, ...] = (404, 410)
    found: str = ""
    fields: dict[str, str] = {}
    optional: list[str] = []
    words: dict[str, dict[str, dict[str, str]]] = {}
    on_error: OnError = OnError.SAY
    tenants: list[str] = []


def load(settings: Settings) -> Tools:
    """The tools of `REPLYMILL_TOOLS`; none where that is not set.

    :raises SettingsError: naming the file, the tool and what is wrong with it.
    """
    return read(settings) if settings.tools else Tools()


def read(settings: Settings) -> Tools:
    """:raises SettingsError: as `load`."""
    where, secrets = f"{PREFIX}TOOLS is {settings.tools!r}", secrets_of(settings)
    try:
        found = _parsed(Path(settings.tools))
        if not isinstance(found, dict):
            raise ValueError("a table for each tool is expected")
        return Tools([_tool(name, one, secrets, settings.tool_hosts) for name, one in found.items()])
    except (OSError, ValueError) as error:
        raise SettingsError(f"{where}: {error}") from error


def secrets_of(settings: Settings) -> dict[str, str]:
    """By name."""
    return dict(one.split("=", 1) for one in settings.tool_secrets)


def _parsed(path: Path) -> Any:
    with path.open("rb") as file:
        raw = file.read(MOST_FILE + 1)
    if len(raw) > MOST_FILE:
        raise ValueError(f"the file is larger than {MOST_FILE} bytes")
    if path.suffix.lower() not in (".yaml", ".yml"):
        return tomllib.loads(raw.decode())
    yaml = importlib.import_module("yaml")  # whoever writes TOML waits for no other parser
    try:
        return yaml.safe_load(raw.decode())
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"no YAML: {error}") from error


def _tool(name: str, found: Any, secrets: Mapping[str, str], hosts: tuple[str, ...]) -> Tool:
    try:
        if not _NAME.fullmatch(str(name)):
            raise ValueError("a name is small letters, digits and _")
        form = msgspec.convert(found, _Tool, strict=True)
        _check_names(form)
        _check_url(form, hosts)
        _check_headers(form, secrets)
        _check_texts(form)
        return _built(name, form)
    except ValueError as error:  # of msgspec too
        raise ValueError(f"tool {name!r}: {error}") from error


def _built(name: str, form: _Tool) -> Tool:
    return Tool(
        name=name,
        rules=tuple(_rules(form)),
        parameters={one: _parameter(one, parameter) for one, parameter in form.parameters.items()},
        method=form.method,
        url=form.url,
        headers={header.lower(): value for header, value in form.headers.items()},
        body=form.body,
        timeout=form.timeout,
        most_bytes=form.most_bytes,
        private=form.private,
        not_found=frozenset(form.not_found),
        found=path_of(form.found) if form.found else (),
        fields={one: path_of(path) for one, path in form.fields.items()},
        optional=frozenset(form.optional),
        words=form.words,
        say={language: Texts(reply=say.reply, not_found=say.not_found, error=say.error) for language, say in form.say.items()},
        on_error=form.on_error,
        tenants=frozenset(form.tenants),
    )


def _rules(form: _Tool) -> list[Rule]:
    found = []
    for language, rules in form.rules.items():
        for pattern in (*rules.patterns, *map(keywords, rules.keywords)):
            made = compiled(pattern)
            if made.search(""):
                raise ValueError(f"the rule {pattern!r} is true of every message")
            if unknown := set(made.groupindex) - set(form.parameters):
                raise ValueError(f"the group {min(unknown)!r} of a rule is no parameter")
            found.append(Rule(language, made))
    if not found:
        raise ValueError("`rules` has no pattern and no keyword: nothing would ever call it")
    return found


def keywords(phrase: str) -> str:
    """The pattern of a phrase: words in their order, `*` for any ending, `...` for up to five words between.

    :raises ValueError: there is no word in it.
    """
    pieces = phrase.split()
    if not any(re.search(r"\w", piece) for piece in pieces):
        raise ValueError(f"the keyword {phrase!r} has no word")
    made, gap = "", ""
    for piece in pieces:
        if piece == "...":
            gap = r"(?:\W+\w+){0,5}?\W+"
            continue
        made += (gap or r"\W+" if made else "") + re.escape(piece.rstrip("*")) + (r"\w*" if piece.endswith("*") else "")
        gap = ""
    # Where words have no spaces between them, a phrase may stand anywhere.
    edge = "" if re.search(r"[\u0e00-\u0e7f\u3040-\u9fff]", phrase) else r"\b"
    return f"{edge}{made}{edge}"


def _parameter(name: str, form: _Parameter) -> Parameter:
    if form.type is Kind.STRING and not form.pattern:
        raise ValueError(f"the parameter {name!r} is text: it needs a `pattern`")
    if form.type is Kind.ENUM and not form.values:
        raise ValueError(f"the parameter {name!r} needs `values`")
    if form.minimum > form.maximum:
        raise ValueError(f"the parameter {name!r} has a `minimum` above its `maximum`")
    if any(len(value) > MOST_VALUE for value in form.values):
        raise ValueError(f"a value of {name!r} has more than {MOST_VALUE} characters")
    pattern = compiled(form.pattern) if form.pattern else None
    if pattern is not None and pattern.fullmatch(""):
        raise ValueError(f"the pattern of {name!r} is true of nothing at all")
    values = {value: tuple(words) for value, words in form.values.items()}
    return Parameter(
        name=name,
        kind=form.type,
        pattern=pattern,
        minimum=form.minimum,
        maximum=form.maximum,
        values=values,
        ask=form.ask,
        month_first=form.month_first,
    )


def _check_names(form: _Tool) -> None:
    for one in (*form.parameters, *form.fields):
        if not _NAME.fullmatch(one) or one in KNOWN:
            raise ValueError(f"{one!r} is no name: small letters, digits and _, and none of {', '.join(sorted(KNOWN))}")
    if both := set(form.parameters) & set(form.fields):
        raise ValueError(f"{min(both)!r} is a parameter and a field")
    if unknown := {*form.optional, *form.words} - set(form.fields):
        raise ValueError(f"{min(unknown)!r} of `optional` or `words` is no field")
    for language in (*form.rules, *form.say, *(one for parameter in form.parameters.values() for one in parameter.ask)):
        if not _LANGUAGE.fullmatch(language):
            raise ValueError(f"{language!r} is no language: two letters such as en, or {ANY}")
    if not form.say or not all(parameter.ask for parameter in form.parameters.values()):
        raise ValueError("`say` of the tool and `ask` of each parameter need a text in one language at least")


def _check_url(form: _Tool, hosts: tuple[str, ...]) -> None:
    """The host is the file's own, never a parameter's, and one that the operator's allow-list has."""
    _check_places("url", form.url, {*form.parameters, *KNOWN})
    head = re.match(r"(https?)://([^/?#{}@\s]+)(?=[/?#]|$)", form.url)
    if head is None:
        raise ValueError("`url` must be https://host/..., its host without {places} and passwords")
    try:
        url = httpx.URL(PLACE.sub("x", form.url))
        port = url.port or (443 if url.scheme == "https" else 80)
    except (httpx.InvalidURL, ValueError) as error:
        raise ValueError(f"`url` is none: {error}") from error
    if url.scheme != "https" and not form.private:
        raise ValueError("`url` must begin with https://, unless the tool is `private`")
    if not {url.host, f"{url.host}:{port}"} & set(hosts):
        raise ValueError(f"its host is not allowed: add {url.host} to {PREFIX}TOOL_HOSTS")


def _check_headers(form: _Tool, secrets: Mapping[str, str]) -> None:
    for name, value in form.headers.items():
        if not _HEADER.fullmatch(name) or name.lower() in _OURS:
            raise ValueError(f"the header {name!r} cannot be set")
        if not value.isascii() or not value.isprintable():
            raise ValueError(f"the header {name!r} must be printable ASCII")
        if missing := {place for place in SECRET.findall(value) if place not in secrets}:
            raise ValueError(f"the secret {min(missing)!r} is not in {PREFIX}TOOL_SECRETS")
        if "{" in SECRET.sub("", value):
            raise ValueError(f"the header {name!r} may hold {{secret.NAME}} and no other place")
    if form.body is not None:
        if form.method == "GET":
            raise ValueError("`body` needs another `method` than GET")
        for text in _strings(form.body):
            _check_places("body", text, {*form.parameters, *KNOWN})


def _check_texts(form: _Tool) -> None:
    for language, say in form.say.items():
        _check_places(f"say.{language}.reply", say.reply, {*form.parameters, *form.fields})
        for name, text in (("not_found", say.not_found), ("error", say.error)):
            _check_places(f"say.{language}.{name}", text, set(form.parameters))
        if not all(text.strip() for text in (say.reply, say.not_found, say.error)):
            raise ValueError(f"say.{language} has an empty text")


def _check_places(where: str, text: str, known: set[str]) -> None:
    if unknown := set(PLACE.findall(text)) - known:
        raise ValueError(f"`{where}` has a place {{{min(unknown)}}} that nothing fills")
    if "{" in (left := PLACE.sub("", text)) or "}" in left:
        raise ValueError(f"`{where}` has a bracket that is no place: write {{name}}")


def _strings(found: Any) -> list[str]:
    if isinstance(found, dict):
        return [text for value in found.values() for text in _strings(value)]
    if isinstance(found, list):
        return [text for value in found for text in _strings(value)]
    return [found] if isinstance(found, str) else []
