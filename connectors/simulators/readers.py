"""A simulated OpenAI-compatible server that hears and sees what it was told, and goes wrong as it is told."""

import base64
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from connectors.simulators.server import Simulator


class SimulatedReaders(Simulator):
    """Knows files by their bytes; anything else is silence to it."""

    def __init__(self, key: str = "") -> None:
        super().__init__()
        self.key = key
        #: What is said or seen, by the bytes of a file.
        self.words: dict[bytes, str] = {}
        self.models = ["whisper-1", "gpt-4o-mini"]
        #: The name and type of each file that was transcribed, and what each description was asked for.
        self.names: list[tuple[str, str]] = []
        self.asked: list[dict[str, Any]] = []

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def routes(self) -> Sequence[web.RouteDef]:
        return [
            web.get("/v1/models", self._list),
            web.post("/v1/audio/transcriptions", self._transcribe),
            web.post("/v1/chat/completions", self._describe),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        return web.json_response({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})

    async def _transcribe(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        form = await request.post()
        file = form.get("file")
        if not isinstance(file, web.FileField) or not form.get("model"):
            return web.json_response({"error": {"message": "file and model are required"}}, status=400)
        self.names.append((file.filename, file.content_type))
        file.file.seek(0)
        return web.json_response({"text": self.words.get(file.file.read(), "")})

    async def _describe(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        asked = await request.json()
        self.asked.append(asked)
        parts = asked["messages"][0]["content"]
        address = next(part["image_url"]["url"] for part in parts if part["type"] == "image_url")
        head, _, content = address.partition(";base64,")
        if not head.startswith("data:image/"):
            return web.json_response({"error": {"message": "unsupported image"}}, status=400)
        message = {"role": "assistant", "content": self.words.get(base64.b64decode(content), "")}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({"object": "chat.completion", "choices": [choice]})

    def _authenticate(self, request: web.Request) -> None:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            raise web.HTTPUnauthorized(text='{"error": {"message": "Incorrect API key provided"}}', content_type="application/json")
