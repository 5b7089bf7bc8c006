"""`replymill doctor` for platforms: a signed request to the running service, and real calls to the platform, for every account."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import httpx

from connectors.contract import Check, Checkable, Platform, Probing, Request
from connectors.platforms import table
from engine.errors import DeliveryError, SettingsError
from engine.settings import Settings
from engine.store import connect_async

#: Seconds for the running service, and for a platform.
OWN_TIMEOUT, THEIR_TIMEOUT = 5.0, 15.0

_ADVICE = {
    401: "the running service has another secret, or does not know this account: restart it with these settings",
    404: "the running service does not know this platform: restart it with these settings",
    503: "its Redis is away: see the checks of Redis",
}


def look(settings: Settings) -> list[Check]:
    """Every check of every platform that is set up, on complete settings.

    :raises StoreUnavailable: if Redis is away.
    """
    return asyncio.run(_look(settings))


async def _look(settings: Settings) -> list[Check]:
    client = await connect_async(settings)
    platforms: Mapping[str, Platform] = {}
    try:
        platforms = table(settings, client)
        asked = await asyncio.gather(*(_ask(platform) for platform in platforms.values() if isinstance(platform, Checkable)))
    except SettingsError as error:
        return [Check("platforms", False, "refused", str(error))]
    finally:
        for platform in platforms.values():
            await platform.close()
        await client.aclose()
    return [*_knock(settings, platforms), *(check for checks in asked for check in checks)]


async def _ask(platform: Checkable) -> Sequence[Check]:
    try:
        async with asyncio.timeout(THEIR_TIMEOUT):
            return await platform.check()
    except DeliveryError as error:
        return [Check(platform.name, False, "no answer", str(error))]
    except TimeoutError:
        return [Check(platform.name, False, "no answer", f"{platform.name} did not answer within {THEIR_TIMEOUT:g} s")]


def _knock(settings: Settings, platforms: Mapping[str, Platform]) -> Iterator[Check]:
    """Signed requests to the running service."""
    probing = [platform for platform in platforms.values() if isinstance(platform, Probing)]
    with httpx.Client(base_url=f"http://{_host(settings)}:{settings.port}", timeout=OWN_TIMEOUT, trust_env=False) as service:
        for path, request in (probe for platform in probing for probe in platform.probes().items()):
            yield knock(service, path, request)


def knock(service: httpx.Client, path: str, request: Request) -> Check:
    """What the running service answers to one signed request."""
    try:
        answer = service.post(path, content=request.body, headers=dict(request.headers))
    except httpx.TransportError as error:
        return Check(path, False, f"no answer ({type(error).__name__})", "start the service: `replymill up` or `replymill web`")
    if answer.is_success:
        return Check(path, True, f"a signed request is taken ({answer.status_code})")
    advice = _ADVICE.get(answer.status_code, "see the log of the web process")
    return Check(path, False, f"answered {answer.status_code}", advice)


def _host(settings: Settings) -> str:
    """Where this machine reaches a service that may listen everywhere."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - not listened on
    return f"[{host}]" if ":" in host else host
