"""Webhook endpoints: REPLYMILL_WEBHOOK_<NAME>_<PART>, each a signed door of its own. Read by `engine.settings`.

A scheme says how a sender signs, paths say where its bodies hold what a message consists of: so a tool that Replymill has no
connector for is connected by settings alone. A part that would do nothing is refused, since whoever sets it expects it to.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine import values
from engine.accounts import part

_STEP = re.compile(r"\[([0-9]{1,4})\]|(?:^|\.)([^.\[\]\s]+)")
_CONDITION = re.compile(r"([^=!]+)(!?)=(.*)", re.DOTALL)
_PLACE = re.compile(r"\{[^{}]*\}")


class Condition(NamedTuple):
    """What the body of an event must say."""

    path: tuple[str, ...]
    #: Whether the value must be there, or must not.
    equal: bool
    value: str


def path(value: str) -> tuple[str, ...]:
    """The steps of a dotted path, such as `data.messages.0.text` or `$.data.messages[0].text`."""
    rest = re.sub(r"^\$(\.|(?=\[)|$)", "", value)
    steps = tuple(match[1] or match[2] for match in _STEP.finditer(rest))
    if not steps or _STEP.sub("", rest):
        raise ValueError("a dotted path into the body, such as data.messages.0.text")
    return steps


def conditions(value: str) -> tuple[Condition, ...]:
    """Conditions separated by spaces."""
    found = [_CONDITION.fullmatch(word) for word in value.split()]
    if not found or not all(found):
        raise ValueError("words such as event=message_created or data.author!=bot")
    return tuple(Condition(path(match[1]), not match[2], match[3]) for match in found if match)


def header(value: str) -> str:
    """The name of a header, in lower case."""
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", value):
        raise ValueError("the name of a header")
    return value.lower()


def prefix_of_signatures(value: str) -> str:
    """What a header can hold."""
    if not re.fullmatch(r"[!-~][ -~]{0,63}", value):
        raise ValueError("1 to 64 visible ASCII characters")
    return value


def template(value: str) -> str:
    """What is signed."""
    known = set(_PLACE.findall(value)) <= {"{id}", "{timestamp}", "{body}"}
    if not known or value.count("{body}") != 1 or len(value) > 256:
        raise ValueError("up to 256 characters with {body} once, and no other places than {id} and {timestamp}")
    return value


@dataclass(frozen=True, kw_only=True)
class WebhookEndpoint:
    """One signed door, `POST /webhooks/<name>`, and where its replies go."""

    #: The name in the path: lower case, `-` for `_`.
    name: str
    secrets: tuple[str, ...] = part(
        "`whsec_` secrets; for `hmac` and `secret` texts of 16 characters or more, each separated by spaces and good to verify; "
        "for `rsa` the sender's public key, PEM or base64",
        default=(),
        secret=True,
    )
    callback_url: str = part("where replies are posted, https unless ..._CALLBACK_PRIVATE is set")
    callback_secret: str = part("the `whsec_` secret that signs replies (default: the first `whsec_` of ..._SECRET)", secret=True)
    callback_private: bool = part(
        "true allows http and a private address for this callback host alone", default=False, parse=values.flag
    )
    tenant: str = part("whose bot this endpoint is (default: the endpoint's name)")
    scheme: str = part(
        "how requests are signed: `standard` (Standard Webhooks), `hmac`, `rsa`, or `secret` (a header holds the secret itself)",
        default="standard",
        parse=values.one_of("standard", "hmac", "secret", "rsa"),
    )
    signature_header: str = part("header of the signature, or of the secret", parse=header)
    signature_prefix: str = part("what stands before the signature, such as `sha256=`", parse=prefix_of_signatures)
    encoding: str = part("how an `hmac` is written: `hex` or `base64`", default="hex", parse=values.one_of("hex", "base64"))
    hash: str = part("its hash: `sha256`, `sha1` or `sha512`", default="sha256", parse=values.one_of("sha256", "sha1", "sha512"))
    template: str = part("what is signed, of `{id}`, `{timestamp}` and `{body}`", default="{body}", parse=template)
    timestamp_header: str = part("header of the time of signing, which the template must hold", parse=header)
    timestamp_format: str = part("`unix` (seconds) or `iso` (with an offset)", default="unix", parse=values.one_of("unix", "iso"))
    tolerance: int = part("seconds the signature may be old, or ahead", default=300, parse=values.whole(1, 86_400))
    id_header: str = part("header of the message's id, by which its repeat is recognised", parse=header)
    id_field: tuple[str, ...] = part("the same in the body, such as `data.message.id`", default=(), parse=path)
    conversation_field: tuple[str, ...] = part("where the body names the conversation", default=(), parse=path)
    user_field: tuple[str, ...] = part("where it names who writes", default=(), parse=path)
    text_field: tuple[str, ...] = part("where it holds the text", default=(), parse=path)
    wishes: bool = part(
        "false hands `stop` and wishes such as `talk to a human` to the model like any message; else they are done",
        default=True,
        parse=values.flag,
    )
    only: tuple[Condition, ...] = part(
        "which events are messages, such as `event=message_created data.author.type!=bot`; the others are left alone",
        default=(),
        parse=conditions,
    )


#: Each part by the last word of its variable.
PARTS: dict[str, "dataclasses.Field[Any]"] = {
    "SECRET" if one.name == "secrets" else one.name.upper(): one
    for one in dataclasses.fields(WebhookEndpoint)
    if one.name != "name"
}
#: The parts with their meaning.
WEBHOOK_PARTS: Mapping[str, str] = {word: one.metadata["meaning"] for word, one in PARTS.items()}


def match(prefix: str, variable: str) -> tuple[str, str] | None:
    """(name, part) that a variable names, if it is one of a webhook."""
    found = re.fullmatch(rf"{prefix}WEBHOOK_([A-Z0-9]+(?:_[A-Z0-9]+)*?)_({'|'.join(PARTS)})", variable)
    return (found[1].lower().replace("_", "-"), found[2]) if found else None


def meant(prefix: str, misspelt: str) -> list[str]:
    """What a variable of a webhook may have been meant to be: each of its first words is taken for the endpoint's name."""
    if not misspelt.startswith(f"{prefix}WEBHOOK_"):
        return []
    words = misspelt.removeprefix(f"{prefix}WEBHOOK_").split("_")
    return [f"{prefix}WEBHOOK_{'_'.join(words[:end])}_{part}" for end in range(1, len(words)) for part in PARTS]


def describe(prefix: str) -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of every part."""
    return [(f"{prefix}WEBHOOK_<NAME>_{word}", _shown(one.default), one.metadata["meaning"]) for word, one in PARTS.items()]


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)
