"""Conversation and question to a prompt within a token budget, by the model's own chat template. Pure: no clock, no files.

The template is rendered with placeholders and only then filled with the tokens of what people wrote, so no text can pass for a
control token or for the template's own words, and each text is tokenized once.

What does not fit is left out, the oldest turn first, never the system prompt or the question. A question that is too long by itself
keeps its first two thirds of the room and its last third, with a mark between: people put what they want at either end.

Passages stand with the question they are to answer, below the history: what a conversation's prompts share comes first. They get
all the room that the question leaves, the best first; where one does not fit, its beginning is given.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.card import Card, Kind
from engine.errors import SettingsError, UnsupportedModel
from engine.knowledge import Passage
from engine.messages import Role, Turn
from engine.quoting import ASKED, instructed, quoted
from engine.tokenizer import Tokenizer

#: For decoder-only models without a template; `PLAIN_STOP` ends their reply where they would go on and speak for the person.
_PLAIN = "{% for m in messages %}{{ m.role | capitalize }}: {{ m.content }}\n{% endfor %}Assistant:"
PLAIN_STOP = ("\nUser:", "\nSystem:")
#: For encoder-decoder models without a template: they answer a text.
_SOURCE = "{% for m in messages %}{{ m.content }}{{ '' if loop.last else '\n' }}{% endfor %}"

#: Stands where tokens of a question were left out.
_MARK = " ... "
#: Least tokens that must be left for a question beside the system prompt.
_LEAST_ROOM = 16
#: Least tokens of a passage that are worth giving.
_LEAST_PASSAGE = 16

#: Private-use characters: templates neither trim nor change them.
_PLACEHOLDER = "\ue000{}\ue001"
_PLACEHOLDERS = re.compile("\ue000(\\d+)\ue001")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What the model is given."""

    tokens: tuple[str, ...]
    #: The question was too long and lost its middle.
    truncated: bool = False
    #: Turns that did not fit.
    dropped: int = 0
    #: Passages that it holds, at least in part.
    passages: int = 0


#: A rendered template: tokens of its own, and the numbers of the messages between them.
_Skeleton = tuple[tuple[str, ...] | int, ...]
#: Who said something, and its tokens.
_Part = tuple[str, tuple[str, ...]]


class Prompter:
    """Makes prompts for one model and one system prompt; `instruction` leads passages.

    :raises UnsupportedModel: for a template that cannot be rendered.
    :raises SettingsError: for a system prompt that leaves no room for a question.
    """

    def __init__(self, tokenizer: Tokenizer, *, card: Card, system: str, budget: int, instruction: str = "") -> None:
        self._tokenizer = tokenizer
        self._card = card
        self._budget = budget
        self._instruction = instruction
        self._system = tuple(self._text(system))
        self._newline = tuple(tokenizer.text("\n"))
        self._mark = tuple(tokenizer.text(_MARK))
        self._asked = tuple(tokenizer.text(ASKED))
        self._skeletons: dict[tuple[str, ...], _Skeleton] = {}
        self._template = _compile(card)
        self._folded = bool(system.strip()) and not self._accepts_system()
        skeleton = self._skeleton((Role.USER,))
        #: Tokens that lead every prompt that begins with a person's turn: see `static_prompt` of `engine.model`.
        self.static: tuple[str, ...] = self._static(skeleton)
        room = budget - self._length([(Role.USER, ())])
        if room < _LEAST_ROOM:
            raise SettingsError(
                f"REPLYMILL_PROMPT_TOKENS and the model's context allow {budget} tokens, but REPLYMILL_SYSTEM_PROMPT and the "
                f"chat template leave {max(room, 0)} of them for a question: shorten it or allow more"
            )

    def build(self, question: str, turns: Sequence[Turn] = (), passages: Sequence[Passage] = ()) -> Prompt:
        """The prompt for a question after `turns`, oldest first, to be answered from `passages`, if any, the best first."""
        room = self._budget - self._length([(Role.USER, ())])
        whole = tuple(self._text(question))
        asked = self._cut(whole, room // 3) if passages and len(whole) > room // 3 else whole
        given, count = self._quoted(passages, room - len(asked))
        last = given + asked
        parts = [*self._recent(turns), (str(Role.USER), last)]
        while len(parts) > 1 and (parts[0][0] != Role.USER or self._length(parts) > self._budget):
            del parts[0]
        dropped = len(turns) - (len(parts) - 1)
        if len(parts) > 1 or len(last) <= room:
            return Prompt(tokens=self._fill(parts), truncated=asked != whole, dropped=dropped, passages=count)
        return Prompt(tokens=self._fill([(Role.USER, self._cut(asked, room))]), truncated=True, dropped=dropped)

    def _quoted(self, passages: Sequence[Passage], room: int) -> tuple[tuple[str, ...], int]:
        """The tokens of instruction and passages, and how many passages they are."""
        tokens = self._tokenizer.text(instructed(self._instruction, passages))
        left, count = room - len(tokens) - len(self._asked), 0
        for passage in passages:
            begin, text, end = quoted(passage, count + 1)
            around = len(self._tokenizer.text(begin)) + len(self._tokenizer.text(end))
            piece = self._text(text)
            if left - around < min(len(piece), _LEAST_PASSAGE):
                break
            piece = piece[: left - around]
            tokens += [*self._tokenizer.text(begin), *piece, *self._tokenizer.text(end)]
            left -= around + len(piece)
            count += 1
        return ((*tokens, *self._asked), count) if count else ((), 0)

    def _recent(self, turns: Sequence[Turn]) -> list[_Part]:
        """The latest turns that can fit, whatever else the template needs; older ones are not even tokenized."""
        parts: list[_Part] = []
        left = self._budget
        for turn in reversed(turns):
            tokens = tuple(self._text(turn.text))
            left -= len(tokens)
            if left < 0:
                break
            parts.append((str(Role.USER if turn.role is Role.USER else Role.ASSISTANT), tokens))
        return parts[::-1]

    def _cut(self, asked: tuple[str, ...], room: int) -> tuple[str, ...]:
        kept = room - len(self._mark)
        tail = kept // 3
        return asked[: kept - tail] + self._mark + asked[len(asked) - tail :]

    def _text(self, text: str) -> list[str]:
        """Tokens of what somebody wrote; half a surrogate pair, which JSON can carry, becomes a question mark."""
        return self._tokenizer.text(text.strip().encode("utf-8", "replace").decode("utf-8"))

    def _length(self, parts: Sequence[_Part]) -> int:
        return len(self._fill(parts))

    def _fill(self, parts: Sequence[_Part]) -> tuple[str, ...]:
        """The tokens of a prompt; what one speaker said in a row is one message, since many templates insist on taking turns."""
        roles, contents = [], []
        for role, group in groupby(parts, key=lambda part: part[0]):
            roles.append(role)
            contents.append(self._joined([tokens for _, tokens in group]))
        filled: list[str] = []
        for piece in self._skeleton(tuple(roles)):
            filled += contents[piece] if isinstance(piece, int) else piece
        return tuple(filled)

    def _joined(self, texts: Sequence[tuple[str, ...]]) -> list[str]:
        joined = list(texts[0])
        for tokens in texts[1:]:
            joined += [*self._newline, *tokens]
        return joined

    def _skeleton(self, roles: tuple[str, ...]) -> _Skeleton:
        if roles not in self._skeletons:
            self._skeletons[roles] = self._render(roles)
        return self._skeletons[roles]

    def _render(self, roles: tuple[str, ...]) -> _Skeleton:
        """Message `i` has the placeholder `i + 1`; 0 is the system prompt, which leads the first message where it has no own."""
        messages = [{"role": str(role), "content": _PLACEHOLDER.format(i + 1)} for i, role in enumerate(roles)]
        if self._system and self._folded:
            messages[0]["content"] = f"{_PLACEHOLDER.format(0)}\n\n{messages[0]['content']}"
        elif self._system:
            messages.insert(0, {"role": "system", "content": _PLACEHOLDER.format(0)})
        rendered = self._rendered(messages)
        pieces: list[tuple[str, ...] | int] = []
        for position, part in enumerate(_PLACEHOLDERS.split(rendered)):
            if position % 2 == 0:
                pieces.append(tuple(self._tokenizer.template(part)))
            else:
                pieces.append(self._system if part == "0" else int(part) - 1)
        if len(roles) - 1 not in pieces:
            raise UnsupportedModel(f"the chat template of {self._card.source} leaves the question out: choose another model")
        return self._framed(pieces)

    def _framed(self, pieces: list[tuple[str, ...] | int]) -> _Skeleton:
        first, bos = pieces[0], self._card.bos_token
        if self._card.add_bos and bos and not (isinstance(first, tuple) and first[:1] == (bos,)):
            pieces.insert(0, (bos,))
        if self._card.source_end:
            pieces.append((self._card.source_end,))
        return tuple(pieces)

    def _rendered(self, messages: Sequence[Mapping[str, str]]) -> str:
        try:
            return self._template.render(
                messages=messages,
                add_generation_prompt=True,
                bos_token=self._card.bos_token,
                eos_token=self._card.eos_token,
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
            raise UnsupportedModel(f"the chat template of {self._card.source} fails ({error}): choose another model") from error

    def _accepts_system(self) -> bool:
        """False for the templates that raise at, or leave out, a system message."""
        messages = [{"role": "system", "content": _PLACEHOLDER.format(0)}, {"role": "user", "content": _PLACEHOLDER.format(1)}]
        try:
            return _PLACEHOLDER.format(0) in self._rendered(messages)
        except UnsupportedModel:
            return False

    def _static(self, skeleton: _Skeleton) -> tuple[str, ...]:
        static: list[str] = []
        for piece in skeleton:
            if isinstance(piece, int):
                break
            static += piece
        return tuple(static)


def _compile(card: Card) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals["raise_exception"] = _refuse
    try:
        return environment.from_string(card.chat_template or (_PLAIN if card.kind is Kind.GENERATOR else _SOURCE))
    except jinja2.TemplateError as error:
        raise UnsupportedModel(f"the chat template of {card.source} cannot be used ({error}): choose another model") from error


def _refuse(reason: Any) -> NoReturn:
    """`raise_exception` of chat templates."""
    raise jinja2.TemplateError(str(reason))
