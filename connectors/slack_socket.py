"""Socket Mode: a connection of ours, for where Slack cannot reach us. An envelope is acknowledged once it is durable."""

import asyncio

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from connectors.slack_calls import QUIET, client, fault
from connectors.slack_door import Door
from engine.accounts import SlackApp

log = structlog.get_logger()

#: Pauses between attempts to connect, seconds.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 30.0


async def listen(account: SlackApp, door: Door) -> None:
    """Until it is cancelled. Once connected, the library connects anew whenever Slack asks for it or the connection breaks."""

    async def heard(sockets: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        durable, payload = await door.hear(request)
        if durable:
            await sockets.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id, payload=payload))

    sockets = SocketModeClient(app_token=account.app_token, web_client=client(account, None, None), logger=QUIET)
    sockets.proxy = None  # the library takes one from the environment otherwise
    sockets.socket_mode_request_listeners.append(heard)
    try:
        await _connect(account, sockets)
        await asyncio.Event().wait()
    finally:
        await sockets.close()  # type: ignore[no-untyped-call]
        await sockets.aiohttp_client_session.close()


async def _connect(account: SlackApp, sockets: SocketModeClient) -> None:
    pause, said = SHORTEST_PAUSE, ""
    while True:
        try:
            await sockets.connect_to_new_endpoint()
        except SlackApiError as error:
            reason = fault(error).code or f"status {fault(error).status}"
        except (aiohttp.ClientError, TimeoutError, OSError, AttributeError, KeyError, ValueError) as error:
            reason = type(error).__name__
        else:
            log.info("listening to Slack", action="slack.connected", account=account.name)
            return
        if reason != said:
            log.warning("Slack cannot be listened to; trying on", action="slack.away", account=account.name, reason=reason)
        said = reason
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
