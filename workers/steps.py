"""The loops as steps of a Celery worker: what they need is made here, before anything is claimed."""

import asyncio
from collections.abc import Callable
from typing import Any

from connectors.platforms import staffed, table
from engine.durability import adopt
from engine.responder import Responder
from engine.settings import Settings
from engine.store import connect, connect_async
from workers.answering import Answering
from workers.delivering import Delivering
from workers.events import BatchEvents
from workers.loop import LoopStep, LoopThread
from workers.showing import Shows
from workers.waiting import cancelled


class AnsweringStep(LoopStep):
    """Runs the answering loop in a Celery worker."""

    loop = "answer"

    def build(self, worker: Any) -> Callable[[LoopThread], None]:
        settings: Settings = worker.app.settings
        client = connect(settings)
        adopt(client, settings)
        responder = Responder.load(settings, client, staffed=lambda address: staffed(address, settings))
        name, events = worker.hostname, BatchEvents(worker.app, worker.hostname)
        self.running = loop = Answering(settings, client, responder, name=name, events=events)
        return loop.run


class DeliveringStep(LoopStep):
    """Runs the delivery loop in a Celery worker."""

    loop = "deliver"

    def build(self, worker: Any) -> Callable[[LoopThread], None]:
        settings: Settings = worker.app.settings
        with connect(settings) as client:
            adopt(client, settings)
            # Settings of a platform that cannot be used are refused here, before anything is claimed.
            table(settings, client)
        return lambda thread: asyncio.run(self._main(settings, worker.hostname, thread))

    async def _main(self, settings: Settings, name: str, thread: LoopThread) -> None:
        client = await connect_async(settings)
        try:
            platforms = table(settings, client)
            self.running = Delivering(settings, client, platforms, name=name)
            shows = asyncio.create_task(Shows(settings, client, platforms).run())
            await self.running.run(thread)
            await cancelled({shows})
        finally:
            await client.aclose()
