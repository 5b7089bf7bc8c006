"""The same question about something else: the grammar behind "and for Germany?". Pure."""

import re

from engine.lexicon import words
from engine.references import BEFORE_PLACE, NAME, WORD

#: Places people ask about where they write without capitals; others are known by their capital.
_PLACES = words(
    """
    germany france spain italy portugal austria switzerland belgium netherlands holland luxembourg denmark norway sweden
    finland iceland ireland england scotland wales uk britain poland czechia slovakia hungary romania bulgaria greece croatia
    slovenia serbia turkey ukraine russia estonia latvia lithuania malta cyprus usa us america canada mexico brazil argentina
    chile peru colombia china japan korea india pakistan bangladesh indonesia malaysia singapore thailand vietnam philippines
    australia egypt morocco nigeria kenya israel uae dubai europe eu asia africa london paris berlin madrid rome vienna
    amsterdam brussels zurich munich hamburg tokyo deutschland frankreich spanien italien österreich schweiz belgien
    niederlande polen dänemark schweden norwegen finnland allemagne espagne italie suisse belgique autriche pologne suède
    norvège alemania francia suiza bélgica polonia suecia noruega
    """
)
_TIMES = words(
    """
    monday tuesday wednesday thursday friday saturday sunday weekend weekends today tomorrow january february march april may
    june july august september october november december christmas easter summer winter montag dienstag mittwoch donnerstag
    freitag samstag sonntag lundi mardi mercredi jeudi vendredi samedi dimanche lunes martes miércoles jueves viernes sábado
    domingo
    """
)
#: An amount or a measure: sign, digits, unit.
_MEASURE = re.compile(
    r"[$€£¥]\s?\d[\d.,]*|\d[\d.,]*\s?(?:%|€|\$|£|¥|kg|g|km|cm|mm|m|gb|mb|days?|weeks?|months?|years?|hours?|minutes?"
    r"|dollars?|euros?|pounds?|people|users?|items?|pieces?|tage?n?|wochen?|monate?n?|jahre?n?|stunden?)?\b",
    re.IGNORECASE,
)
_PREPOSITIONS = (
    "for|to|in|from|with|without|at|on|by|about|of|into|via|per|after|before|during|until|over|under|outside"
    "|für|nach|mit|ohne|aus|bei|zu|zum|zur|von|ab|bis|über|unter|pour|en|au|aux|à|avec|sans|vers|de|chez|para|con|sin|a|desde|hasta"
)
#: "for Germany", as a piece of a sentence.
PREPOSITIONAL = re.compile(rf"({_PREPOSITIONS})\s+(\S.{{0,80}})", re.IGNORECASE | re.DOTALL)


def about(question: str, preposition: str, new: str) -> str:
    """The question about something else: "Do you ship to Norway?", "for", "Germany" is "Do you ship to Germany?".

    What is not recognised in it is added to its end.
    """
    new = new.strip(" ?!.？؟,")
    return swapped(question, new) or _same_place(question, preposition, new) or _added(question, f"{preposition} {new}")


def swapped(question: str, new: str) -> str:
    """The question with what is of the same kind as `new` replaced; empty where it has nothing of the kind, or several."""
    spans = _alike(question, new)
    if len(spans) != 1:
        return ""
    start, end = spans[0]
    return f"{question[:start]}{new}{question[end:]}"


def named(text: str) -> bool:
    """Whether a short text is a name, a place, a time or a measure, and nothing else."""
    words = _bare(text).split()
    if not 0 < len(words) <= 4:
        return False
    known = _PLACES | _TIMES
    if all(word.casefold() in known for word in words):
        return True
    return bool(_MEASURE.fullmatch(_bare(text))) or (len(words) > 1 and all(word[0].isupper() for word in words))


def _bare(text: str) -> str:
    return re.sub(r"^(?:the|in|to|for|on|from|at)\s+", "", text.strip(" ?!.？؟,"), flags=re.IGNORECASE)


def _alike(question: str, new: str) -> list[tuple[int, int]]:
    if _MEASURE.search(new):
        return [match.span() for match in _MEASURE.finditer(question)]
    for known in (_PLACES, _TIMES):
        if all(word.casefold() in known for word in new.split()):
            spans = [match.span() for match in re.finditer(r"[^\W\d_]+", question) if match[0].casefold() in known]
            return spans or (_names(question, lone=True) if known is _PLACES else [])
    return _names(question) if new[:1].isupper() else []


def _names(question: str, *, lone: bool = False) -> list[tuple[int, int]]:
    """Names inside a question; with `lone` only where they stand for a place, by the word before them."""
    found = [match for match in NAME.finditer(question) if match[0] != "I" and match[0].casefold() not in _TIMES]
    if lone:
        return [match.span() for match in found if BEFORE_PLACE.search(question[: match.start()])]
    return [match.span() for match in found if match[0].casefold() not in _PLACES]


def _same_place(question: str, preposition: str, new: str) -> str:
    """What stands behind the same preposition is replaced, the last time it occurs."""
    behind = rf"((?:the|my|our|a|an|der|die|das|den|dem|la|le|les|el|los|las)\s+)?{WORD}(?:\s+{WORD}){{0,2}}"
    found = list(re.finditer(rf"\b{re.escape(preposition)}\s+(?={WORD})", question, re.IGNORECASE))
    if not found or not question[found[-1].end() :].strip(" ?"):
        return ""
    phrase = re.compile(behind, re.IGNORECASE).match(question, found[-1].end())
    if phrase is None:
        return ""
    return f"{question[: phrase.start()]}{new}{question[phrase.end() :]}"


def _added(question: str, piece: str) -> str:
    end = "?" if question.rstrip().endswith(("?", "？", "؟")) else ""
    return f"{question.rstrip(' ?!.？؟。！')} {piece}{end}"
