"""`replymill kb`: what the answers are made from."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from workers import shown
from workers.commanding import AsJson, complete, part, print_json, print_rows

#: The lowest priority there is: answering goes on as if nothing else ran.
NICE = 19

kb = typer.Typer(help="Knowledge bases: the documents that answers are made from.", no_args_is_help=True)

Tenant = Annotated[str, typer.Option("--tenant", help="Whose; by default the one of all who have none.", show_default=False)]
Here = Annotated[bool, typer.Option("--here", help="Index in this process, not in the jobs worker.")]
Inside = Annotated[
    list[str] | None, typer.Option(help="A host of your own network that the address may lead to; may be given several times.")
]
Source = Annotated[str, typer.Argument(help="A file, a folder or an http address.", show_default=False)]


@kb.command()
def add(
    source: Source,
    tenant: Tenant = "",
    link: Annotated[str, typer.Option(help="Where people read it: what links to passages start from.", show_default=False)] = "",
    name: Annotated[str, typer.Option(help="Its name; by default that of the file.", show_default=False)] = "",
    inside: Inside = None,
    here: Here = False,
    as_json: AsJson = False,
) -> None:
    """Read documents into the draft and index them. `publish` lets them be used."""
    desk = part("kb_desk")
    with opened(tenant) as (settings, store):
        place, passages, skipped = part("kb_reading").read(source, link=link, name=name, inside=inside or ())
        for one, why in skipped:
            print(shown.visible(f"not read: {one}: {why}").plain, file=sys.stderr)
        change = store.add(passages, source=place)
        with indexing(as_json) as tell:
            desk.index(settings, store, here=here, tell=tell)
    names = {what: list(getattr(change, what)) for what in ("added", "replaced", "unchanged", "removed")}
    if as_json:
        print_json({**names, "passages": len(passages), "skipped": [list(one) for one in skipped]})
    else:
        counts = ", ".join(f"{len(found)} {what}" for what, found in names.items() if found)
        print(f"{len(passages)} passages; documents: {counts}. `replymill kb publish` lets them be used.")


@kb.command("list")
def list_documents(tenant: Tenant = "", as_json: AsJson = False) -> None:
    """The documents of the draft, and what is published of them."""
    desk = part("kb_desk")
    with opened(tenant) as (_, store):
        rows = [
            {
                "document": one.name,
                "passages": one.passages,
                "state": state,
                "source": one.source,
                "added": one.added_at if as_json else shown.moment(one.added_at * 1000),
            }
            for one, state in desk.documents(store)
        ]
        job = part("indexing").read_job(store)
    if job.state in ("running", "failed") and not as_json:
        said = f"indexing: {job.done} of {job.total} texts" if job.state == "running" else f"indexing failed: {job.error}"
        Console(stderr=True).print(said, markup=False)
    print_rows("Documents", rows, as_json=as_json, nothing="no documents yet: `replymill kb add PATH` adds some")


@kb.command()
def remove(
    name: Annotated[str, typer.Argument(help="As `kb list` shows it.", show_default=False)],
    tenant: Tenant = "",
    as_json: AsJson = False,
) -> None:
    """Take a document out of the draft; the next `publish` takes it out of the answers."""
    with opened(tenant) as (_, store):
        store.remove(name)
    print_json({"removed": name}) if as_json else print(
        shown.visible(f"{name} is out of the draft; `replymill kb publish` takes it out of use.").plain
    )


@kb.command()
def search(
    question: Annotated[str, typer.Argument(help="What a customer would ask.", show_default=False)],
    k: Annotated[int, typer.Option("-k", help="How many passages.", min=1, max=100)] = 3,
    draft: Annotated[bool, typer.Option("--draft", help="Search what is not published yet, too.")] = False,
    tenant: Tenant = "",
    as_json: AsJson = False,
) -> None:
    """What is found for a question, best first."""
    if not question.strip():
        raise typer.BadParameter("the question is empty")
    desk = part("kb_desk")
    with opened(tenant) as (settings, store):
        where, found = desk.search(settings, store, question, k=k, draft=draft)
    rows = [
        {
            "score": round(hit.score, 3),
            "cosine": round(hit.cosine, 3),
            "lexical": round(hit.lexical, 3),
            "title": hit.passage.title,
            "link": hit.passage.link,
            "document": hit.passage.document,
            "text": hit.passage.text,
        }
        for hit in found.hits
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        Console().print(shown.hit(row))
    sure = f"; the first one answers it with a probability of {found.confidence:.0%}" if rows else ""
    print(f"{len(rows)} of {where}{sure}", file=sys.stderr)


@kb.command()
def publish(
    note: Annotated[str, typer.Option(help="What has changed, for `kb versions`.", show_default=False)] = "",
    tenant: Tenant = "",
    here: Here = False,
    as_json: AsJson = False,
) -> None:
    """Make the draft the version that is used: all of it at once, within a second."""
    desk = part("kb_desk")
    with opened(tenant) as (settings, store):
        with indexing(as_json) as tell:
            job = desk.index(settings, store, here=here, tell=tell)
        version = desk.publish(settings, store, job, note=note)
    _say(version, "is published", as_json=as_json)


@kb.command()
def rollback(
    version: Annotated[
        int, typer.Argument(help="By default the one that the current one replaced.", min=0, show_default=False)
    ] = 0,
    tenant: Tenant = "",
    as_json: AsJson = False,
) -> None:
    """Go back to an older version; the draft stays as it is."""
    desk = part("kb_desk")
    with opened(tenant) as (settings, store), indexing(as_json) as tell:
        found = desk.rollback(settings, store, version, tell=tell)
    _say(found, "is used again", as_json=as_json)


@kb.command()
def versions(tenant: Tenant = "", as_json: AsJson = False) -> None:
    """The versions that are kept, the newest first."""
    with opened(tenant) as (_, store):
        rows = part("kb_desk").versions(store)
    if not as_json:
        rows = [{name: row[name] for name in ("version", "current", "created_at", "documents", "passages", "note")} for row in rows]
        rows = [
            {**row, "current": "*" if row["current"] else "", "created_at": shown.moment(row["created_at"] * 1000)} for row in rows
        ]
    print_rows("Versions", rows, as_json=as_json, nothing="nothing is published yet: `replymill kb publish` does it")


@kb.command()
def sample(as_json: AsJson = False) -> None:
    """Publish Replymill's own documentation, where nobody has a knowledge base; the first `replymill up` does it."""
    with opened("") as (settings, store), indexing(as_json):
        version = part("sample").publish_sample(settings, store.client)
    if version:
        _say(version, "is published", as_json=as_json)
    else:
        print_json(None) if as_json else print("nothing was done: there is a knowledge base, or no sample in this installation")


def _say(version: Any, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"version": version.number, "documents": version.documents, "passages": version.passages, "note": version.note})
    else:
        print(f"version {version.number} {what}: {version.documents} documents, {version.passages} passages")


@contextmanager
def opened(tenant: str) -> Iterator[tuple[Any, Any]]:
    """The settings and a tenant's knowledge base."""
    settings, store = complete(), part("store")
    with store.connect(settings) as client:
        store.adopt(client, settings)
        yield settings, part("knowledge_store").KnowledgeStore(settings, client, tenant)


@contextmanager
def indexing(as_json: bool) -> Iterator[Callable[[Any], None]]:
    """At the lowest priority, showing how far it is: a bar on a terminal, or a line of JSON whenever it gets further."""
    os.nice(NICE)
    said: list[tuple[int, int]] = []
    with ExitStack() as stack:

        def tell(job: Any) -> None:
            if not job.total or (job.done, job.total) in said[-1:]:
                return
            if not as_json and not said:
                shows.append(stack.enter_context(shown.progress()))
            said.append((job.done, job.total))
            if as_json:
                print_json({"indexing": {"done": job.done, "total": job.total}})
            else:
                shows[0]("index", job.done, job.total)

        shows: list[Callable[[str, int, int], None]] = []
        yield tell
