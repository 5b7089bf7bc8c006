"""What the trigger of a Zendesk sends: see docs/zendesk.md. Placeholders come as texts or numbers, with or without quotes."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from connectors.attachments import MOST_FILES, MOST_REFERENCE
from connectors.bodies import read_as, read_object, well_formed
from connectors.contract import Inbound, Ownership
from connectors.signatures import Clock, Encoding, Scheme
from engine.accounts import ZendeskDesk
from engine.errors import MalformedRequest, UnparseableMessage
from engine.messages import Address, Owner
from engine.settings import PREFIX

#: https://developer.zendesk.com/documentation/webhooks/verifying/; Zendesk documents no window, 300 s are ours.
SCHEME = Scheme(
    signature_header="x-zendesk-webhook-signature",
    encoding=Encoding.BASE64,
    template=b"{timestamp}{body}",
    timestamp_header="x-zendesk-webhook-signature-timestamp",
    clock=Clock.ISO,
    tolerance=300,
)

#: What `{{current_user.role}}` and `{{ticket.status}}` say in English, in lower case with hyphens for blanks and underscores.
#: Zendesk writes them in the language of the account (https://github.com/snowplow/snowplow/issues/3622) and documents no others
#: that say it otherwise: an account names its words, or has triggers that write the English ones as they stand.
_PEOPLE = frozenset({"end-user", "enduser"})
_STAFF = frozenset({"agent", "light-agent", "admin", "administrator", "owner", "account-owner"})
_ENDED = frozenset({"solved", "closed"})

_NUMBER = re.compile(r"[0-9]{1,20}")

#: A placeholder may be put with or without quotes.
Scalar = str | int | float | bool | None


class Body(msgspec.Struct, frozen=True):
    """What the trigger sends; unknown fields are left alone."""

    ticket_id: Scalar
    comment_id: Scalar
    comment_text: Scalar
    comment_public: Scalar
    author_id: Scalar
    #: Who made the update: the author of the comment, or somebody who changed something else.
    updater_id: Scalar
    updater_role: Scalar
    #: Addresses of the files, separated by blanks.
    attachments: Scalar = None
    ticket_status: Scalar = None
    assignee_id: Scalar = None


class Role(StrEnum):
    """Who made an update."""

    PERSON = "person"
    STAFF = "staff"
    #: An automation has no role.
    NOBODY = ""


@dataclass(frozen=True)
class Event:
    """The body with every value a text, and with our own words where Zendesk translates."""

    ticket: str
    comment: str
    text: str
    files: tuple[str, ...]
    public: bool
    author: str
    updater: str
    role: Role
    #: The ticket is solved or closed.
    ended: bool
    assignee: str


def read(raw: bytes, account: ZendeskDesk) -> Event:
    """:raises UnparseableMessage: Zendesk does not repeat what it is answered 4xx, so that a broken body is better kept."""
    try:
        body = read_as(read_object(raw), Body)
    except MalformedRequest as error:
        raise UnparseableMessage(f"not the body in docs/zendesk.md: {error}") from error
    event = Event(
        ticket=plain(body.ticket_id),
        comment=plain(body.comment_id),
        text="" if body.comment_text is None else str(body.comment_text),
        files=tuple(plain(body.attachments, MOST_REFERENCE * MOST_FILES).split()),
        public=word(body.comment_public) in {"true", "1", "yes"},
        author=plain(body.author_id),
        updater=plain(body.updater_id),
        role=_role(word(body.updater_role), account),
        ended=word(body.ticket_status) in _ENDED.union(map(word, account.ended_words)),
        assignee=plain(body.assignee_id),
    )
    if not _NUMBER.fullmatch(event.ticket) or not (_NUMBER.fullmatch(event.comment) or not event.comment):
        raise UnparseableMessage("`ticket_id` must be a number, and `comment_id` a number or empty")
    return event


def _role(said: str, account: ZendeskDesk) -> Role:
    """:raises UnparseableMessage: a word in another language would be met by silence, and nobody would know why."""
    if said in _PEOPLE.union(map(word, account.end_user_words)):
        return Role.PERSON
    if said in _STAFF.union(map(word, account.staff_words)):
        return Role.STAFF
    if not said:
        return Role.NOBODY
    stem = f"{PREFIX}ZENDESK_{account.name.upper().replace('-', '_')}"
    known = f"{stem}_END_USER_WORDS or {stem}_STAFF_WORDS"
    raise UnparseableMessage(f"`updater_role` is {ascii(said)[:60]}, and neither end-user, agent nor admin: add it to {known}")


def owned(event: Event, address: Address, bot: str) -> tuple[Inbound, ...]:
    """Who answers from now on, where the update says so."""
    if event.ended:
        return (Ownership(address, Owner.BOT),)
    if event.assignee and event.assignee != bot:
        return (Ownership(address, Owner.HUMAN),)
    if event.role is not Role.STAFF:
        # What a person writes says nothing new: a ticket that was just handed over may still be the bot's in it.
        return ()
    if event.assignee == bot:
        return (Ownership(address, Owner.BOT),)
    return (Ownership(address, Owner.HUMAN),) if event.public and event.author == event.updater else ()


def plain(value: Any, most: int = 64) -> str:
    """A number or a text as text; a float is what a number without quotes may become on its way."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return well_formed(str(value)).strip()[:most]


def word(value: Any) -> str:
    return plain(value).lower().replace(" ", "-").replace("_", "-")
