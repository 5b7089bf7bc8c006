"""The likely topics of a clarifying question: how they are written where there are no buttons, and what an answer to them means.

A choice is plain text on one line. Where a platform has buttons a press sends the choice's own text as the person's message; in a
history, and where there are no buttons, the choices stand below the text as a numbered list, which is read back from there.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from msgspec import structs

from engine.messages import Reply

#: Choices of one question; more are not read by anybody, and platforms take about as many buttons.
MOST_CHOICES = 10
#: Characters of one choice.
LONGEST_CHOICE = 200
#: Characters and words of an answer that may name a choice by a number or by some of its words.
LONGEST_ANSWER, MOST_WORDS = 120, 8

_ITEM = re.compile(r"(\d{1,2})\. (\S.*)")
_WORD = re.compile(r"\w+")
_FILLERS = """
a an the one number no nr option choice topic answer please i mean want would like to take pick choose about is it that s d m
der die das den dem ein eine einen nummer punkt bitte ich meine will möchte nehme wähle thema
le la les l un une numéro numero choix svp je veux el los las número opción quiero por favor il lo uno het de
"""
#: Words around a number or a topic that say nothing about which.
_AROUND = frozenset(_FILLERS.split())
#: Ordinal words; the position of each row is the number, the last row is the last choice. A word is one token of `_WORD`.
_ORDINALS = (
    "1st first one erste ersten erster erstes premier première primero primera primer primo prima primeiro primeira eerste eins",
    "2nd second zweite zweiten zweiter zweites deuxième second seconde segundo segunda secondo seconda tweede zwei two",
    "3rd third dritte dritten dritter drittes troisième tercero tercera tercer terzo terza terceiro terceira derde drei three",
    "4th fourth vierte vierten vierter viertes quatrième cuarto cuarta quarto quarta vierde vier four",
    "5th fifth fünfte fünften fünfter fünftes cinquième quinto quinta vijfde fünf five",
    "last letzte letzten letzter letztes dernier dernière último última ultimo ultima laatste",
)
_BY_WORD = {word: place for place, row in enumerate(_ORDINALS) for word in row.split()}
#: Chinese ordinals such as 第二个, whose words have no spaces between them.
_CHINESE = re.compile(r"(?:我?[要选選]?第?)([一二三四五六七八九十])[个個项項]?[\u3002.!\uff01]?")


def tidy(choices: Iterable[str]) -> tuple[str, ...]:
    """The choices as they are shown: each on one line, none twice, none empty, not too long and not too many."""
    lines = (" ".join(choice.split())[:LONGEST_CHOICE].rstrip() for choice in choices)
    return tuple(dict.fromkeys(line for line in lines if line))[:MOST_CHOICES]


def listed(text: str, choices: Iterable[str]) -> str:
    """The text with its choices as a numbered list below it; the text itself where there are none."""
    shown = tidy(choices)
    items = "\n".join(f"{number}. {choice}" for number, choice in enumerate(shown, 1))
    return "\n\n".join(filter(None, (text.rstrip(), items))) if shown else text


def offered(text: str) -> tuple[str, ...]:
    """The choices at the end of a text that `listed` made; none where it does not end in a list that counts from 1."""
    found: list[tuple[int, str]] = []
    for line in reversed(text.rstrip().splitlines()[-MOST_CHOICES:]):
        item = _ITEM.fullmatch(line)
        if item is None:
            break
        found.append((int(item[1]), item[2]))
    numbers = [number for number, _ in reversed(found)]
    return tuple(choice for _, choice in reversed(found)) if numbers == list(range(1, len(numbers) + 1)) else ()


def chosen(answer: str, last_assistant_text: str) -> str | None:
    """The choice of the assistant's last turn that an answer names; None where it names none, or more than one.

    An answer names a choice by its own text, by its number (2, #2, "the second one", "the last"), or by words that one choice alone
    has.
    """
    choices = offered(last_assistant_text)
    folded = [_fold(choice) for choice in choices]
    if _fold(answer) in folded:
        return choices[folded.index(_fold(answer))]
    if not choices or len(answer) > LONGEST_ANSWER:
        return None
    place = _place(answer, len(choices))
    if place is not None:
        return choices[place] if 0 <= place < len(choices) else None
    named = [choice for choice in choices if _names(answer, choice)]
    return named[0] if len(named) == 1 else None


def plain(reply: Reply) -> Reply:
    """The reply for a place without buttons: its choices are part of the text."""
    return structs.replace(reply, text=listed(reply.text, reply.choices), choices=()) if reply.choices else reply


def _fold(text: str) -> str:
    """For comparing: without case, form, spaces and marks around."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(" .!?\"'“”„()[]#")


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _telling(text: str) -> list[str]:
    """Words that say which; all of them where none does."""
    words = _words(text)
    return [word for word in words if word not in _AROUND] or words


def _place(answer: str, many: int) -> int | None:
    """The position that a number or an ordinal names, from 0, possibly beyond the choices; None where the answer is no number."""
    chinese = _CHINESE.fullmatch(answer.strip())
    if chinese:
        return "一二三四五六七八九十".index(chinese[1])
    words = _telling(answer)
    if len(words) != 1:
        return None
    word = words[0].removesuffix("º").removesuffix("ª")
    if word.isdecimal():
        return int(word) - 1 if len(word) <= 2 else many
    place = _BY_WORD.get(word)
    return many - 1 if place == len(_ORDINALS) - 1 else place


def _names(answer: str, choice: str) -> bool:
    """Whether every telling word of the answer begins a word of the choice, or is begun by one of some length."""
    asked = _telling(answer)
    has: Sequence[str] = _words(choice)
    if not 0 < len(asked) <= MOST_WORDS:
        return False
    return all(any(_same(word, one) for one in has) for word in asked)


def _same(word: str, other: str) -> bool:
    """Equal, or one is the other with an ending (refund, refunds)."""
    short, long = sorted((word, other), key=len)
    return short == long or (len(short) >= 4 and long.startswith(short) and len(long) - len(short) <= 3)
