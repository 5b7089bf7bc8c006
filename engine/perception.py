"""What reads voice notes and images: a transcriber and a describer, each an OpenAI-compatible server or a local command.

Both are ports of one shape, off by default. A file goes in as bytes, what is said or seen in it comes out as text, within a bound.
"""

import importlib
import shlex
from collections.abc import Mapping
from typing import Protocol

from engine.messages import MediaKind
from engine.perception_command import Command
from engine.settings import PREFIX, Settings
from engine.values import COMMAND


class Reader(Protocol):
    """What reads one kind of file."""

    async def read(self, content: bytes) -> str:
        """What is said or seen in it, at most `MOST_TEXT` characters; empty where there is nothing.

        :raises RetryLater: not now.
        :raises Unreadable: never.
        """

    async def check(self) -> str:
        """What `replymill doctor` says of it.

        :raises RetryLater: it cannot be reached now.
        :raises Unreadable: it does not work.
        """

    async def close(self) -> None:
        """Let connections go."""


def readers(settings: Settings) -> Mapping[MediaKind, Reader]:
    """Every reader that is configured.

    :raises SettingsError: a command names a program that is not there.
    """
    chosen = {MediaKind.VOICE: ("transcribe", settings.transcribe), MediaKind.IMAGE: ("describe", settings.describe)}
    return {kind: _reader(kind, variable, value, settings) for kind, (variable, value) in chosen.items() if value}


def _reader(kind: MediaKind, variable: str, value: str, settings: Settings) -> Reader:
    if value.startswith(COMMAND):
        return Command(kind, shlex.split(value.removeprefix(COMMAND)), variable=PREFIX + variable.upper())
    # Where none is set up, nobody waits for what it needs.
    served = importlib.import_module("engine.perception_served")
    if kind is MediaKind.VOICE:
        heard: Reader = served.Transcriber(value, model=settings.transcribe_model, key=settings.transcribe_key)
        return heard
    key, prompt = settings.describe_key, settings.describe_prompt
    seen: Reader = served.Describer(value, model=settings.describe_model, key=key, prompt=prompt)
    return seen
