"""Zammad's API as the bot uses it: tickets, articles, and the text in the HTML of a mail."""

from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

from connectors.api import Api
from connectors.attachments import File
from connectors.tags import bounded
from connectors.zammad_known import NOBODY_ID, Known

#: Among the `preferences` of what we post.
_MARK = "replymill_id"
#: What a mail quotes, and what nobody sees.
_LEFT_OUT = frozenset({"blockquote", "style", "script", "head", "title"})
_BREAKS = frozenset({"br", "p", "div", "li", "tr", "ul", "ol", "table", "h1", "h2", "h3", "h4", "h5", "h6", "pre"})


async def load(api: Api, ticket_id: str) -> tuple[dict[str, Any], list[Any]]:
    """A ticket with names for ids, and its articles, oldest first.

    :raises RetryLater: not now.
    """
    ticket = await api.call("GET", f"/api/v1/tickets/{ticket_id}?expand=true")
    articles = await api.call("GET", f"/api/v1/ticket_articles/by_ticket/{ticket_id}?expand=true")
    return ticket if isinstance(ticket, dict) else {}, articles if isinstance(articles, list) else []


async def is_ours(api: Api, ticket: Mapping[str, Any], known: Known) -> bool:
    """Whether nobody owns a ticket, or the bot itself.

    :raises RetryLater: nobody knows who the bot is.
    """
    owner, bot = ticket.get("owner_id"), known.bot
    if owner in (None, NOBODY_ID):
        return True
    if not bot:
        me = await api.call("GET", "/api/v1/users/me")
        bot = me.get("id", 0) if isinstance(me, dict) else 0
    return bool(owner == bot)


def marks_of(articles: Sequence[Any]) -> dict[str, str]:
    """The ids of our articles by the delivery, or its step, that posted them."""
    found = {}
    for article in articles:
        preferences = article.get("preferences") if isinstance(article, dict) else None
        if isinstance(preferences, dict) and is_marked(preferences):
            found[str(preferences[_MARK])] = str(article.get("id", ""))
    return found


def is_marked(preferences: Any) -> bool:
    """Whether an article with these preferences is ours."""
    return isinstance(preferences, dict) and _MARK in preferences


def is_answered(articles: Sequence[Any]) -> bool:
    """Whether the last that the customer can read was written by somebody else than the customer and us."""
    public = [each for each in articles if isinstance(each, dict) and not each.get("internal")]
    spoken = [each for each in public if each.get("sender") in ("Customer", "Agent")]
    return bool(spoken) and spoken[-1]["sender"] == "Agent" and not marks_of(spoken[-1:])


def reply_to(articles: Sequence[Any]) -> dict[str, Any]:
    """How the newest article of the customer is answered: a mail by a mail, anything else where the customer portal shows it."""
    asked = [each for each in articles if isinstance(each, dict) and each.get("sender") == "Customer" and not each.get("internal")]
    article = asked[-1] if asked else {}
    if article.get("type") != "email":
        return {"type": "web" if article.get("type") == "web" else "note"}
    fields = {"to": article.get("reply_to") or article.get("from"), "subject": article.get("subject")}
    fields["in_reply_to"] = article.get("message_id")
    return {"type": "email", **{name: value for name, value in fields.items() if value}}


async def post_article(api: Api, ticket_id: str, body: str, *, mark: str, fields: Mapping[str, Any]) -> str:
    """Post what the customer reads; Zammad's id of it."""
    content = {
        "ticket_id": int(ticket_id),
        "body": body,
        "content_type": "text/html",
        "internal": False,
        "sender": "Agent",
        "preferences": {_MARK: mark},
        **fields,
    }
    found = await api.call("POST", "/api/v1/ticket_articles", content)
    return str(found.get("id", "")) if isinstance(found, dict) else ""


def files_of(article_id: int | None, attachments: Any) -> Iterator[File]:
    """What hangs on an article, by the ids that its address is made of; the mail itself, as HTML, is none."""
    for one in attachments if isinstance(attachments, list) else ():
        told = one.get("preferences") if isinstance(one, dict) else None
        told = {str(name).lower(): value for name, value in told.items()} if isinstance(told, dict) else {}
        if isinstance(one, dict) and isinstance(one.get("id"), int) and not told.get("content-alternative"):
            mime = told.get("content-type") or told.get("mime-type")
            size = one.get("size")
            size = int(size[:18]) if isinstance(size, str) and size.isdecimal() else size
            yield File(reference=f"{article_id}/{one['id']}", mime=mime, name=one.get("filename"), size=size)


def note(said: str, *, mark: str) -> dict[str, Any]:
    """The article that agents alone read."""
    body = "<p>Replymill gives this ticket to a person.</p>" + (f"<p>It said last:</p>{said}" if said else "")
    return {
        "body": body,
        "content_type": "text/html",
        "type": "note",
        "internal": True,
        "sender": "Agent",
        "preferences": {_MARK: mark},
    }


def text_of(body: str, content_type: str) -> str:
    """What a person wrote, without markup and without what a mail quotes."""
    if "html" not in content_type.lower():
        return body.strip()
    reader = _Reader()
    reader.feed(bounded(body))
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
    return "\n".join(line for line in lines if line)


class _Reader(HTMLParser):
    """Collects what is seen of HTML."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        #: How many elements that are left out are open.
        self._hidden = 0

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        """What stands in `<![...]>`, which only Word writes, is a comment; the library gives up on words it does not know."""
        return self.parse_bogus_comment(i)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _LEFT_OUT:
            self._hidden += 1
        if tag in _BREAKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _LEFT_OUT:
            self._hidden = max(0, self._hidden - 1)
        if tag in _BREAKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            # Line ends of the source are spaces.
            self.parts.append(" ".join(data.split("\n")))
