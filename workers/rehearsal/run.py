"""Playing conversations: what a user says is sent as any platform would send it, and what the bot says is checked."""

import asyncio
import json
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import httpx

from connectors.signatures import secret_bytes, sign
from engine.settings import Settings
from workers.rehearsal.expectations import Said, failures
from workers.rehearsal.files import Case, Suite, Turn
from workers.rehearsal.house import DOOR, House, opened

#: Between looks for a reply, seconds.
_LOOK = 0.01
#: So long nobody must say anything where silence is expected, seconds.
_SILENCE = 3.0
#: Beyond the deadline of an answer, seconds: its apology is on its way.
_MARGIN = 5.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A turn that did not go as expected."""

    line: int
    turn: int
    asked: str
    #: What the bot said; None: nothing.
    said: str | None
    failures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How one conversation went; it is over with its first fault."""

    suite: Suite
    case: Case
    #: Which of its repetitions, from 1.
    round: int
    seconds: float
    fault: Fault | None = None


Tell = Callable[[Verdict], None]


def play(settings: Settings, suites: Sequence[Suite], *, jobs: int, tell: Tell) -> list[Verdict]:
    """Every conversation; files that share tenant and knowledge share a private copy.

    :raises StartError: a private copy does not start.
    """
    verdicts: list[Verdict] = []
    for _, group in groupby(sorted(suites, key=_setting), key=_setting):
        together = list(group)
        quiet = any(_in_pieces(turn) for suite in together for case in suite.cases for turn in case.turns)
        with (
            tempfile.TemporaryDirectory(prefix="replymill-test-") as folder,
            opened(settings, Path(folder), together[0], quiet=quiet) as house,
        ):
            verdicts += asyncio.run(_all(house, together, jobs=jobs, tell=tell))
    return verdicts


def _setting(suite: Suite) -> tuple[str, tuple[str, ...], bool]:
    return suite.tenant, tuple(map(str, suite.knowledge)), suite.people


def _in_pieces(turn: Turn) -> bool:
    return bool(turn.edit) or len(turn.says) > 1


async def _all(house: House, suites: Sequence[Suite], *, jobs: int, tell: Tell) -> list[Verdict]:
    free = asyncio.Semaphore(jobs)
    async with httpx.AsyncClient(base_url=house.url, timeout=30) as client:

        async def one(suite: Suite, case: Case, number: int) -> Verdict:
            async with free:
                verdict = await _play(Voice(house, client), suite, case, number)
            tell(verdict)
            return verdict

        return await asyncio.gather(*(one(*which) for which in _rounds(suites)))


def _rounds(suites: Sequence[Suite]) -> Iterator[tuple[Suite, Case, int]]:
    return ((suite, case, number + 1) for suite in suites for case in suite.cases for number in range(case.repeat))


async def _play(voice: "Voice", suite: Suite, case: Case, number: int) -> Verdict:
    began, fault = time.monotonic(), None
    for place, turn in enumerate(case.turns):
        await asyncio.sleep(turn.wait)
        said = await voice.speak(turn)
        if wrong := failures(turn.expect, said):
            text = said.text if said else None
            asked = " / ".join((*turn.says, *filter(None, (turn.edit,))))
            fault = Fault(line=turn.line, turn=place + 1, asked=asked, said=text, failures=tuple(wrong))
            break
    return Verdict(suite=suite, case=case, round=number, seconds=time.monotonic() - began, fault=fault)


class Voice:
    """The user of one conversation."""

    def __init__(self, house: House, client: httpx.AsyncClient) -> None:
        self._house = house
        self._client = client
        self._conversation = secrets.token_hex(8)

    async def speak(self, turn: Turn) -> Said | None:
        """Send what the turn has, and wait for the reply; None: there is none."""
        ids, silent, webhook_id = [], False, ""
        for text in turn.says:
            webhook_id = f"msg_{secrets.token_hex(8)}"
            answer = await self._post(webhook_id, self._data(text))
            ids.append(answer["id"])
            silent = answer["state"] == "handed-over"
        at = time.monotonic()
        if turn.edit:
            changed = {"type": "message.updated", "data": self._data(turn.edit) | {"message_id": webhook_id}}
            await self._post(f"msg_{secrets.token_hex(8)}", changed)
        return await self._reply(ids, at, _SILENCE if silent or turn.expect.silent else self._house.deadline + _MARGIN)

    async def _reply(self, ids: Sequence[str], at: float, patience: float) -> Said | None:
        """The reply to the last of the messages, which may answer the others too."""
        while time.monotonic() < at + patience:
            if heard := self._house.recorder.heard.get(ids[-1]):
                came, data = heard
                return Said.read(data, seconds=max(0.0, came - at))
            await asyncio.sleep(_LOOK)
        return None

    def _data(self, text: str) -> dict[str, str]:
        return {"conversation": self._conversation, "user": "rehearsal", "text": text}

    async def _post(self, webhook_id: str, content: object) -> dict[str, str]:
        body = json.dumps(content).encode()
        signed = sign(secret_bytes(self._house.secret), webhook_id, timestamp=int(time.time()), body=body)
        headers = {**signed, "content-type": "application/json"}
        response = await self._client.post(f"/webhooks/{DOOR}", content=body, headers=headers)
        answer: dict[str, str] = response.json() if response.status_code == 202 else {"id": "", "state": response.text}
        return answer
