"""Choices of a reply as buttons, where a platform has them; everywhere else they are a numbered list in its text."""

from typing import Protocol, runtime_checkable

from msgspec import structs

from connectors.contract import Platform
from engine.choices import plain, tidy
from engine.messages import Action, Delivery, Reply


@runtime_checkable
class Offering(Platform, Protocol):
    """A platform that shows choices as buttons, and brings a press as the person's message of the same text."""

    def offers(self, reply: Reply) -> bool:
        """Whether it can show all the choices of a reply where that goes; the same at every attempt."""


def fitting(delivery: Delivery, platform: Platform) -> Delivery:
    """The delivery as the platform is to post it: its choices are left where they become buttons, else they are in the text."""
    if not delivery.reply.choices:
        return delivery
    reply = structs.replace(delivery.reply, choices=tidy(delivery.reply.choices))
    as_buttons = delivery.action is Action.NONE and isinstance(platform, Offering) and platform.offers(reply)
    return structs.replace(delivery, reply=reply if as_buttons else plain(reply))
