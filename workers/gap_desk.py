"""What an operator does about questions that were not answered well: see `workers.gap_commands`, and docs/gaps.md."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import yaml

from engine import ingest, publishing
from engine.encoder import Encoder, Vectors
from engine.errors import KnowledgeError
from engine.gaps import Gap, agent_said, belongs, drop_gaps, read_gaps
from engine.handoff import normal
from engine.knowledge_store import KnowledgeStore
from engine.lanes import Lanes
from engine.redaction import find
from engine.settings import Settings
from engine.store import Client, adopt, connect
from workers.kb_desk import index

#: Questions of at least this cosine are the same to whoever writes answers.
ALIKE = 0.8
#: Phrasings of a question that an entry gets.
PHRASINGS = 10
#: Characters of an answer by which its test knows it.
_TELLING = 80


class Encodes(Protocol):
    """An encoder."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """A row of unit length a text."""
        ...


@dataclass(frozen=True)
class Group:
    """Gaps that ask for the same answer, the newest first."""

    tenant: str
    gaps: tuple[Gap, ...]

    @property
    def id(self) -> str:
        """Of the oldest, so that it stays while others join."""
        return self.gaps[-1].message

    @property
    def questions(self) -> tuple[str, ...]:
        """Different phrasings, the most frequent first."""
        counted = Counter(normal(gap.question) for gap in self.gaps)
        latest = {normal(gap.question): gap.question for gap in reversed(self.gaps)}
        return tuple(latest[key] for key, _ in counted.most_common(PHRASINGS))

    @property
    def why(self) -> dict[str, int]:
        """How often for which reason."""
        return dict(Counter(" ".join(filter(None, (gap.why, gap.reason and f"({gap.reason})"))) for gap in self.gaps).most_common())


@dataclass(frozen=True)
class Adopted:
    """What became of an answer."""

    knowledge: Path
    conversation: Path
    training: Path
    #: The version that has it; 0: it is in the draft.
    version: int


def listed(settings: Settings, *, tenant: str | None, since: int) -> list[Group]:
    """Groups by frequency."""
    with connect(settings) as client:
        adopt(client, settings)
        rows = read_gaps(client, settings, tenant=tenant, since=since)
    return grouped(rows, Encoder.load(settings)) if rows else []


def grouped(rows: Sequence[tuple[str, Gap]], encoder: Encodes) -> list[Group]:
    """Greedily: a question joins the first group whose first question it resembles."""
    texts = list(dict.fromkeys(gap.question for _, gap in rows))
    vectors = dict(zip(texts, encoder.encode(texts), strict=True))
    heads: dict[str, list[str]] = {}
    members: dict[tuple[str, str], list[Gap]] = {}
    for tenant, gap in rows:
        own = heads.setdefault(tenant, [])
        cosines = np.array([vectors[head] @ vectors[gap.question] for head in own])
        head = own[int(cosines.argmax())] if len(own) and cosines.max() >= ALIKE else gap.question
        if head not in own:
            own.append(head)
        members.setdefault((tenant, head), []).append(gap)
    groups = [Group(tenant, tuple(found)) for (tenant, _), found in members.items()]
    return sorted(groups, key=lambda group: (-len(group.gaps), -group.gaps[0].at))


def take(settings: Settings, id_: str, *, answer: str, folder: Path, publish: bool) -> Adopted:
    """Make an answer, that of the agent where none is given, a knowledge entry, a conversation test and a training row.

    :raises KnowledgeError: there is no such gap, or no answer that may be used.
    """
    group = named(listed(settings, tenant=None, since=0), id_)
    if not belongs(group.gaps[0], group.tenant, settings):
        raise KnowledgeError("the tenant who was asked this is no longer set up: nobody can tell whose knowledge the answer is")
    with connect(settings) as client:
        said = answer.strip() or of_agent(client, settings, group)
        written = write(folder, group, said)
        version = keep(client, settings, group, written[0], publish=publish)
        drop_gaps(client, group.gaps)
    return Adopted(*written, version)


def named(groups: Sequence[Group], id_: str) -> Group:
    """The group with a gap whose id begins so."""
    found = [group for group in groups if id_ and any(gap.message.startswith(id_) for gap in group.gaps)]
    if len(found) != 1:
        told = "several gaps have" if found else "no gap has"
        raise KnowledgeError(f"{told} an id that begins with {id_!r}: `replymill gaps` lists them")
    return found[0]


def of_agent(client: Client, settings: Settings, group: Group) -> str:
    """What a person answered.

    :raises KnowledgeError: nobody has, or it holds personal data.
    """
    lanes = Lanes(settings)
    said = next(filter(None, (agent_said(client, lanes, gap) for gap in group.gaps)), "")
    if not said:
        raise KnowledgeError("no person has answered this in a history that is still kept: give the answer by --answer")
    if spans := find(said):
        kinds = ", ".join(sorted({span.kind for span in spans}))
        raise KnowledgeError(f"what the person said holds personal data ({kinds}): give the answer by --answer, without it")
    return said


def write(folder: Path, group: Group, answer: str) -> tuple[Path, Path, Path]:
    """The entry and the test in files of their own, the row at the end of one file; all in `folder`."""
    name = f"gap-{group.id.split('-')[0][:12]}"
    entry = folder / "knowledge" / f"{name}.jsonl"
    test = folder / "conversations" / f"{name}.yaml"
    rows = folder / "training.jsonl"
    for path in (entry, test):
        path.parent.mkdir(parents=True, exist_ok=True)
    questions = group.questions
    entry.write_text(_line({"questions": questions, "answer": answer}))
    telling = answer.strip().splitlines()[0][:_TELLING].strip()
    expected = {"contains": telling, "source": ["knowledge", "cache"]}
    conversation = {"name": questions[0], "tags": ["gap"], "turns": [{"user": questions[0], "expect": expected}]}
    content = {**({"tenant": group.tenant} if group.tenant else {}), "knowledge": [f"../knowledge/{name}.jsonl"]}
    test.write_text(yaml.safe_dump({**content, "conversations": [conversation]}, sort_keys=False, allow_unicode=True))
    turns = [{"role": "user", "content": questions[0]}, {"role": "assistant", "content": answer}]
    with rows.open("a") as file:
        file.write(_line({"tenant": group.tenant, "messages": turns}))
    return entry, test, rows


def _line(content: object) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"


def keep(client: Client, settings: Settings, group: Group, entry: Path, *, publish: bool) -> int:
    """Put the entry into the draft; the version that has it, or 0."""
    store = KnowledgeStore(settings, client, group.tenant)
    store.add(ingest.read(str(entry), link="").passages, source=str(entry.resolve()))
    if not publish:
        return 0
    job = index(settings, store, here=False, tell=lambda _: None)
    return publishing.publish(store, settings, encoder=job.encoder, note=f"answer to {group.questions[0][:60]!r}").number
