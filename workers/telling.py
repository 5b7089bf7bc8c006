"""Showing replies while they are made, on platforms that stream: the engine's threads say what is there, the loop passes it on."""

import math
import threading
import time
from collections.abc import Callable

from connectors import progress
from connectors.platforms import TYPING
from engine.question import Question
from engine.store import Client
from workers.turns import Turns

#: A streamed reply is announced at most this often, seconds.
STREAM_EVERY = 0.1


class Telling:
    """Texts so far that nobody has been told yet."""

    def __init__(self, client: Client, turns: Turns, wake: threading.Event) -> None:
        self._client = client
        self._turns = turns
        self._wake = wake
        #: By the key of the turn.
        self._heard: dict[str, str] = {}
        self._next = 0.0

    @property
    def patience(self) -> float:
        """Seconds until there is something to tell, at most."""
        return STREAM_EVERY if self._heard else math.inf

    def begin(self, question: Question) -> None:
        """A reply is being made: the platform shows that somebody writes, where it can.

        :raises StoreUnavailable: if Redis is away.
        """
        if question.address.platform in TYPING:
            progress.announce(self._client, question.address, question.message, "")

    def over(self, question: Question) -> None:
        """The reply is committed.

        :raises StoreUnavailable: if Redis is away.
        """
        if question.address.platform in TYPING:
            progress.over(self._client, question.address, question.message)

    def hear(self, key: str, text: str) -> None:
        """The text so far of a turn; called in a thread of the engine."""
        first = not self._heard
        self._heard[key] = text
        if first:
            self._wake.set()

    def tell(self, visible: Callable[[str, str], str]) -> None:
        """Publish what was heard, as much of it as is `visible`: by the key of its turn and the text.

        :raises StoreUnavailable: if Redis is away; nothing is lost but the sight of it.
        """
        if not self._heard or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + STREAM_EVERY
        for key in list(self._heard):
            text = visible(key, self._heard.pop(key))
            if text and (question := self._turns.question(key)):
                progress.announce(self._client, question.address, question.message, text)
