"""Whether a tool's webhook leads to us, as far as the tool shows it to the bot: what `replymill doctor` says of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from connectors.api import Api
from connectors.contract import Check
from engine.errors import DeliveryRefused


@dataclass(frozen=True)
class Hook:
    """One webhook as its tool shows it."""

    address: Any
    active: bool = True
    #: What it signs with; empty where the tool does not show it.
    secret: Any = ""
    #: What of it is amiss besides, in words.
    lacks: str = ""


async def seen(api: Api, path: str, name: str = "") -> list[Mapping[str, Any]] | None:
    """A list of the API; None where the token may not see it.

    :param name: what holds it, where the answer is not the list itself.
    """
    try:
        said = await api.call("GET", path)
    except DeliveryRefused:
        return None
    found = said.get(name) if name and isinstance(said, dict) else said
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def judged(what: str, path: str, hooks: Sequence[Hook], secrets: str, advice: str) -> Check:
    """Whether one of them leads to our path, is on, signs with a secret of ours and lacks nothing.

    :param advice: where the webhook is set up.
    """
    what = f"{what} webhook"
    ours = [hook for hook in hooks if _leads_to(hook.address, path)]
    if not ours:
        return Check(what, False, f"none leads to {path}", advice)
    best = max(ours, key=lambda hook: (hook.active, _is_ours(hook.secret, secrets), not hook.lacks))
    if not best.active:
        return Check(what, False, "it is switched off", advice)
    if not _is_ours(best.secret, secrets):
        return Check(what, False, "it has another secret than Replymill: every request is refused", f"copy it anew. {advice}")
    if best.lacks:
        return Check(what, False, best.lacks, advice)
    return Check(what, True, f"it leads to {urlsplit(str(best.address)).netloc}{path}")


def _leads_to(address: Any, path: str) -> bool:
    """By the path alone: a proxy may have any name, and may add a path in front."""
    try:
        return isinstance(address, str) and urlsplit(address).path.rstrip("/").endswith(path)
    except ValueError:  # an address that is none leads nowhere
        return False


def _is_ours(secret: Any, secrets: str) -> bool:
    """A tool that shows none, or stars in its place, says nothing."""
    return not isinstance(secret, str) or not secret.strip("*•") or secret in secrets.split()
