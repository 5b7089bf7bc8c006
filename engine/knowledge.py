"""What a knowledge base is made of: passages, each with where it came from; and what a search finds.

A passage is a section of a document, which is cited, or an answer with the questions it belongs to, which may be given
word by word.
"""

import hashlib
from dataclasses import dataclass
from typing import Self

import msgspec

from engine.messages import Wire


class Passage(Wire, frozen=True, array_like=True, kw_only=True):
    """The smallest piece of knowledge that is found and cited."""

    #: Digest of everything below, made by `identified`: the same for the same content, whoever reads it in, and whenever.
    id: str = ""
    #: Name of the document it came from, as `replymill kb list` shows it.
    document: str
    #: What is said: a section, or an answer.
    text: str
    #: Headings above the section, outermost first.
    heading: tuple[str, ...] = ()
    #: Phrasings of the question that an answer belongs to; empty for a section.
    questions: tuple[str, ...] = ()
    #: Where a person reads it; empty where it stands nowhere.
    link: str = ""
    #: ISO 639-1 code; empty where it was not recognised.
    language: str = ""

    def identified(self) -> Self:
        """The passage with its id."""
        content = repr(msgspec.structs.astuple(self)[1:]).encode()
        return msgspec.structs.replace(self, id=hashlib.sha256(content).hexdigest()[:16])

    @property
    def verbatim(self) -> bool:
        """Whether it is an answer as somebody approved it."""
        return bool(self.questions)

    @property
    def title(self) -> str:
        """What it is called where it is cited."""
        return " > ".join(self.heading) or (self.questions[0] if self.questions else self.document)

    @property
    def searched(self) -> tuple[str, ...]:
        """The texts it is found by: its questions, or its section under its headings."""
        return self.questions or ("\n".join(filter(None, (" > ".join(self.heading), self.text))),)


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A passage that a search found."""

    passage: Passage
    #: Dense and lexical score together, from 0 to 1; what hits are ordered by.
    score: float
    #: Cosine of question and nearest text of the passage.
    cosine: float
    #: BM25 by the best of this search, from 0 to 1.
    lexical: float
    #: The text of the passage that was nearest: one of `Passage.searched`.
    nearest: str
