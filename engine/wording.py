"""What a question is worded with, and in what two of them differ although they look alike: a number, a negation, an opposite, a
name, the order of words, or one word put in another's place.

The word lists are English with the negations and numerals of some other languages; what they do not know counts as a plain word.
"""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

#: Characters of a question that are looked at.
MOST = 1000

_WORD = re.compile(r"\d+(?:[.,:/-]\d+)*|[^\W\d_]+(?:['\u2019][^\W\d_]+)?\d*(?:-\d+)*|[\u20ac$\u00a3\u00a5%]")
#: Politeness and openings, which say nothing of what is asked.
_OPENING = re.compile(
    r"^(?:(?:hi|hello|hey|good (?:morning|afternoon|evening|day)|greetings|dear (?:team|support|all)|there|quick question|question"
    r"|excuse me|sorry|please|hallo|guten (?:tag|morgen)|bonjour|hola)\b[ ,.!:;-]{0,4})+",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"[ ,.!?;-]*\b(?:thx|ty|tia|thanks?(?: you)?(?: so much| very much| a lot| in advance)?|please help(?: me)?"
    r"|please|cheers|regards|danke|merci|gracias)"
    r"[ .!?]*$",
    re.IGNORECASE,
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Words that hold a sentence together. Those that change what is asked (to, from, with, before, all, only) are not among them.
FUNCTION_WORDS = _words(
    "a an the i i'm i've i'd i'll me my mine we our us you your it its it's this that these those is are am was were be"
    " been being do does did doing have has had having can could would will shall should may might must and or of in on at"
    " for as so if then there here what what's how why which who when where please just also really very some any about like"
    " want wish need get got know tell show let help possible able way there's hi hello hey thanks thank ok okay oh um uh"
)
#: Words of which a swap makes one of function, and which are meant.
_PLAIN = _words("form tow")
_NEGATION = _words(
    "not no never none nothing neither nor without cannot cant can't dont don't doesn't doesnt didn't didnt isn't isnt"
    " aren't arent wasn't wasnt won't wont wouldn't wouldnt couldn't couldnt haven't havent hasn't hasnt shouldn't shouldnt"
    " ain't unable fail failed fails nicht kein keine keinen nie ohne pas jamais sans sin nunca jam\u00e1s non senza mai"
    " \u0644\u0627 nao n\u00e3o nunca"
)
_NUMERAL_LINES = (
    "zero null,uno eins,two zwei deux dos,three drei trois tres,four vier quatre,five f\u00fcnf cinq,six sechs,seven sieben sept,"
    "eight acht huit,nine neun neuf,ten zehn dix,eleven elf,twelve zw\u00f6lf"
)
_NUMERALS = {word: str(value) for value, words in enumerate(_NUMERAL_LINES.split(",")) for word in words.split()}
_NUMERALS |= {"hundred": "100", "thousand": "1000"}
_TIMES = _words(
    "monday tuesday wednesday thursday friday saturday sunday january february march april may june july august september"
    " october november december today tomorrow yesterday tonight morning evening weekend spring summer autumn winter"
    " christmas easter"
)
_NAMED = _words(
    "usd eur gbp chf jpy euro euros dollar dollars pound pounds paypal visa mastercard amex apple google microsoft facebook"
    " samsung lg sony iphone android ios windows mac linux csv pdf xml json excel slack teams salesforce hubspot stripe"
    " black white red green blue yellow small medium large standard express premium basic pro team business enterprise cash"
    " bank debit credit all every whole only both entire each"
)
#: Opposites; each line is two sides, whose words are opposites of each other.
OPPOSITES = (
    (
        "enable activate allow unblock unlock unmute open start connect",
        "disable deactivate forbid block lock mute close stop disconnect",
    ),
    ("increase raise upgrade add more higher most maximum top", "decrease lower reduce downgrade remove less lower least minimum"),
    ("cheapest cheap cheaper little", "expensive pricey much dearest"),
    ("early before earlier", "late after later"),
    ("buy purchase deposit receive received send incoming", "sell refund withdraw send sent receive outgoing"),
    ("including include with inside in", "excluding exclude without outside out"),
    ("subscribe join login", "unsubscribe leave cancel logout"),
    ("on", "off"),
    ("in", "out"),
    ("up", "down"),
    ("to into", "from"),
    ("accept accepted approve approved", "reject rejected decline declined refuse refused"),
    ("create make register install upload", "delete remove cancel uninstall download"),
    ("success succeeded successful works working", "failure failed unsuccessful broken"),
    ("credit", "debit"),
    ("first", "last"),
    ("new newest", "old oldest"),
    ("import", "export"),
    ("online", "offline store"),
    ("domestic", "international foreign abroad"),
    ("public", "private"),
    ("show", "hide"),
    ("win", "lose"),
    ("pick collect", "deliver"),
    ("max maximum", "min minimum"),
    ("arrival arrive", "departure depart leave"),
    ("physical", "virtual digital"),
    ("one single", "all every whole both"),
    ("always", "never"),
    ("large big larger bigger", "small smaller"),
    ("fast faster", "slow slower"),
    ("paid", "unpaid free"),
    ("monthly", "yearly annual annually"),
)
_OPPOSITE: frozenset[tuple[str, str]] = frozenset(
    pair for left, right in OPPOSITES for a in left.split() for b in right.split() if a != b for pair in ((a, b), (b, a))
)
_PREFIXES = ("un", "de", "dis", "in", "im", "non")


@dataclass(frozen=True)
class Wording:
    """A question as it is compared."""

    #: Content words in their order, without inflection.
    content: tuple[str, ...]
    numbers: frozenset[str]
    #: Whether an odd number of negations stands in it.
    negated: bool
    #: Names, currencies, days.
    names: frozenset[str]


@dataclass(frozen=True)
class Difference:
    """In what two questions differ, each from 0, not at all, to 1."""

    number: float
    negation: float
    opposite: float
    name: float
    order: float
    #: Nothing but one short piece differs: what stands there was put in another's place.
    slot: float


@lru_cache(maxsize=8192)
def worded(text: str) -> Wording:
    """A question, analysed."""
    plain = unicodedata.normalize("NFKC", text[:MOST]).replace("\u2019", "'").strip()
    core = _CLOSING.sub("", _OPENING.sub("", plain)) or plain
    found = _WORD.findall(core)
    words = [word.casefold() for word in found]
    capitals = {word.casefold() for word in found[1:] if word[:1].isupper()} if not core.isupper() else set()
    content = tuple(
        _stem(word) for word in words if word not in FUNCTION_WORDS and not (word not in _NAMED and _mistyped_function(word))
    )
    return Wording(
        content=content,
        numbers=frozenset(_NUMERALS.get(word, word) for word in words if word in _NUMERALS or any(sign.isdigit() for sign in word)),
        negated=sum(word in _NEGATION for word in words) % 2 == 1,
        names=frozenset(
            _stem(word) for word in words if word in _NAMED or word in _TIMES or (word in capitals and word not in FUNCTION_WORDS)
        ),
    )


def _mistyped_function(word: str) -> bool:
    """Whether two letters of a word of function are swapped: `wehre`, `waht`, `htis`."""
    swaps = (word[:at] + word[at + 1] + word[at] + word[at + 2 :] for at in range(len(word) - 1))
    return 4 <= len(word) <= 6 and word not in _PLAIN and any(swap in FUNCTION_WORDS and len(swap) > 3 for swap in swaps)


def _stem(word: str) -> str:
    """Without the endings of English plurals and verbs; short words stay as they are."""
    for ending, least in (("ies", 5), ("ing", 6), ("ed", 5), ("es", 5), ("s", 4), ("e", 5)):
        if word.endswith(ending) and len(word) >= least and not word.endswith("ss"):
            stem = word[: -len(ending)] + ("y" if ending == "ies" else "")
            return stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] and ending in ("ing", "ed") else stem
    return word


def _likes(left: str, right: str) -> bool:
    """Whether two words are one, mistyped: two letters swapped, one left out or doubled, or in a longer word another one."""
    if abs(len(left) - len(right)) > 1 or min(len(left), len(right)) < 4 or not (left + right).isalpha():
        return False
    start = next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    a, b = left[start:], right[start:]
    if a[:2] == b[1::-1] and a[2:] == b[2:]:
        return True
    if start == 0:
        return False
    if len(a) != len(b):
        return a[1:] == b or a == b[1:]
    return len(left) > 5 and a[1:] == b[1:]


def _unmatched(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Content words that only one of the two has, mistyped ones apart."""
    ours = [word for word in dict.fromkeys(left) if word not in right]
    theirs = [word for word in dict.fromkeys(right) if word not in left]
    for word in list(ours):
        twin = next((other for other in theirs if _likes(word, other) and not opposite(word, other)), None)
        if twin is not None:
            ours.remove(word)
            theirs.remove(twin)
    return ours, theirs


def opposite(left: str, right: str) -> bool:
    """Whether two words mean the opposite of each other: by the list, or by a prefix."""
    if (left, right) in _STEMMED_OPPOSITE:
        return True
    short, long = sorted((left, right), key=len)
    return len(short) > 3 and any(long == prefix + short for prefix in _PREFIXES)


_STEMMED_OPPOSITE = frozenset((_stem(a), _stem(b)) for a, b in _OPPOSITE)


def difference(left: Wording, right: Wording) -> Difference:
    """In what two questions differ."""
    ours, theirs = _unmatched(left.content, right.content)
    return Difference(
        number=_sides(left.numbers - right.numbers, right.numbers - left.numbers),
        negation=float(left.negated != right.negated),
        opposite=float(any(opposite(a, b) for a in ours for b in theirs)),
        name=_sides(left.names & set(ours), right.names & set(theirs)),
        order=_order(left.content, right.content),
        slot=_slot(left.content, right.content, ours, theirs),
    )


def apart(question: str, phrasings: Sequence[str], said: str) -> bool:
    """Whether a question asks for something else than every phrasing of an answer: another number, name or the opposite.

    A name or number that the answer itself has is none of those.
    """
    asked, there = worded(question), {word.casefold() for word in _WORD.findall(said[:MOST])}
    own = frozenset(word for word in asked.numbers | asked.names if word not in there and _stem(word) not in map(_stem, there))
    return bool(phrasings) and all(_asks_other(asked, worded(one), own) for one in phrasings)


def _asks_other(asked: Wording, other: Wording, own: frozenset[str]) -> bool:
    found = difference(asked, other)
    named = own & ((asked.numbers - other.numbers) | (asked.names - other.names))
    return found.opposite == 1 or (bool(named) and (found.number == 1 or found.name == 1))


def _sides(ours: frozenset[str], theirs: frozenset[str]) -> float:
    """1 where both have what the other lacks, a half where one of them has."""
    return 1.0 if ours and theirs else 0.5 if ours or theirs else 0.0


def _order(left: tuple[str, ...], right: tuple[str, ...]) -> float:
    """Share of the pairs of words that both have which stand the other way round; 1 where nothing else differs."""
    theirs = {word: place for place, word in enumerate(right)}
    places = [theirs[word] for word in dict.fromkeys(left) if word in theirs]
    pairs = len(places) * (len(places) - 1) / 2
    turned = sum(a > b for at, a in enumerate(places) for b in places[at + 1 :])
    if not turned:
        return 0.0
    return 1.0 if sorted(left) == sorted(right) else turned / pairs / 2


def _slot(left: tuple[str, ...], right: tuple[str, ...], ours: list[str], theirs: list[str]) -> float:
    """1 where one piece of both differs and what is around it is the same; less, the less of it there is."""
    if not ours or not theirs or len(ours) > 3 or len(theirs) > 3:
        return 0.0
    head = next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), 0)
    tail = next((at for at, (a, b) in enumerate(zip(left[::-1], right[::-1], strict=False)) if a != b), 0)
    frame = head + tail
    replaced = max(len(left), len(right)) - frame
    return frame / (frame + replaced) if 0 < replaced <= 3 else 0.0


def overlap(left: Wording, right: Wording, idf: Mapping[str, float]) -> tuple[float, float, float]:
    """Shared content by its weight: over what either has, and the weight that each of the two has alone, over its own."""
    ours, theirs = _unmatched(left.content, right.content)
    alone, other = _weight(ours, idf), _weight(theirs, idf)
    all_ours, all_theirs = _weight(set(left.content), idf), _weight(set(right.content), idf)
    shared = max(all_ours - alone, 0.0)
    total = shared + alone + other
    return (shared / total if total else 1.0), alone / (all_ours or 1.0), other / (all_theirs or 1.0)


def _weight(words: list[str] | set[str], idf: Mapping[str, float]) -> float:
    return sum(idf.get(word, _UNKNOWN) for word in words)


#: Weight of a word that stands in no entry.
_UNKNOWN = 4.0


def inverse_frequency(counts: Mapping[str, int], texts: int) -> dict[str, float]:
    """Weight of each word: the rarer in the texts, the more; from 1 to about 5."""
    return {word: min(1.0 + math.log((texts + 1) / (count + 1)), 5.0) for word, count in counts.items()}
