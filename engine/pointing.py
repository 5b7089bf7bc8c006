"""Words that point back ("how much is it?", "the blue one"), and what they point at. Pure.

A text that names a thing before the word, or whose "it" is nobody's ("is it possible to ..."), is left alone.
"""

import re

from engine import references

#: Words of a text that only points.
_SHORT = 8

#: Words that point back; "that" where it is no conjunction and leads no noun.
POINTS = re.compile(
    r"\b(?P<it>it|they|them|its|their)\b|\b(?P<end>this|that|these|those)\b(?=\s*(?:[?.!,]|$))"
    r"|(?:^\W*|\b(?:is|are|was|does|do|did|can|will|would|about|with|and|but|if|how|when)\s+)(?P<head>this|that|these|those)\b"
    r"(?=\s+(?:is|are|was|does|do|cost|work|take|mean|apply|include|also|too|still|for|in|with|free|possible"
    r"|included|allowed|normal)\b)",
    re.IGNORECASE,
)
_ONE = re.compile(
    r"\b(?:the|a|an|this|that|which|other|another)\s+(?:[\w-]+\s+){0,3}ones?\b|\bthe (?:other|latter|former"
    r"|same)\b",
    re.IGNORECASE,
)
_EXPLETIVE = re.compile(
    r"\b(?:is|was|would|will|be) it (?:be )?(?:not )?(?:\w+ ){1,2}(?:to|that|if|for|when)\b|\bhow \w+ (?:is|was"
    r"|would) it (?:be )?to\b"
    r"|\bit(?:'s|’s| is| was| will be| would be)\s+(?:not )?(?:\w+\s+)?(?:to|that|if|when|raining|snowing|late"
    r"|urgent|about|time)\b"
    r"|\bit\s+(?:take|takes|cost|costs|took)\s+(?:me |us |you )?(?:to|for|fo|until|before)\s+\w+"
    r"|\bwhat (?:time|day|date) is it\b|\bdoes it (?:take|cost) (?:\w+ ){1,3}to\b|\bis it taking\b|\bit (?:says"
    r"|seems|looks|appears|happens|matters?|rains?|snows?)\b|\b(?:does|do|will|would) it (?:matter|look|rain|snow"
    r"|mean (?:when|if|that))\b"
    r"|\b(?:make|get|made|like) it\b|\bit (?:like|called|cold|hot|warm|sunny|rain|snow|nice|good)\b"
    r"|\bappreciate it\b|\bit's an? \w+$",
    re.IGNORECASE,
)
#: Words before the one that points which say what it is, by how many.
_TELLING = re.compile(
    r"\b(?!(?:how|what|when|where|why|who|can|could|will|would|does|did|should|was|were|are|have|has|had|you|your"
    r"|they|and|but|for|the|with"
    r"|please|just|then|also|much|many|long|not|don|that|this|want|need|like|know|get|still|already|now|about|from"
    r"|there|any)\b)[^\W\d_]{3,}",
    re.IGNORECASE,
)
_MOST_TELLING = 2
#: What points at doing something, not at a thing.
_DOING = re.compile(
    r"\b(?:do|did|done|doing|try|tried|trying|solve|fix|say|said|mean|know|explain|how)\s+(?:it|this|that)\b", re.IGNORECASE
)
_LEADING = re.compile(r"^(?:and|but|so|ok|okay|then)\s+", re.IGNORECASE)
#: A noun of the message itself, before the word that points: then it points there.
_OWN = re.compile(r"\b(?i:my|our|your|the|a|an|this|these)\s+(?!same\b|other\b)\w+|(?<=\w\s)[A-Z][a-z]\w+")
_ELSEWHERE = (
    re.compile(r"\b(das|es|ihn|damit|dafür|davon|dort|dazu|dies|diese[rs]?)\b(?!.*\b(?:gibt|zu)\b)", re.IGNORECASE),
    re.compile(r"\b(ça|cela|celui-ci|celle-ci)\b|\b(eso|esto|ello)\b", re.IGNORECASE),
    re.compile("[它]|[这那這][个個]?(?:要|需|多|怎|能|可|是|有|吗|嗎|？)"),
    re.compile(r"(?:^|\s)(?:هذا|ذلك|هذه|تلك|هناك)(?:\s|؟|$)"),
)
_ENGLISH = re.compile(r"\b(?:the|is|are|how|what|when|where|do|does|can|my|you)\b", re.IGNORECASE)
_GERMAN_NOUN = re.compile(r"(?<=\w )[A-ZÄÖÜ][a-zäöüß]{2,}")


def joined(first: str, second: str) -> str:
    """The open question and the new one, as one text."""
    first, second = first.strip(), second.strip()
    if not first:
        return second
    mark = "" if first.endswith((".", "?", "!", "。", "？", "！", "؟")) else "."
    return f"{first}{mark} {second[:1].upper()}{second[1:]}"


def named(text: str, asked: str) -> str:
    """The text with what it points at by name; empty where it points at nothing said before."""
    one = _ONE.search(text)
    if one and len(text.split()) <= _SHORT and not _says_itself(text, one.start()):
        return joined(asked, text)
    found = POINTS.search(text)
    if found is None:
        return joined(asked, text) if _points_elsewhere(text) else ""
    start, end = found.span(found.lastgroup or 0)
    if _says_itself(text, start) or _EXPLETIVE.search(text):
        return ""
    thing = references.topic(asked)
    if not thing or _DOING.search(text):
        return joined(asked, text)
    named = f"{thing}'s" if text[start:end].lower() in ("its", "their") else thing
    begun = _LEADING.sub("", f"{text[:start]}{named}")
    return f"{begun[:1].upper()}{begun[1:]}{text[end:]}"


def _says_itself(text: str, end: int) -> bool:
    """Whether what a word points at is likely to stand before it in the same text."""
    return bool(_OWN.search(text, 0, end)) or len(_TELLING.findall(text[:end])) > _MOST_TELLING


def _points_elsewhere(text: str) -> bool:
    """The same in German, French, Spanish, Chinese and Arabic, for short texts that name no thing of their own."""
    short = len(text) <= 60 and len(text.split()) <= _SHORT and not _ENGLISH.search(text)
    return short and any(pattern.search(text) for pattern in _ELSEWHERE) and not _GERMAN_NOUN.search(text)
