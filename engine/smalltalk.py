"""Small talk: greetings, thanks, and questions about the bot itself, in the languages that the fixed texts are shipped in. Pure.

A message is small talk where nothing else is in it; small talk at the head of a question is taken off, so that the question is
looked up as it stands.
"""

import re
from enum import StrEnum
from typing import NamedTuple


class SmallTalk(StrEnum):
    """What a person says without asking for anything; its value names the fixed text that answers it."""

    #: "Hello".
    GREETING = "greeting"
    #: "How are you?"
    WELL = "how_are_you"
    #: "Thanks".
    THANKS = "thanks"
    #: "Bye".
    GOODBYE = "goodbye"
    #: "Are you a bot?", "Am I talking to a person?"
    BOT = "bot"
    #: "Who are you?", "What can you do?"
    WHO = "who"
    #: "OK", "no, that is all".
    FINE = "fine"


#: Phrases of each kind, longest first where one begins another; a space stands for any space or mark between words.
_PHRASES: dict[SmallTalk, str] = {
    SmallTalk.BOT: (
        r"(so |wait |but )?(are|r) (you|u) (a |an |really |actually |just |even )*"
        r"(bot|chatbot|robot|human|human being|person|real person|machine|ai|computer|real|real human|live agent"
        r"|live person|program)"
        r"( or (a |an )?(bot|chatbot|robot|human|human being|person|real person|machine|ai|computer))?"
        r"|is this (a |an )?(bot|chatbot|robot|human|person|real person|machine|ai|computer)( or (a |an )?\w+)?"
        r"|am i (talking|speaking|chatting|writing) (to|with) (a |an )?"
        r"(bot|chatbot|robot|human|person|real person|machine|ai|computer)( or (a |an )?\w+)?"
        r"|bist du (ein |eine |wirklich |denn )*(bot|chatbot|roboter|mensch|maschine|ki|echter mensch|person)"
        r"( oder (ein |eine )?(bot|chatbot|roboter|mensch|maschine|ki))?"
        r"|sind sie (ein |eine |wirklich |denn )*(bot|chatbot|roboter|mensch|maschine|ki|echter mensch|person)"
        r"( oder (ein |eine )?(bot|chatbot|roboter|mensch|maschine|ki))?"
        r"|(est ce que )?(tu es|vous êtes|es tu|êtes vous) (un |une |vraiment )*"
        r"(bot|chatbot|robot|humain|humaine|personne|machine|ia|vraie personne)( ou (un |une )?\w+)?"
        r"|eres (un |una )*(bot|chatbot|robot|humano|humana|persona|máquina|ia|persona real)( o (un |una )?\w+)?"
        r"|es usted (un |una )*(bot|chatbot|robot|humano|humana|persona|máquina|ia)( o (un |una )?\w+)?"
        r"|(请问|請問)?(你|您)是(不是)?(一个|一個)?(机器人|機器人|真人|人工|人类|人類|人|ai)(还是(真人|人|机器人)|還是(真人|人"
        r"|機器人))?(吗|嗎|呢)?"
        r"|هل (أنت|انت) (روبوت|بوت|إنسان|انسان|شخص( حقيقي)?|آلة)( (أم|ام) (روبوت|بوت|إنسان|انسان|شخص))?"
    ),
    SmallTalk.WHO: (
        r"(who|what) (are|r) (you|u)|what is your name|what s your name|whats your name"
        r"|what can (you|u) do( for me)?|what can i ask( you)?|how can you help( me)?"
        r"|wer (bist du|sind sie)|wie (heißt du|heißen sie)|was (kannst du|können sie)( alles)?( tun)?"
        r"|(qui|tu es qui) (es tu|êtes vous)|comment tu t appelles|que (peux tu|pouvez vous) faire"
        r"|quién (eres|es usted)|cómo te llamas|qué puedes hacer"
        r"|(你|您)是(谁|誰|什么|什麼)|(你|您)叫什么(名字)?|(你|您)(能|可以|会|會)做什么|من (أنت|انت)|ما اسمك|ماذا يمكنك أن تفعل"
    ),
    SmallTalk.WELL: (
        r"how (are|r) (you|u)( doing| today| doing today)?|how is it going|how s it going|hows it going|what s up|whats up|sup"
        r"|how do you do|how have you been|you ok"
        r"|wie geht s( dir| ihnen)?|wie geht es (dir|ihnen|euch)|wie gehts( dir)?|comment (ça|ca) va|ça va"
        r"|comment (allez vous|vas tu)"
        r"|cómo (estás|está usted|está|te va)|como estas|qué tal|你好吗|你好嗎|您好吗|(你|您)(最近)?怎么样|كيف (حالك|الحال)"
    ),
    SmallTalk.GREETING: (
        r"(hello|hi|hey|hiya|howdy|greetings|good (morning|afternoon|evening|day)|yo|heya|hallo|moin|servus|grüezi|grüß gott"
        r"|guten (tag|morgen|abend)|bonjour|bonsoir|salut|coucou|hola|buenos días|buenas( tardes| noches)?"
        r"|buongiorno|ciao|olá|oi)"
        r"( (there|all|everyone|team|bot|zusammen|à tous|a todos|again))?"
        r"|(你们|您|你)好(呀|啊)?|嗨|哈喽|哈囉|早上好|下午好|晚上好|在吗|在嗎|مرحبا( بك)?|مرحباً|أهلا( وسهلا)?"
        r"|السلام عليكم|صباح الخير|مساء الخير"
    ),
    SmallTalk.THANKS: (
        r"(many thanks|thank (you|u)|thanks|thx|ty|cheers|much appreciated|appreciate it|danke( schön| sehr| dir"
        r"| ihnen)?|vielen dank"
        r"|herzlichen dank|merci( beaucoup| bien)?|(muchas )?gracias|grazie( mille)?"
        r"|obrigad[oa]|谢谢(你|您|了|啦)?|謝謝(你|您)?|多谢|感谢"
        r"|شكرا( جزيلا)?( لك)?|شكراً)"
        r"( (so|very) much| a lot| a million| again| for (your|the|all your) help| for (helping|everything)"
        r"| für (ihre|deine|die) hilfe"
        r"| pour (votre|ton) aide| por (su|tu) ayuda)*"
        r"|(that|it|this) (helped|helps|worked|works now|was helpful|is helpful)( a lot)?"
    ),
    SmallTalk.GOODBYE: (
        r"(good ?bye|bye( bye)?|see (you|u|ya)( later| soon)?|have a (nice|good|great) (day|one|evening|weekend)|cya|take care"
        r"|tschüss|tschüß|auf wiedersehen|bis (bald|dann|später)|schönen tag( noch)?|au revoir|à bientôt|bonne journée"
        r"|adiós|hasta (luego|pronto)|chau|再见|再見|拜拜|مع السلامة|وداعا|إلى اللقاء)"
    ),
    SmallTalk.FINE: (
        r"(ok|okay|okey|k|alright|all right|great|perfect|cool|nice|awesome|good|fine|super|got it|understood"
        r"|i see|sounds good|very good"
        r"|no|nope|no that s all|no that is all|that s all|that is all|thats all|nothing( else| more)?|that will be all"
        r"|alles klar|gut|prima|nein|nein das war s|das war alles|das war s|d accord|parfait|très bien|non|c est tout"
        r"|vale|perfecto|muy bien|eso es todo|nada más|好的?|好吧|知道了|明白了?|没有了|没事了|حسنا|حسناً|تمام|لا شيء آخر)"
    ),
}

#: Between phrases.
_BETWEEN = r"[\s,.!?;:'’´`~¡¿،؟。！？，、…()\-\U0001F300-\U0001FAFF\u2600-\u27BF\uFE0F]"
_ENDED = r"\s*(?:[.!?;,…。！？，؟،]|$|\n| -|(?-i:[\U0001F300-\U0001FAFF\u2600-\u27BF]))"
#: What may lead a question without a mark between; all else must be a sentence of its own ("who are you shipping with?").
_LEADS = (SmallTalk.GREETING, SmallTalk.THANKS)
#: By kind: the phrase where it is a sentence by itself, and where it may be followed (Chinese has no spaces between words).
#: A space is any marks: to name them one by one would cost a worker's start 0.2 s.
_COMPILED = tuple(
    (
        kind,
        re.compile(rf"(?:{spaced})(?={_ENDED})", re.IGNORECASE),
        re.compile(rf"(?:{spaced})(?:(?<=[\u3000-\u9fff])|(?![\w-]))", re.IGNORECASE) if kind in _LEADS else None,
    )
    for kind, spaced in ((kind, phrases.replace(" ", r"\W+")) for kind, phrases in _PHRASES.items())
)
_GAP = re.compile(rf"{_BETWEEN}*")
#: Not a greeting of thanks: "thanks to your update", "this worked until today".
_MEANT = re.compile(r"\s+(?:to|for nothing)\b", re.IGNORECASE)
_TOLD = re.compile(r"that|it|this", re.IGNORECASE)
#: Words that may lead to a question once its small talk is off.
_LEADING = re.compile(r"(?:and|but|so|now|also|then|und|aber|et|mais|y|pero)(?=[\s,])[\s,]*", re.IGNORECASE)
#: Phrases at the head of one message; a row of greetings is not longer.
_MOST = 6
#: A message that is longer than this is more than small talk; only its head is looked at.
_HEAD = 400


class Parted(NamedTuple):
    """A message without its small talk."""

    #: Everything that was said by the way, in order.
    kinds: tuple[SmallTalk, ...]
    #: What is left; empty where small talk is all.
    rest: str


#: What is answered where several things are said at once: the first of these.
_WEIGHT = (
    SmallTalk.BOT,
    SmallTalk.WHO,
    SmallTalk.WELL,
    SmallTalk.GOODBYE,
    SmallTalk.THANKS,
    SmallTalk.GREETING,
    SmallTalk.FINE,
)


def part(text: str) -> Parted:
    """The small talk that leads a message, and the rest of it."""
    kinds: list[SmallTalk] = []
    head, at = text[:_HEAD], 0
    for _ in range(_MOST):
        at = _GAP.match(head, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        found = _longest(head, at)
        if found is None:
            break
        kinds.append(found[0])
        at = found[1]
    rest = text[_GAP.match(text, at).end() :] if kinds else text  # type: ignore[union-attr]
    if kinds and not any(character.isalnum() for character in rest):
        return Parted(tuple(kinds), "")
    kept, left = _unless_meant(tuple(kinds), text, rest)
    return Parted(kept, left)


def weightiest(kinds: tuple[SmallTalk, ...]) -> SmallTalk | None:
    """What is answered of all that was said by the way."""
    return next((kind for kind in _WEIGHT if kind in kinds), None)


def _longest(head: str, at: int) -> tuple[SmallTalk, int] | None:
    found = [(match.end(), kind) for kind, alone, led in _COMPILED if (match := _match(alone, led, head, at)) and match.end() > at]
    if not found:
        return None
    end, kind = max(found, key=lambda one: one[0])
    return kind, end


def _match(alone: re.Pattern[str], led: re.Pattern[str] | None, head: str, at: int) -> "re.Match[str] | None":
    """A phrase that is said by itself, and is not the beginning of something else."""
    if (match := alone.match(head, at)) or led is None:
        return match
    match = led.match(head, at)
    return None if match is None or _MEANT.match(head, match.end()) or _TOLD.match(head, at) else match


def _unless_meant(kinds: tuple[SmallTalk, ...], text: str, rest: str) -> tuple[tuple[SmallTalk, ...], str]:
    """A head such as "no" or "good" belongs to what follows ("no refund came"); a greeting does not."""
    if not kinds or kinds[-1] is not SmallTalk.FINE:
        return kinds, _LEADING.sub("", rest, count=1) if kinds and _LEADING.match(rest) else rest
    before = text[: len(text) - len(rest)].rstrip()
    return (kinds, rest) if before.endswith((",", ".", "!", ";", "。", "，", "！")) else ((), text)
