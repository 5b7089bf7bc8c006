"""Transcribers and describers with the API of OpenAI, anybody's or one's own."""

import base64
import re
from typing import Any

import httpx
import msgspec

from engine.errors import RetryLater, Unreadable
from engine.messages import MediaKind
from engine.perceived import MOST_ANSWER, kind_of, words_of

#: Tokens of a description.
MOST_TOKENS = 300
#: Seconds until a server has taken the connection; until it answers, the time-out of the whole turn counts.
CONNECT_TIMEOUT = 3.0


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
        return words_of(found.get("text") if isinstance(found, dict) else None)


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
        return words_of(answer)


async def _bounded(answer: httpx.Response) -> bytes:
    found = bytearray()
    async for chunk in answer.aiter_bytes():
        found += chunk
        if len(found) > MOST_ANSWER:
            raise Unreadable(f"the server answered more than {MOST_ANSWER} bytes")
    return bytes(found)


def _list(found: Any, name: str) -> list[Any]:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, list) else []


def _seconds(retry_after: str) -> float:
    """What a server asks for; 0 where it names no number."""
    return float(retry_after) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", retry_after.strip()) else 0.0
