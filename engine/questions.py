"""Several questions in one message, each by itself. Pure, and linear in the length of the message.

What is told before a question belongs to it: "I bought a lamp. It broke. Can I return it?" is one question.
"""

import re

#: Questions of one message that are looked up; what follows stays with the last.
MOST_QUESTIONS = 4
#: Characters that are searched for further questions: beyond is a letter, which is taken as one.
_LOOKED_AT = 4_000

#: Where a sentence ends, in the scripts that end one by a mark; a number or an address goes on after its dot.
_ENDS = re.compile(r"(?<=[?？؟])\s*(?=[^\s?？؟!.])|(?<=[!.。！])\s+(?=\S)|(?<=[。！])(?=\S)|\n+")
_ASKS = (
    r"how|what|when|where|why|who|which|whose|can|could|do|does|did|is|are|was|were|will|would|should|may|am|have|has"
    r"|what's|where's|how's"
)
_WH = r"how|what|when|where|why|who|which|whose"
_SUBJECT = r"i|you|we|they|it|he|she|there|my|your|the|a|an|this|that|these|those|our|their|anyone|someone"
#: Where a second question begins inside a sentence.
_JOINED = re.compile(
    rf"[,;]?\s+(?:and|also|plus|but|or)\s+(?:also\s+)?(?=(?:{_WH})\b(?:\s+\w+){{1,3}})"
    rf"|[,;]?\s+(?:and|also|plus|but)\s+(?:also\s+)?(?=(?:{_ASKS})\s+(?:{_SUBJECT})\b)"
    rf"|[,;]\s+(?=(?:how|what|when|where|why|who|can|could|do|does|is|are)\s+(?:\w+\s+){{0,2}}(?:{_SUBJECT})\b)"
    r"|[,;]?\s+und\s+(?=(?:wie|was|wann|wo|warum|wer|wieviel|kann|können|gibt|ist|sind|habt|haben|muss|darf)\s)"
    r"|[,;]?\s+et\s+(?=(?:comment|quand|où|pourquoi|combien|est-ce|puis-je|quel|quelle)\b)"
    r"|[,;]?\s+y\s+(?=(?:cómo|cuándo|dónde|por qué|cuánto|cuál|puedo|hay)\b)",
    re.IGNORECASE,
)
#: What begins a question without its mark.
_OPENS = re.compile(
    rf"(?:and |so |but |also |then )?(?:(?:{_WH})\b|(?:{_ASKS})\s+(?:{_SUBJECT})\b"
    r"|(?:wie|was|wann|wo|warum|wer|wieso|welche[rs]?|kann|können|gibt es|habt|haben sie)\b"
    r"|(?:comment|quand|où|pourquoi|combien|est-ce|puis-je|quel(?:le)?)\b|[¿]|(?:cómo|cuándo|dónde|cuánto|cuál|puedo)\b"
    r"|(?:i (?:want|need|would like|'d like) to know)\b|(?:please )?(?:tell me|explain|show me)\b)",
    re.IGNORECASE,
)
#: Before a joined part that could be part of its first question ("tell me how and when", "know what and why").
_DANGLING = re.compile(
    r"(?:\b(?:know|tell me|explain|understand|see|how|what|when|where|why|who|which)|^\W*\w*)\W*$", re.IGNORECASE
)


def asked(sentence: str) -> bool:
    """Whether a sentence is a question."""
    return sentence.rstrip().endswith(("?", "？", "؟")) or bool(_OPENS.match(sentence.lstrip()))


def split(text: str) -> tuple[str, ...]:
    """The questions of a message in order, each with what was told before it; the message itself where it holds one or none."""
    if len(text) > _LOOKED_AT:
        return (text,)
    sentences = [part.strip() for sentence in _ENDS.split(text) for part in _joined(sentence) if part.strip()]
    found: list[str] = []
    told: list[str] = []
    for sentence in sentences:
        told.append(sentence)
        if asked(sentence):
            found.append(" ".join(told))
            told = []
    if len(found) < 2:
        return (text.strip(),)
    if told:  # what is told after the last question is about it
        found[-1] = " ".join((found[-1], *told))
    distinct = list(dict.fromkeys(found))
    return (
        (*distinct[: MOST_QUESTIONS - 1], " ".join(distinct[MOST_QUESTIONS - 1 :]))
        if len(distinct) >= MOST_QUESTIONS
        else tuple(distinct)
    )


def _joined(sentence: str) -> list[str]:
    """A sentence cut where a further question begins; a part that asks nothing stays with the one before it."""
    parts, start = [], 0
    for joint in _JOINED.finditer(sentence):
        before = sentence[start : joint.start()]
        if not _DANGLING.search(before[-20:]) and _OPENS.match(before.strip()):
            parts.append(before if before.rstrip().endswith("?") else f"{before.strip()}?")
            start = joint.end()
    return [*parts, sentence[start:]]
