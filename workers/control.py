"""Remote-control commands: `celery -A workers.app control drain`, `celery -A workers.app inspect lanes|engine`."""

from typing import Any

from celery.utils.serialization import strtobool
from celery.worker.control import control_command, inspect_command

from engine.lanes import Lanes
from engine.settings import Settings
from engine.store import connect
from workers.steps import AnsweringStep, DeliveringStep


def _loops(state: Any) -> list[Any]:
    steps = state.consumer.controller.steps
    return [step.running for step in steps if isinstance(step, AnsweringStep | DeliveringStep) and step.running is not None]


@control_command(args=[("on", strtobool)], signature="[true|false]")  # type: ignore[untyped-decorator]
def drain(state: Any, on: bool | str = True) -> dict[str, Any]:
    """Claim nothing more, finish what is held; `false` takes it back."""
    loops, draining = _loops(state), strtobool(on)
    for loop in loops:
        loop.draining = draining
    return {"ok": f"{'draining' if draining else 'claiming'}: {len(loops)} loops"}


@inspect_command()  # type: ignore[untyped-decorator]
def lanes(state: Any) -> dict[str, Any]:
    """The backlog in both directions, per shard."""
    settings: Settings = state.app.settings
    with connect(settings) as client:
        shards = {}
        for shard in Lanes(settings).shards:
            inbound, outbound = Lanes(settings).backlog(shard).run(client)
            shards[str(shard.number)] = {"in": vars(inbound), "out": vars(outbound)}
    return shards


@inspect_command()  # type: ignore[untyped-decorator]
def engine(state: Any) -> dict[str, Any]:
    """What the loops of this worker are at: model, replicas, turns held, rates."""
    return {loop.figures.name: loop.figures.snapshot() | loop.describe() for loop in _loops(state)}
