"""`replymill init`: a commented `.env` for the platforms that a person names, and what to do at each of them."""

import base64
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field
from pathlib import Path
from typing import Any

from connectors import slack_manifest
from engine.accounts import SECTIONS, SlackApp, parts
from engine.endpoints import WEBHOOK_PARTS
from engine.errors import SettingsError
from engine.settings import PREFIX

#: Any tool that signs its requests.
WEBHOOK = "webhook"
PLATFORMS = (*SECTIONS, WEBHOOK)

#: (variable, what it is, whether it is a secret) to the answer of a person; empty leaves it out.
Ask = Callable[[str, str, bool], str]


def stem(platform: str, name: str) -> str:
    """What the variables of an account begin with."""
    return f"{PREFIX}{platform.upper()}_{name.upper().replace('-', '_')}"


def answers(platform: str, name: str, ask: Ask) -> dict[str, str]:
    """Every variable of an account with what a person said to it; only what must be set, or usually is, is asked for."""
    if platform == WEBHOOK:
        made = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        callback = f"{stem(platform, name)}_CALLBACK_URL"
        return {f"{stem(platform, name)}_SECRET": made, callback: ask(callback, WEBHOOK_PARTS["CALLBACK_URL"], False)}
    return {
        f"{stem(platform, name)}_{word}": ask(f"{stem(platform, name)}_{word}", one.metadata["meaning"], one.metadata["secret"])
        for word, one in parts(SECTIONS[platform]).items()
        if one.metadata["required"] or one.name in SECTIONS[platform].USUAL
    }


def written(platform: str, name: str, given: Mapping[str, str]) -> str:
    """The part of `.env` for one account: each variable under what it means, those without a value commented out."""
    known = _meanings(platform)
    lines = [f"# -- {platform}: {name}, see docs/{'webhooks' if platform == WEBHOOK else platform}.md", ""]
    for word, meaning in known.items():
        variable = f"{stem(platform, name)}_{word}"
        value = given.get(variable, "")
        lines += [f"# {meaning}", f"{variable}={_quoted(value)}" if value else f"# {variable}=", ""]
    return "\n".join(lines)


def write(path: Path, sections: Sequence[str]) -> None:
    """Make the file, readable by this user alone; one that is there is kept.

    :raises SettingsError: there is one.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise SettingsError(f"{path} is there already and is not touched: move it away, or name another by --file") from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be written ({error.strerror}): choose another file by --file") from error
    with os.fdopen(descriptor, "w") as file:
        file.write("# Settings of Replymill. `replymill settings` prints all there are.\n\n" + "\n".join(sections))


def steps(platform: str, name: str) -> str:
    """What to do at the platform itself."""
    if platform == WEBHOOK:
        return f"Give the secret to what sends, and let it post to /webhooks/{name}: docs/webhooks.md has a program that does."
    return f"{SECTIONS[platform].STEPS.format(name=name)}\nMore in docs/{platform}.md."


def manifest(file: Path, name: str, address: str) -> tuple[Path, str]:
    """Write the manifest of a Slack app beside the settings, in the place of an older one; says where it is and what it says.

    :raises SettingsError: it cannot be written.
    """
    path, text = (
        file.with_name(f"slack-{name}-manifest.yaml"),
        slack_manifest.manifest(SlackApp(name=name, signing_secret=""), url=address),
    )
    try:
        path.write_text(text)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written ({error.strerror}): choose another folder by --file") from error
    return path, text


def _meanings(platform: str) -> dict[str, str]:
    if platform == WEBHOOK:
        return dict(WEBHOOK_PARTS)
    return {word: _meaning(one) for word, one in parts(SECTIONS[platform]).items()}


def _meaning(one: "Field[Any]") -> str:
    default = f" (default: {one.default})" if one.default not in ("", ()) else ""
    return f"{one.metadata['meaning']}{' (needed)' if one.metadata['required'] else default}"


def _quoted(value: str) -> str:
    """As it is read back, whatever is in it."""
    if not any(character in value for character in " #'\"\\\n$"):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
