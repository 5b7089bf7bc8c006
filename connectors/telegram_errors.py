"""What Telegram's errors mean, and how they are told."""

import httpx
from telegram.error import BadRequest, Conflict, Forbidden, InvalidToken, TelegramError

from engine.errors import DeliveryError, DeliveryRefused, RetryLater, Stale, Unclear

#: Of these the request surely never left.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Pause(TelegramError):
    """Telegram asks for a pause.

    Takes the place of the library's `RetryAfter`, which warns whenever it is made that its time will have another type.
    """

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Telegram asks for a pause of {seconds:g} s" if seconds else "Telegram asks for a pause")
        self.seconds = seconds


def judged(error: TelegramError) -> DeliveryError:
    """What an error of the API means for a delivery."""
    if isinstance(error.__cause__, Stale):
        return error.__cause__
    if isinstance(error, Pause):
        return RetryLater(str(error), after=error.seconds)
    if isinstance(error, BadRequest | Forbidden | InvalidToken):
        return DeliveryRefused(f"Telegram refuses: {short(error)}")
    if isinstance(error, Conflict):
        return RetryLater(f"Telegram is busy: {short(error)}", after=0)
    if isinstance(error.__cause__, _NOT_SENT):
        return RetryLater(f"Telegram cannot be reached ({type(error.__cause__).__name__})", after=0)
    return Unclear(f"Telegram failed: {short(error)}")


def short(error: TelegramError) -> str:
    """The error for an operator: what Telegram said, never what a library knows of the request."""
    if isinstance(error.__cause__, httpx.HTTPError | httpx.InvalidURL):
        return type(error.__cause__).__name__
    return ascii(" ".join(error.message.split())[:200])
