"""What a trigger of Zammad sends: a ticket with its newest article, signed and without a time; and who has the ticket by it."""

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from connectors.bodies import read_as, read_object
from connectors.contract import Request
from connectors.signatures import Scheme
from connectors.zammad_api import is_marked
from connectors.zammad_known import NOBODY, NOBODY_ID, Known
from engine.errors import MalformedRequest, UnparseableMessage
from engine.messages import Owner

#: `lib/user_agent.rb` [S]. There is no time: what is sent again is known by its ids, for REPLYMILL_DEDUPE_TTL.
SCHEME = Scheme(signature_header="x-hub-signature", prefix="sha1=", hash="sha1")

#: An article and the update of its ticket bear times so close to each other, seconds.
_AT_ONCE = 2.0
_DELIVERY = re.compile(r"[A-Za-z0-9-]{1,64}")


class Ticket(msgspec.Struct, frozen=True):
    """The payload of a fresh installation has all of it; a customised one may have less (`record_payload/base.rb` [S])."""

    id: int
    #: Its name, which an installation may change.
    state: dict[str, Any] | str | None = None
    state_id: int | None = None
    #: The user in full; the login where the payload was customised.
    owner: dict[str, Any] | str | None = None
    owner_id: int | None = None
    customer_id: int | None = None
    #: Who changed it last.
    updated_by_id: int | None = None
    updated_at: str | None = None


class Article(msgspec.Struct, frozen=True):
    id: int | None = None
    #: `Agent`, `Customer` or `System`, in every language: see `connectors.zammad_known`.
    sender: str | None = None
    internal: bool | None = None
    body: str | None = None
    content_type: str | None = None
    created_at: str | None = None
    created_by_id: int | None = None
    preferences: dict[str, Any] | None = None
    attachments: Any = None


class Event(msgspec.Struct, frozen=True):
    ticket: Ticket
    article: Article


class _Body(msgspec.Struct, frozen=True):
    ticket: Ticket | None = None
    article: Article | None = None


def read(raw: bytes) -> Event:
    """:raises UnparseableMessage: what broke is a dead letter: to repeat it would not mend it."""
    try:
        found = read_as(read_object(raw), _Body)
    except MalformedRequest as error:
        raise UnparseableMessage(str(error)) from error
    if found.ticket is None:
        raise UnparseableMessage("a body without `ticket`")
    return Event(found.ticket, found.article or Article())


def owner_of(event: Event, known: Known) -> Owner | None:
    """Who answers from now on; None where the event does not tell.

    A ticket that nobody owns may wait for an agent as well as for the bot: it is the bot's once it is over, or once an agent has
    given it back.
    """
    ticket, owner = event.ticket, _owner_in(event.ticket)
    by_bot = known.bot and owner == known.bot
    if not (by_bot or owner in (None, NOBODY_ID, NOBODY)):
        return Owner.HUMAN
    if known.is_over(ticket.state, ticket.state_id):
        return Owner.BOT
    if _answered(event, known):
        return Owner.HUMAN
    return Owner.BOT if known.is_open(ticket.state, ticket.state_id) and _given_back(event, known, assigned=bool(by_bot)) else None


def is_asked(article: Article, life: float) -> bool:
    """Whether a customer wrote it to be read, lately: a trigger may show a ticket's last article long after."""
    public = article.sender == "Customer" and article.internal is False and article.id is not None
    automatic = (article.preferences or {}).get("is-auto-response") is True
    return public and not automatic and not _is_old(article.created_at, life)


def ids_of(request: Request, event: Event) -> tuple[str, ...]:
    logical_id, delivery = f"{request.name}/{event.ticket.id}/{event.article.id}", delivery_of(request)
    return (logical_id, f"{request.name}/event/{delivery}") if delivery else (logical_id,)


def delivery_of(request: Request) -> str:
    """Zammad's id of the job that sent the request, the same for its repeats; empty if there is none."""
    found = request.headers.get("x-zammad-delivery", "")
    return found if _DELIVERY.fullmatch(found) else ""


def probe(name: str, secret: str) -> Request:
    """A signed webhook that says nothing."""
    body = b'{"ticket":{"id":0}}'
    digest = hmac.digest(secret.encode(), body, hashlib.sha1).hex()
    return Request(name, {"content-type": "application/json", SCHEME.signature_header: f"{SCHEME.prefix}{digest}"}, body)


def _owner_in(ticket: Ticket) -> int | str | None:
    owner = ticket.owner.get("id") if isinstance(ticket.owner, dict) else ticket.owner
    if ticket.owner_id is not None and isinstance(owner, str):
        return ticket.owner_id
    return owner if owner is not None else ticket.owner_id


def _answered(event: Event, known: Known) -> bool:
    """Whether an agent has just answered the customer, with or without owning the ticket; not where it may have been the bot."""
    article = event.article
    if article.sender != "Agent" or article.internal is not False or is_marked(article.preferences):
        return False
    return bool(known.bot) and article.created_by_id not in (None, known.bot, NOBODY_ID) and _is_news(event)


def _given_back(event: Event, known: Known, *, assigned: bool) -> bool:
    """Whether an agent has left the ticket to nobody, or to the bot. What the bot, the system or a customer did says nothing."""
    article, by = event.article, event.ticket.updated_by_id
    if by is None:
        return assigned
    others = {NOBODY_ID, known.bot, event.ticket.customer_id}
    wrote = by == article.created_by_id and (article.sender == "Customer" or _is_news(event))
    return bool(known.bot) and by not in others and not wrote


def _is_news(event: Event) -> bool:
    """Whether the article is what has happened, and not only the newest there is."""
    said, changed = _moment(event.article.created_at), _moment(event.ticket.updated_at)
    return not (said and changed and changed - said > timedelta(seconds=_AT_ONCE))


def _is_old(created_at: str | None, seconds: float) -> bool:
    """Whether an article is older than its id would be remembered; one that does not say is not."""
    created = _moment(created_at)
    return created is not None and datetime.now(UTC) - created > timedelta(seconds=seconds)


def _moment(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
