"""What reads voice notes and images: a transcriber and a describer, each an OpenAI-compatible server or a local command.

Both are ports of one shape, off by default. A file goes in as bytes, what is said or seen in it comes out as text, within a bound.
"""

import asyncio
import base64
import contextlib
import os
import re
import shlex
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx
import msgspec

from engine.errors import RetryLater, SettingsError, Unreadable
from engine.messages import MediaKind
from engine.settings import PREFIX, Settings, open_environ
from engine.values import COMMAND, FILE

#: Characters of a transcript or a description that are kept: about ten minutes of speech, most of what a prompt holds.
MOST_TEXT = 4_000
#: Bytes of a server's answer, or of a command's output, that are read.
MOST_ANSWER = 1_048_576
#: Tokens of a description.
MOST_TOKENS = 300
#: Seconds until a server has taken the connection; until it answers, the time-out of the whole turn counts.
CONNECT_TIMEOUT = 3.0

#: Beginnings of files, with the type and the ending that servers and commands know them by; platforms often say neither.
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (rb"\xff\xd8\xff", "image/jpeg", "jpg"),
    (rb"\x89PNG\r\n\x1a\n", "image/png", "png"),
    (rb"GIF8[79]a", "image/gif", "gif"),
    (rb"RIFF....WEBP", "image/webp", "webp"),
    (rb"RIFF....WAVE", "audio/wav", "wav"),
    (rb"OggS", "audio/ogg", "ogg"),
    (rb"fLaC", "audio/flac", "flac"),
    (rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", "audio/mpeg", "mp3"),
    (rb"....ftypM4A", "audio/mp4", "m4a"),
    (rb"....ftyp", "video/mp4", "mp4"),
    (rb"\x1a\x45\xdf\xa3", "audio/webm", "webm"),
    (rb"#!AMR", "audio/amr", "amr"),
)
_UNKNOWN = {MediaKind.VOICE: ("audio/ogg", "ogg"), MediaKind.IMAGE: ("image/jpeg", "jpg")}


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
    if kind is MediaKind.VOICE:
        return Transcriber(value, model=settings.transcribe_model, key=settings.transcribe_key)
    return Describer(value, model=settings.describe_model, key=settings.describe_key, prompt=settings.describe_prompt)


class Served:
    """A server with the API of OpenAI. Its address is the operator's own, so that it may be inside."""

    def __init__(self, base_url: str, *, model: str, key: str) -> None:
        self.model = model
        self._base_url = base_url
        self._key = key
        self._client: httpx.AsyncClient | None = None

    async def check(self) -> str:
        try:
            found = await self._ask("GET", "/models")
        except Unreadable as error:
            if not str(error).endswith(("answered 404", "answered 405")):
                raise
            return "answers, and has no list of models"
        listed = [str(one.get("id")) for one in _list(found, "data") if isinstance(one, dict)]
        return f"answers, {len(listed)} models" + ("" if self.model in listed else f", {self.model!a} is not among them")

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
        self._client = None

    async def _ask(self, method: str, path: str, **content: Any) -> Any:
        """The JSON of an answer.

        :raises RetryLater: it is away, busy or broken for now.
        :raises Unreadable: it refuses this, or answers something else.
        """
        try:
            async with self._connection().stream(method, self._base_url + path, **content) as answer:
                raw = await _bounded(answer)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise RetryLater(f"the server cannot be reached ({type(error).__name__})", after=0) from error
        status = answer.status_code
        if status in (408, 409, 425, 429) or status >= 500:
            raise RetryLater(f"the server answered {status}", after=_seconds(answer.headers.get("retry-after", "")))
        if not answer.is_success:
            raise Unreadable(f"the server answered {status}")
        try:
            return msgspec.json.decode(raw)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Unreadable("the server answered something that is no JSON: check its address") from error

    def _connection(self) -> httpx.AsyncClient:
        """Made inside the event loop that uses it."""
        if self._client is None:
            trusted = httpx.create_ssl_context(trust_env=False)
            trusted.load_default_certs()
            headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
            timeout = httpx.Timeout(None, connect=CONNECT_TIMEOUT)
            self._client = httpx.AsyncClient(verify=trusted, trust_env=False, headers=headers, timeout=timeout)
        return self._client


class Transcriber(Served):
    """`POST /audio/transcriptions`."""

    async def read(self, content: bytes) -> str:
        mime, ending = kind_of(content, MediaKind.VOICE)
        form = {"model": self.model, "response_format": "json"}
        found = await self._ask("POST", "/audio/transcriptions", data=form, files={"file": (f"voice.{ending}", content, mime)})
        return _text(found.get("text") if isinstance(found, dict) else None)


class Describer(Served):
    """`POST /chat/completions` with the image in a data URI."""

    def __init__(self, base_url: str, *, model: str, key: str, prompt: str) -> None:
        super().__init__(base_url, model=model, key=key)
        self._prompt = prompt

    async def read(self, content: bytes) -> str:
        mime, _ = kind_of(content, MediaKind.IMAGE)
        image = {"url": f"data:{mime};base64,{base64.b64encode(content).decode()}"}
        said = [{"type": "text", "text": self._prompt}, {"type": "image_url", "image_url": image}]
        asked = {"model": self.model, "max_tokens": MOST_TOKENS, "messages": [{"role": "user", "content": said}]}
        choices = _list(await self._ask("POST", "/chat/completions", json=asked), "choices")
        message = choices[0].get("message") if choices and isinstance(choices[0], dict) else None
        answer = message.get("content") if isinstance(message, dict) else None
        if isinstance(answer, list):  # some servers answer in parts
            answer = "\n".join(str(part.get("text", "")) for part in answer if isinstance(part, dict))
        return _text(answer)


class Command:
    """A program on this machine, run without a shell for each file; what it prints is the text."""

    def __init__(self, kind: MediaKind, words: list[str], *, variable: str) -> None:
        """:raises SettingsError: there is no such program."""
        program = shutil.which(words[0])
        if program is None:
            raise SettingsError(f"{variable} runs {words[0]!r}, but this machine has no such program: install it, or give its path")
        self._kind = kind
        self._words = [program, *words[1:]]

    async def read(self, content: bytes) -> str:
        _, ending = kind_of(content, self._kind)
        with tempfile.TemporaryDirectory(prefix="replymill-") as folder:
            file = Path(folder) / f"{self._kind}.{ending}"
            file.write_bytes(content)
            return _text(await self._run([word.replace(FILE, str(file)) for word in self._words]))

    async def check(self) -> str:
        return f"runs {self._words[0]}"

    async def close(self) -> None:
        """Nothing is kept."""

    async def _run(self, words: list[str]) -> str:
        """What the program prints. Ending the wait ends it, with all that it has started."""
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(
                *words, stdin=nothing, stdout=pipe, stderr=pipe, env=open_environ(), start_new_session=True
            )
        except OSError as error:
            raise Unreadable(f"{words[0]} cannot be run: {error.strerror}") from error
        try:
            assert process.stdout
            assert process.stderr
            said, complained = await asyncio.gather(_kept(process.stdout), _kept(process.stderr))
            status = await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself, and left nothing behind
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if status:
            last = complained.decode(errors="replace").strip().rpartition("\n")[2]
            raise Unreadable(f"{words[0]} ended with status {status}: {last[:200]!a}")
        return said.decode(errors="replace")


def kind_of(content: bytes, kind: MediaKind) -> tuple[str, str]:
    """MIME type and ending of a file, by its first bytes."""
    for beginning, mime, ending in _MAGIC:
        if re.match(beginning, content[:16], re.DOTALL):
            return mime, ending
    return _UNKNOWN[kind]


async def _kept(stream: asyncio.StreamReader) -> bytes:
    """The beginning of what a program writes; the rest is read and let go, so that the program can end."""
    found = bytearray()
    while chunk := await stream.read(65_536):
        found += chunk[: MOST_ANSWER - len(found)]
    return bytes(found)


async def _bounded(answer: httpx.Response) -> bytes:
    found = bytearray()
    async for chunk in answer.aiter_bytes():
        found += chunk
        if len(found) > MOST_ANSWER:
            raise Unreadable(f"the server answered more than {MOST_ANSWER} bytes")
    return bytes(found)


def _text(found: Any) -> str:
    """The words in one paragraph or several, within the bound.

    :raises Unreadable: there is no text at all where one is due.
    """
    if not isinstance(found, str):
        raise Unreadable("the server answered without a text: check its address and the model")
    lines = (" ".join(line.split()) for line in found.encode(errors="replace").decode().splitlines())
    return "\n".join(line for line in lines if line)[:MOST_TEXT]


def _list(found: Any, name: str) -> list[Any]:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, list) else []


def _seconds(retry_after: str) -> float:
    """What a server asks for; 0 where it names no number."""
    return float(retry_after) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", retry_after.strip()) else 0.0
