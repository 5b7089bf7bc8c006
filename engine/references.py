"""What a question is about, as a phrase for another sentence: the grammar behind "how much is it?". Pure.

Heuristics, not a parser: where they find nothing, the open question is put before the new one, which stands alone too.
"""

import re

#: Words at which a noun phrase ends.
_STOP = (
    "for|to|in|on|at|of|with|without|from|by|about|into|after|before|during|until|than|as|via|per|over|under|between|if|when|while"
    "|and|or|but|so|that|which|who|because|is|are|was|were|am|be|been|do|does|did|has|have|had|can|could|will|would|should|may|might|must"
    "|take|takes|cost|costs|work|works|arrive|arrives|arrived|come|comes|came|get|gets|got|include|includes|last|lasts|mean|means|need|needs"
    "|support|supports|apply|applies|start|starts|end|ends|expire|expires|expired|fail|fails|failed|go|goes|went|show|shows|keep|keeps"
    "|broke|broken|declined|blocked|stolen|lost|missing|delayed|late|ready|possible|available|free|included|allowed|required|bought|ordered"
    "|not|don't|doesn't|isn't|please|now|today|yet|again|anymore|already|online|there|here"
    "|i|you|we|they|he|she|it|me|us|them|how|what|where|why"
)
WORD = rf"(?!(?:{_STOP})\b)[\w'’+-]+"
_DETERMINED = re.compile(rf"\b(?:my|our|your|the|a|an|this|these|those)\s+{WORD}(?:\s+{WORD}){{0,3}}", re.IGNORECASE)
#: A phrase of which something else is asked: the price of the plan.
_ASPECT = re.compile(
    r"(?:price|cost|costs|fee|fees|status|number|amount|way|difference|size|colou?r|length|duration|date|time"
    r"|limit|purpose|point|use)s?"
    r"(?=\s+(?:of|for)\b)|best way|reason|difference|problem|question",
    re.IGNORECASE,
)
_SUBJECT = re.compile(
    r"\b(?:does|do|is|are|did|will|can)\s+(?!i\b|you\b|we\b|they\b|it\b|he\b|she\b|there\b|this\b|that\b|the\b"
    r"|my\b|your\b|a\b|an\b)"
    rf"({WORD}(?:\s+{WORD})?)(?=\s+(?:take|takes|cost|costs|work|works|include|come|have|arrive|last|mean|need"
    rf"|support|apply|start|end)\b)",
    re.IGNORECASE,
)
_OBJECT = re.compile(rf"\b(?:i|we|you)\s+({WORD})\s+({WORD}(?:\s+{WORD}){{0,2}})", re.IGNORECASE)
NAME = re.compile(r"(?<![.?!]\s)(?<!^)\b[A-Z][\w+-]*(?:\s+[A-Z0-9][\w+-]*){0,3}")
BEFORE_PLACE = re.compile(r"\b(?:to|in|from|at|near|outside|within|across)\s+$", re.IGNORECASE)


def topic(question: str) -> str:
    """The thing a question is about, as a phrase that can stand in another sentence; empty where it is not clear."""
    if found := _SUBJECT.search(question):
        return found[1]
    for phrase in _DETERMINED.finditer(question):
        if not _ASPECT.search(question, phrase.start(), min(len(question), phrase.end() + 5)):
            return _definite(phrase[0])
    for name in NAME.finditer(question):
        if name[0] != "I" and not BEFORE_PLACE.search(question[: name.start()]):
            return name[0]
    found = _OBJECT.search(question)
    return found[2] if found else ""


def _definite(phrase: str) -> str:
    """What was "a refund" is "the refund" from then on, and "your order" of the bot's is the person's own."""
    return re.sub(r"^(?:a|an|this|these|those)\s", "the ", phrase, flags=re.IGNORECASE)
