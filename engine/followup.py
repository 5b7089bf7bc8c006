"""Follow-ups that need what was said before: "and for Germany?", "yes", "the second one", rewritten to stand alone. Pure.

The state is read from the turns: what was asked last, as it stands alone, and what the bot said to it, with the choices it offered.
A question that stands alone is left as it is. Where the grammar is not plain, the open question is put before the new one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from engine import choices, pointing, questions, smalltalk, substitution
from engine.messages import Role, Turn

#: Turns that are looked back at, and characters of one: what is older is seldom meant, and time is bounded.
MOST_TURNS, MOST_CHARACTERS = 20, 1_000
#: Words of a follow-up; a longer message says what it is about.
_MOST_WORDS = 14


class Bearing(StrEnum):
    """How a message bears on what was said before."""

    #: It stands alone.
    ALONE = "alone"
    #: It was rewritten.
    REWRITTEN = "rewritten"
    #: One of the choices that were offered.
    CHOSEN = "chosen"
    #: None of the choices that were offered.
    DECLINED = "declined"
    #: No to an offer of the bot.
    ENOUGH = "enough"
    #: It means nothing by itself, and nothing was said that it could be about.
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Resolved:
    """What a message asks, standing alone."""

    questions: tuple[str, ...]
    bearing: Bearing


@dataclass(frozen=True)
class Context:
    """What is kept of a conversation."""

    #: What was asked last, as it stands alone; empty where nothing was.
    open: str = ""
    #: What was said to it, with the choices below.
    said: str = ""

    @property
    def offered(self) -> tuple[str, ...]:
        """Choices that were offered last."""
        return choices.offered(self.said)


def context(turns: Sequence[Turn]) -> Context:
    """What is kept of these turns, oldest first."""
    kept = Context()
    for turn in turns[-MOST_TURNS:]:
        text = turn.text[:MOST_CHARACTERS]
        if turn.role is not Role.USER:
            kept = replace(kept, said=turn.text[-MOST_CHARACTERS:])
            continue
        rest = smalltalk.part(text).rest
        answered = resolve(text if _answers(text) else rest, kept) if rest or _answers(text) else None
        if answered is not None and answered.bearing in (Bearing.ALONE, Bearing.REWRITTEN, Bearing.CHOSEN):
            kept = Context(open=answered.questions[-1])
    return kept


def resolve(text: str, known: Context) -> Resolved:
    """What a message without small talk asks after what is known; its questions are never empty where the text is not."""
    text = text.strip()
    if reply := _to_choices(text, known) or _to_question(text, known):
        return reply
    found: list[str] = []
    bearing = Bearing.ALONE
    for part in questions.split(text):
        rewritten = _standing_alone(part, known)
        if rewritten != part:
            bearing = Bearing.REWRITTEN
        found.append(rewritten)
        known = Context(open=rewritten)
    if bearing is Bearing.ALONE and (
        _YES.fullmatch(text) or _NO.fullmatch(text) or not any(map(str.isalnum, text)) or _ORDINAL.fullmatch(text)
    ):
        return Resolved((text,), Bearing.UNCLEAR)
    return Resolved(tuple(found), bearing)


# -- answers to what the bot said -------------------------------------------------------------------------------------------------

_YES = re.compile(
    r"\W*(yes|yeah|yep|yup|ya|y|sure|of course|please do|correct|right|exactly|absolutely|go ahead|that one|ja"
    r"|jawohl|genau|gerne|klar"
    r"|oui|bien sûr|d'accord|sí|si|claro|是|是的|对|對|好的?|要|嗯|نعم|أجل|ايوه|بالتأكيد)"
    r"(,? (please|bitte|s'il vous plaît|s'il te plaît|por favor|it is|i do|i would|that's right))?\W*",
    re.IGNORECASE,
)
_NO = re.compile(
    r"\W*(no|nope|nah|n|not really|neither|none|none of (these|those|them|the above)|something else|nein"
    r"|keine?s?( davon)?|etwas anderes|non"
    r"|aucun(e)?|autre chose|ninguno|ninguna|otra cosa|不|不是|不用|没有|都不是|لا|كلا|لا شيء|غير ذلك)"
    r"(,? (thanks|thank you|danke|merci|gracias|谢谢|شكرا|it is not|it isn't|i don't))?\W*",
    re.IGNORECASE,
)
_BOTH = re.compile(
    r"\W*(both|both of them|all|all of them|all of these|beide|alle|les deux|tous|ambos|todos|都要|كلاهما)\W*", re.IGNORECASE
)
_ORDINAL = re.compile(
    r"\W*(the |option |number |no |nr )*(1st|2nd|3rd|first|second|third|fourth|last|one|two|three|\d)( one| option)?\W*", re.I
)
_ELSE = re.compile(
    r"\b(?:anything|something) else\b|noch etwas|weitere fragen|autre chose|algo más|还有(什么|其他)|شيء آخر", re.IGNORECASE
)
_LAST_QUESTION = re.compile(r"[^.!?。！？؟\n]*[?？؟]\W*$")
_OFFER = re.compile(
    r"\W*(?:(?:would you like|do you want|do you wish|should i|shall i|can i|may i|are you asking|did you mean"
    r"|do you mean|are you looking for)"
    r"(?: me| for me)?(?: to)?(?: (?:know|see|hear|learn|find out|tell you|show you|explain to you|explain"
    r"|help you(?: to)?))?(?: about)?)\s+"
    r"(.{2,300})[?？]\W*",
    re.IGNORECASE,
)


def _answers(text: str) -> bool:
    return bool(_YES.fullmatch(text) or _NO.fullmatch(text))


def _to_choices(text: str, known: Context) -> Resolved | None:
    """An answer to the choices that were offered."""
    offered = known.offered
    if not offered:
        return None
    if _BOTH.fullmatch(text):
        return Resolved(offered[: questions.MOST_QUESTIONS], Bearing.CHOSEN)
    if picked := choices.chosen(text, known.said):
        return Resolved((picked,), Bearing.CHOSEN)
    if _NO.fullmatch(text):
        return Resolved((known.open or text,), Bearing.DECLINED)
    if _YES.fullmatch(text):
        return Resolved((offered[0],), Bearing.CHOSEN) if len(offered) == 1 else Resolved((known.open or text,), Bearing.REWRITTEN)
    return None


def _to_question(text: str, known: Context) -> Resolved | None:
    """An answer to what the bot asked with its last sentence."""
    asked = _LAST_QUESTION.search(known.said)
    if asked is None or known.offered:
        return None
    put = asked[0].strip()
    offer = _OFFER.fullmatch(put)
    if _NO.fullmatch(text) and (offer or _ELSE.search(put)):
        return Resolved((text,), Bearing.ENOUGH)
    if _YES.fullmatch(text):
        return (
            Resolved((text,), Bearing.UNCLEAR) if _ELSE.search(put) else Resolved((_taken(offer, put, known),), Bearing.REWRITTEN)
        )
    short = len(text.split()) <= 6 and len(text) <= 60 and not questions.asked(text)
    if _NO.fullmatch(text) or (short and known.open and not offer and not _ELSE.search(put)):
        return Resolved((pointing.joined(pointing.joined(known.open, put), text),), Bearing.REWRITTEN)
    return None


def _taken(offer: "re.Match[str] | None", put: str, known: Context) -> str:
    """What a person asks who says yes to an offer, or to a question of the bot."""
    if offer is None:
        return pointing.joined(pointing.joined(known.open, put), "Yes")
    wanted = re.sub(r"\byour\b", "my", re.sub(r"\byou\b", "I", offer[1].strip()), flags=re.IGNORECASE)
    return f"{wanted[:1].upper()}{wanted[1:]}?" if questions.asked(wanted) else f"{wanted[:1].upper()}{wanted[1:]}"


# -- questions that lean on the one before --

_LEAD = (
    r"(?:and|but|so|also|ok|okay|then|or|plus|what about|how about|und|aber|oder|wie ist es|wie sieht es aus|et"
    r"|mais|y|pero|qué tal"
    r"|que pasa con)"
)
_AND_FOR = re.compile(rf"\W*(?:{_LEAD}\s+(?:if\s+|when\s+)?)+{substitution.PREPOSITIONAL.pattern}", re.IGNORECASE | re.DOTALL)
_BARE_FOR = re.compile(rf"\W*{substitution.PREPOSITIONAL.pattern}\?\W*", re.IGNORECASE | re.DOTALL)
#: In what follows a preposition it is a sentence of its own: "at what age can I open an account?"
_CLAUSE = re.compile(
    r"\b(?:can|could|do|does|did|is|are|was|will|would|should|may|i|you|we|they|which|what|how)\b",
    re.IGNORECASE,
)
_WHAT_ABOUT = re.compile(
    r"\W*(?:and\s+|but\s+|ok\s+|so\s+)?(?:what about|how about|und was ist mit|und|et|y|and)\s+(\S.{0,100}?)\W*",
    re.IGNORECASE | re.DOTALL,
)
_CHINESE = re.compile(r"(?:那么?|还有)?(.{1,12}?)(?:呢|怎么样)[？?]?")
_ARABIC = re.compile(r"(?:و?ماذا عن|و?بالنسبة (?:إلى|ل)|وفي|وإلى)\s*(.{1,40}?)[؟?]?")
_WH = re.compile(
    r"\W*(?:(?:and|but|so|ok|und|aber|et|mais|y|pero)\s+)?"
    r"(why|why not|how come|when|where|how|how much|how many|how long|how often|how far|how fast|who|which one"
    r"|which|what else|anything else"
    r"|since when|until when|what for|for how long|by when|at what price|warum|wieso|warum nicht|wann|wo|wie"
    r"|wie lange|wie viel|wieviel|wie oft"
    r"|bis wann|pourquoi|quand|où|comment|combien|combien de temps|por qué|cuándo|dónde|cómo|cuánto|cuánto tiempo"
    r"|为什么|為什麼|什么时候|多久|多少钱|多少|怎么|哪里|لماذا|متى|أين|كيف|كم)\W*",
    re.IGNORECASE,
)
_MORE = re.compile(
    r"\W*((tell me|show me|give me|i want|i need) )?(more|more details?|details?|more info(rmation)?|an example"
    r"|go on|continue|please explain"
    r"|explain( that| it)?|can you (repeat|explain) (that|it)|say that again|what do you mean|i do not understand"
    r"|i don't understand"
    r"|mehr( dazu)?|genauer|wie meinst du das|plus de détails|más detalles|什么意思|详细点"
    r"|المزيد)( about (it|that|this)| please)?\W*",
    re.IGNORECASE,
)
_FAILS = re.compile(
    r"\W*((but|sorry|no|hm+|well|and) )*((it|that|this|still|they|which) )*(still )?"
    r"((does|do|did|is|are|has|was)(n't| not)|doesnt|didnt|isnt|not|cannot|can't|never) (really )?"
    r"(work|works|working|worked|help|helped|helping|possible|there|arrive|arrived|come|open|load|solve it)"
    r"( for me| either| anymore| at all| yet| still)*\W*"
    r"|\W*(das |es )?(funktioniert|geht|klappt|hilft)( (immer noch|bei mir|leider|mir))* nicht\W*|\W*ça ne (marche"
    r"|fonctionne) (pas|toujours pas)\W*"
    r"|\W*(eso )?no (funciona|sirve)\W*|(还是)?(不行|没用|不能用)[。！]?|(هذا )?لا يعمل\W*",
    re.IGNORECASE,
)


def _standing_alone(text: str, known: Context) -> str:
    """The text, or what it means after the open question."""
    asked = known.open
    if not asked or not text or (len(text.split()) > _MOST_WORDS and not pointing.POINTS.search(text[:80])):
        return text
    if _WH.fullmatch(text) or _MORE.fullmatch(text) or _FAILS.fullmatch(text):
        return pointing.joined(asked, text)
    return _about_other(text, asked) or pointing.named(text, asked) or text


def _about_other(text: str, asked: str) -> str:
    """The open question about something else; empty where the text does not ask that."""
    if questions.asked(_stripped(text)) and not text.lower().lstrip().startswith(("what about", "how about")):
        return ""
    found = _AND_FOR.fullmatch(text) or _BARE_FOR.fullmatch(text)
    if found and not _CLAUSE.search(found[2]):
        return substitution.about(asked, found[1], found[2])
    if found := _WHAT_ABOUT.fullmatch(text) or _CHINESE.fullmatch(text) or _ARABIC.fullmatch(text):
        return substitution.swapped(asked, found[1].strip()) or pointing.joined(asked, text)
    return substitution.swapped(asked, text.strip(" ?!.")) if substitution.named(text) else ""


def _stripped(text: str) -> str:
    """Without the words that lead on, and without the mark."""
    return re.sub(rf"^\W*(?:{_LEAD}\s+)+", "", text, flags=re.IGNORECASE).rstrip("?？؟ ")
