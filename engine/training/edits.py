"""Pairs made of one question: the same one as people also type it, and another one that looks almost alike.

No set has enough of them, and a verifier that never saw two order numbers takes them for one.
"""

import random
import re
from collections.abc import Callable

from engine.wording import FUNCTION_WORDS, OPPOSITES

_BEFORE = ("Hi, ", "Hello, ", "hey ", "Good morning! ", "Hello team, ", "Hi there. ", "Quick question: ", "Please, ")
_AFTER = (" thanks", " Thanks!", " thank you", " please", " Please help.", " thx", " Thank you very much", "??", "!")
#: What is put for each other; each line is one kind of thing.
_KINDS = (
    "monday tuesday wednesday thursday friday saturday sunday",
    "january february march april june july august september october november december",
    "usd eur gbp yen dollars euros pounds pesos",
    "visa mastercard amex paypal apple google",
    "black white red green blue",
    "checking savings credit debit",
    "morning afternoon evening",
    "today tomorrow yesterday",
    "london paris berlin madrid rome tokyo chicago boston",
    "france germany spain italy japan mexico canada",
    "small medium large",
    "card account pin password phone address app",
    "order refund invoice payment transfer deposit",
)
_ALIKE = {word: kind.split() for kind in _KINDS for word in kind.split()}
_OPPOSED: dict[str, list[str]] = {}
for _left, _right in OPPOSITES:
    for _one, _others in ((_left, _right), (_right, _left)):
        for _word in _one.split():
            _OPPOSED.setdefault(_word, []).extend(_others.split()[:2])
_AUXILIARY = r"\b(can|do|does|did|is|are|was|will|should|have|has|could|would)\b"

Edit = Callable[[str, random.Random], str | None]


def greeted(text: str, rng: random.Random) -> str:
    return rng.choice(_BEFORE) + text


def thanked(text: str, rng: random.Random) -> str:
    return text.rstrip("?") + rng.choice(_AFTER)


def cased(text: str, rng: random.Random) -> str:
    return rng.choice((text.upper(), text.capitalize(), text.lower().rstrip("?"), text.title()))


def mistyped(text: str, rng: random.Random) -> str | None:
    """Two letters of a longer word swapped, or one left out or doubled."""
    words = list(re.finditer(r"[a-z]{5,}", text))
    if not words:
        return None
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    pieces = (text[at + 1] + text[at] + text[at + 2 :], text[at + 1 :], text[at] * 2 + text[at + 1 :])
    return text[:at] + rng.choice(pieces)


def contracted(text: str, rng: random.Random) -> str | None:
    """Long forms for short ones and the other way round."""
    forms: tuple[tuple[str, str], ...] = (
        ("don't", "do not"),
        ("can't", "cannot"),
        ("didn't", "did not"),
        ("isn't", "is not"),
        ("i'm", "i am"),
        ("what's", "what is"),
    )
    forms += (("how do i", "how can i"), ("how can i", "how do i"), ("how do i", "how to"), ("can you tell me", "tell me"))
    fitting = [(old, new) for pair in forms for old, new in (pair, pair[::-1]) if old in text.lower()]
    if not fitting:
        return None
    old, new = rng.choice(fitting)
    return re.sub(re.escape(old), new, text, count=1, flags=re.IGNORECASE)


def renumbered(text: str, rng: random.Random) -> str | None:
    """Another number; where there is none, both get one, so that the first text is changed too."""
    found = re.search(r"\d+", text)
    if not found:
        return None
    number = found[0]
    other = number
    while other == number:
        other = (
            number[:-1] + str(rng.randrange(10))
            if rng.random() < 0.5
            else str(rng.randrange(10 ** len(number), 10 ** (len(number) + 1)))
        )
    return text[: found.start()] + other + text[found.end() :]


def negated(text: str, rng: random.Random) -> str | None:
    if " not " in text or "n't" in text:
        return re.sub(r" not\b|n't\b", "", text, count=1)
    found = list(re.finditer(_AUXILIARY, text, re.IGNORECASE))
    if not found:
        return None
    at = rng.choice(found)
    return text[: at.end()] + rng.choice((" not", "n't")) + text[at.end() :]


def opposed(text: str, rng: random.Random) -> str | None:
    return _replaced(text, rng, _OPPOSED)


def renamed(text: str, rng: random.Random) -> str | None:
    return _replaced(text, rng, _ALIKE)


def _replaced(text: str, rng: random.Random, others: dict[str, list[str]]) -> str | None:
    words = [found for found in re.finditer(r"[a-z]+", text, re.IGNORECASE) if found[0].lower() in others]
    if not words:
        return None
    word = rng.choice(words)
    return (
        text[: word.start()] + rng.choice([one for one in others[word[0].lower()] if one != word[0].lower()]) + text[word.end() :]
    )


def widened(text: str, rng: random.Random) -> str | None:
    """All of a thing in one's place."""
    found = re.search(r"\b(a|an|one|my) (?=[a-z]{3,})", text)
    return (
        text[: found.start()] + rng.choice(("all ", "every ", "both ")) + text[found.end() :]
        if found and rng.random() < 0.3
        else None
    )


def turned(text: str, rng: random.Random) -> str | None:
    """What stands on both sides of a small word that has a direction, the other way round."""
    found = re.search(r"\b([\w$]{3,}) (to|instead of|into|before|after|than|and not|rather than) ([\w$]{3,})\b", text)
    if not found or {found[1].lower(), found[3].lower()} & FUNCTION_WORDS:
        return None
    return text[: found.start()] + f"{found[3]} {found[2]} {found[1]}" + text[found.end() :]


#: Edits after which a question is the same, and those after which it is another one.
SAME: tuple[Edit, ...] = (greeted, thanked, cased, mistyped, contracted)
OTHER: tuple[Edit, ...] = (turned, widened, opposed, renamed, renumbered, negated)


def numbered(text: str, rng: random.Random) -> str:
    """The text with an identifier at its end, so that it can be numbered otherwise."""
    code = rng.choice(("{}", "#{}", "A-{}", "order {}", "number {}", "{} euros", "${}", "{} days")).format(rng.randrange(2, 99999))
    return f"{text.rstrip('?.! ')} {rng.choice(('for ', 'of ', 'about ', ''))}{code}"


def pairs(texts: list[str], seed: int) -> list[tuple[str, str, bool]]:
    """(question, edited, whether it is the same): every other question becomes another one, by the rarest edit that fits."""
    rng = random.Random(seed)  # noqa: S311 - examples are drawn, no secrets
    made = []
    for at, text in enumerate(texts):
        same = at % 2 == 0
        first = numbered(text, rng) if rng.random() < 0.2 else text
        edits = rng.sample(SAME, len(SAME)) if same else [edit for edit in OTHER if rng.random() < 0.7]
        edited = next((found for edit in edits if (found := edit(first, rng)) and found != first), None)
        if edited:
            made.append((first, edited, same))
    return made
