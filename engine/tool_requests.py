"""The HTTP request of a call: parameters percent-encoded, secrets filled in last and shown by nobody."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import msgspec

from engine.tool_values import Kind
from engine.tools import Call

#: Stands in a template for a parameter, or for what is known of the message.
PLACE = re.compile(r"\{([a-z][a-z0-9_]*)\}")
#: Stands in a header for a secret of `REPLYMILL_TOOL_SECRETS`.
SECRET = re.compile(r"\{secret\.([a-z][a-z0-9_-]*)\}")
#: What a template may name beside the parameters.
KNOWN = frozenset({"tenant", "language", "sender", "message"})


@dataclass(frozen=True, kw_only=True)
class ToolRequest:
    """What is sent."""

    method: str
    url: str
    #: May hold secrets.
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = b""


def request_of(call: Call, secrets: Mapping[str, str], *, tenant: str, sender: str, message: str) -> ToolRequest:
    """The request; `message` is the id of the message that asks for it, and with the tool's name the idempotency key."""
    tool = call.tool
    given = {"tenant": tenant, "language": call.language, "sender": sender, "message": message, **call.parameters}
    headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "replymill"}
    headers |= {name: SECRET.sub(lambda at: secrets[at[1]], value) for name, value in tool.headers.items()}
    body = b""
    if tool.body is not None:
        body = msgspec.json.encode(_filled(tool.body, call, given))
        headers["content-type"] = "application/json"
    if tool.acts:
        headers["idempotency-key"] = f"{message}-{tool.name}"
    url = PLACE.sub(lambda at: _encoded(given[at[1]]), tool.url)
    return ToolRequest(method=tool.method, url=url, headers=headers, body=body)


def _encoded(value: str) -> str:
    """As one piece of an address; dots alone would be a step in its path."""
    return quote(value, safe="") if value.strip(".") else value.replace(".", "%2E")


def _filled(template: Any, call: Call, given: Mapping[str, str]) -> Any:
    """A body with its parameters; where a text is a whole number's place and nothing else, that number."""
    if isinstance(template, dict):
        return {name: _filled(value, call, given) for name, value in template.items()}
    if isinstance(template, list):
        return [_filled(value, call, given) for value in template]
    if not isinstance(template, str):
        return template
    alone = PLACE.fullmatch(template)
    parameter = call.tool.parameters.get(alone[1]) if alone else None
    if parameter and parameter.kind is Kind.INTEGER:
        return int(given[parameter.name])
    return PLACE.sub(lambda at: given[at[1]], template)
