"""What people behind the bridge do, as values of the contract."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AgentWord:
    """A person behind the bridge wrote something in a thread there."""

    platform: str
    account: str
    channel: str
    #: What may name the thread: its root, its topic, the message that is answered.
    threads: tuple[str, ...]
    logical_ids: tuple[str, ...]
    text: str
    #: Something is attached, which is not passed on.
    attached: bool = False
