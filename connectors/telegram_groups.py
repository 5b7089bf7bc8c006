"""The group behind the bridge: what people write there, and whether the bot is at home in it."""

from telegram import Message, Update
from telegram.error import BadRequest, Forbidden, InvalidToken, TelegramError

from connectors.bodies import well_formed
from connectors.contract import Check, Inbound
from connectors.people import AgentWord
from connectors.telegram_client import Client
from connectors.telegram_errors import judged, short
from connectors.telegram_updates import ATTACHMENTS, NAME, Me, from_a_person, in_shape, whole

#: [D] Characters of a topic's name.
LONGEST_TITLE = 128


def words(update: Update, me: Me, *, chat: str) -> tuple[Inbound, ...] | None:
    """What an update says in the group of the bridge, where nobody asks the bot; None: it happened elsewhere.

    Edits change nothing: what was passed on has arrived.

    :raises UnparseableMessage: it has not the shape of one.
    """
    with in_shape():
        message = update.message or update.edited_message
        if not chat or message is None or str(whole(message.chat.id)) != chat:
            return None
        return _words(message, me, chat) if update.message and from_a_person(message) else ()


def _words(message: Message, me: Me, chat: str) -> tuple[Inbound, ...]:
    """In a topic, or below a message of a thread."""
    topic = (f"topic-{whole(message.message_thread_id)}",) if message.is_topic_message else ()
    replied = message.reply_to_message
    threads = (*topic, *((str(whole(replied.message_id)),) if replied else ()))
    text = well_formed(message.text or message.caption or "").strip()
    attached = any(getattr(message, kind) for kind in ATTACHMENTS)
    if not threads or not (text or attached):
        return ()
    ids = (f"{me.id}/{chat}/{whole(message.message_id)}",)
    return (AgentWord(NAME, me.account.name, chat, threads, ids, text, attached),)


async def open_topic(client: Client, chat: int, title: str) -> str:
    """The number of a new topic; empty where the group is no forum, or nobody can tell: then the message itself says what is wrong.

    :raises RetryLater: as every call, and so are `Unclear` and `DeliveryRefused`.
    """
    try:
        found = await client.ask("getChat", chat_id=chat)
    except (BadRequest, Forbidden, InvalidToken):
        return ""
    except TelegramError as error:
        raise judged(error) from error
    if not found.get("is_forum"):
        return ""
    try:
        topic = await client.ask("createForumTopic", chat_id=chat, name=title[:LONGEST_TITLE])
    except TelegramError as error:
        raise judged(error) from error
    return str(topic.get("message_thread_id") or "")


async def check_group(client: Client, name: str, chat: int) -> Check:
    """Whether the bot is in the group, and hears all that is said there.

    :raises DeliveryError: Telegram cannot be asked.
    """
    what = f"bridge telegram {name}"
    try:
        user, found = await client.get_me(), await client.ask("getChat", chat_id=chat)
        member = await client.ask("getChatMember", chat_id=chat, user_id=user.id)
    except (BadRequest, Forbidden) as error:
        return Check(what, False, short(error), "add the bot to the group; REPLYMILL_BRIDGE names the group by its id", fatal=True)
    except TelegramError as error:
        raise judged(error) from error
    status = member.get("status")
    if status in ("left", "kicked"):
        return Check(what, False, "the bot is not in the group", "add it, as an administrator", fatal=True)
    rights = status == "creator" or (status == "administrator" and bool(member.get("can_manage_topics")))
    if found.get("is_forum") and not rights:
        advice = "make it an administrator that may manage topics"
        return Check(what, False, "the bot may not open topics", advice, fatal=True)
    return Check(what, True, "a forum: one topic for each conversation" if found.get("is_forum") else "a group: answer by replying")
