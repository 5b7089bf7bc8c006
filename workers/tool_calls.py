"""Calling the server of a tool: one try, within its time-out, never elsewhere than where its registered address leads."""

import asyncio
from collections.abc import Mapping

import httpx
from httpx_secure import SSRFProtectionError

from connectors.posting import guarded_client
from engine.errors import DeliveryRefused, RetryLater, ToolFailed
from engine.tool_answers import Said, said_of
from engine.tool_requests import PLACE, ToolRequest, request_of
from engine.tools import Call, Tool


class Caller:
    """A client for each tool, made inside the event loop that uses it: what one may reach, another may not."""

    def __init__(self, secrets: Mapping[str, str], *, connections: int) -> None:
        self._secrets = secrets
        self._connections = connections
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def call(self, call: Call, *, tenant: str, sender: str, message: str) -> Said:
        """What the person is told.

        :raises ToolFailed: nobody answered, or what answered is no answer.
        """
        request = request_of(call, self._secrets, tenant=tenant, sender=sender, message=message)
        status, body = await self._sent(call.tool, request)
        return said_of(call, status, body)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    async def _sent(self, tool: Tool, request: ToolRequest) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(tool.timeout):
                return await _answer(self._client(tool), tool, request)
        except TimeoutError as error:
            raise ToolFailed(f"no answer within {tool.timeout:g} s", unsent=False) from error
        except (SSRFProtectionError, DeliveryRefused) as error:
            raise ToolFailed("its host leads to an address inside: make the tool `private` if it may", unsent=True) from error
        except RetryLater as error:
            raise ToolFailed("the name of its host cannot be resolved", unsent=True) from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            raise ToolFailed(f"its server cannot be reached ({type(error).__name__})", unsent=True) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ToolFailed(f"its server broke the request off ({type(error).__name__})", unsent=False) from error

    def _client(self, tool: Tool) -> httpx.AsyncClient:
        if tool.name not in self._clients:
            address = PLACE.sub("x", tool.url)
            self._clients[tool.name] = guarded_client(address, private=tool.private, connections=self._connections)
        return self._clients[tool.name]


async def _answer(client: httpx.AsyncClient, tool: Tool, request: ToolRequest) -> tuple[int, bytes]:
    found = bytearray()
    sending = client.stream(request.method, request.url, headers=dict(request.headers), content=request.body or None)
    async with sending as answer:
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            # A few bytes may unfold to gigabytes; we have asked for none of it.
            raise ToolFailed("its server compresses the answer, which was not asked for", unsent=False)
        async for chunk in answer.aiter_raw():
            found += chunk
            if len(found) > tool.most_bytes:
                raise ToolFailed(f"the answer has more than {tool.most_bytes} bytes", unsent=False)
    return answer.status_code, bytes(found)
