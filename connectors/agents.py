"""What people behind the bridge say: it goes to the user whom their thread is about, and `/done` gives the conversation back."""

import re
import time

from connectors.bridge_store import Threads
from connectors.contract import Taken
from connectors.people import AgentWord
from engine import saying
from engine.errors import Overloaded
from engine.handing import hand, recall
from engine.handoff import Hand, Reason, noted, told
from engine.lanes import Lanes
from engine.messages import Address, Owner, Role, Source, Turn
from engine.staffing import Place
from engine.store import AsyncClient

#: Slack keeps a message that begins with a slash for itself, so `!` does the same.
_DONE = re.compile(r"\s*(@\S+\s+)?[/!](done|bot)(@\S+)?\W*", re.IGNORECASE)
_BACK = "The bot has the conversation again. Whatever is written here goes to the user all the same, and takes it over."
_ATTACHED = "Files are not passed on: the user got the text alone."
_ATTACHED_ALONE = "Files are not passed on: the user got nothing of this."


async def settle(lanes: Lanes, client: AsyncClient, word: AgentWord) -> Taken:
    """Pass on what was written, once.

    :raises Overloaded: its thread may be one that is not known yet: it is to be sent again.
    :raises StoreUnavailable: Redis is away.
    """
    threads = Threads(lanes.settings, client)
    place = Place(word.platform, word.account, "", word.channel)
    found = await threads.conversation(place, word.threads)
    if found is None:
        if word.threads and await threads.opening():
            raise Overloaded("a thread is being opened, and may be this one: send it again")
        return Taken("", "ignored", "agent-elsewhere")
    conversation, thread = found
    if _DONE.fullmatch(word.text):
        return await _give_back(lanes, client, word, conversation)
    # The newest thread in which somebody wrote is where the user's words go.
    await threads.resume(conversation, thread, chained=word.platform == "telegram")
    return await _pass_on(lanes, client, word, conversation)


async def _pass_on(lanes: Lanes, client: AsyncClient, word: AgentWord, conversation: Address) -> Taken:
    id_ = lanes.message_id(conversation, word.logical_ids[0])
    text = word.text.strip()
    note = (_ATTACHED if text else _ATTACHED_ALONE) if word.attached else ""
    move = Hand(
        address=conversation,
        owner=Owner.HUMAN,
        reason=Reason.AGENT,
        bridged=True,
        always=(told(conversation, id_, text, source=Source.AGENT),) if text else (),
        turns=(Turn.kept(Role.AGENT, text, at=time.time_ns() // 1_000_000),) if text else (),
        deliveries=(noted(conversation, id_, note),) if note else (),
    )
    verdict = await hand(lanes, move, logical_ids=word.logical_ids).run_async(client)
    return Taken(id_, "accepted", "agent-repeat" if verdict == "repeat" else "agent")


async def _give_back(lanes: Lanes, client: AsyncClient, word: AgentWord, conversation: Address) -> Taken:
    id_ = lanes.message_id(conversation, word.logical_ids[0])
    known = await recall(lanes, conversation).run_async(client)
    text = saying.say(lanes.settings, conversation.tenant, "given_back", known.language)
    move = Hand(
        address=conversation,
        owner=Owner.BOT,
        reason=Reason.DONE,
        deliveries=(told(conversation, id_, text), noted(conversation, id_, _BACK)),
    )
    verdict = await hand(lanes, move, logical_ids=word.logical_ids).run_async(client)
    return Taken(id_, "accepted", "agent-repeat" if verdict == "repeat" else "agent-done")
