"""HTML pages, PDF files and addresses: real ones, made here, and hostile ones."""

import http.server
import io
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import matplotlib.backends.backend_pdf
import pytest
from matplotlib.figure import Figure
from pypdf import PdfWriter

from engine.errors import Unreadable
from engine.ingest import Limits, read
from engine.ingest_html import charset_of, read_html
from engine.ingest_pdf import read_pdf

pytestmark = pytest.mark.one_redis

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Help | Shop</title>
<script type="application/ld+json">{"@context": "https://schema.org", "@type": "FAQPage", "mainEntity": [{"@type": "Question",
"name": "How long does delivery take?", "acceptedAnswer": {"@type": "Answer", "text": "<p>Three <b>days</b>.</p>"}}]}</script>
</head><body><nav><a href="/">Home</a></nav><div style="display: none">hidden words</div>
<main><h1 id="top">Help</h1><p>All about your orders.</p><h2 id="returns">How do I return something?</h2>
<p>Send it <a href="/returns">back</a> in 30 days.</p><ul><li>print the label<ul><li>in black</li></ul></li><li>pack it</li></ul>
<h2>Prices</h2><table><thead><tr><th>Plan</th><th>Price</th></tr></thead><tbody><tr><td>A|b</td><td>1</td></tr></tbody></table>
<details><summary>Can I pay later?</summary><p>Yes, you can.</p></details><p>Not an answer.</p>
<pre><code>x = 1
y = 2</code></pre></main><footer>Imprint</footer><script>alert("x")</script></body></html>"""


# -- HTML -----------------------------------------------------------------------------------------------------------------------


def test_the_content_of_a_page_is_read_and_nothing_around_it() -> None:
    found = read_html(PAGE, base="https://shop.example/help")

    assert [(draft.heading, draft.anchor, draft.questions, draft.text) for draft in found.drafts] == [
        ((), "", ("How long does delivery take?",), "Three **days**."),
        (("Help",), "top", (), "All about your orders."),
        (
            ("Help", "How do I return something?"),
            "returns",
            ("How do I return something?",),
            "Send it [back](https://shop.example/returns) in 30 days.\n\n- print the label\n  - in black\n- pack it",
        ),
        (("Help", "Prices"), "prices", (), "| Plan | Price |\n| --- | --- |\n| A\\|b | 1 |"),
        (("Help", "Prices", "Can I pay later?"), "prices", ("Can I pay later?",), "Yes, you can."),
        (("Help", "Prices"), "prices", (), "Not an answer.\n\n```\nx = 1\ny = 2\n```"),
    ]
    assert found.language == "en"


@pytest.mark.parametrize("element", ["<blockquote>", "<details><summary>q</summary>"])
def test_a_page_that_is_nested_deep_is_refused_before_it_is_looked_at(element: str) -> None:
    begun = time.perf_counter()

    with pytest.raises(Unreadable, match="nested hundreds deep"):
        read_html(element * (15_000 // element.count("<")))

    assert time.perf_counter() - begun < 3


def test_a_page_in_its_own_charset_is_read_by_it(tmp_path: Path) -> None:
    page = (
        '<html><head><meta http-equiv="Content-Type" content="text/html; charset=windows-1251"></head><p>Где мой заказ?</p></html>'
    )
    (tmp_path / "a.html").write_bytes(page.encode("cp1251"))

    (passage,) = read(str(tmp_path / "a.html")).passages

    assert (passage.text, passage.language) == ("Где мой заказ?", "ru")
    assert charset_of(b"<meta charset=gbk>") == "gbk"


def test_a_page_that_says_nothing_without_its_scripts_is_refused() -> None:
    with pytest.raises(Unreadable, match="without its scripts"):
        read_html("<html><body><div id=app></div><script>render()</script></body></html>")


@pytest.mark.parametrize(
    "page",
    [
        "<div>" * 10_000 + "x",
        "<b><i>" * 5_000 + "x",
        "<table>" * 2_000 + "x",
        "<!ENTITY a 'x'>" + "&a;" * 50_000 + "x",
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><p>&b;</p>',
        "<a " + "x='1' " * 50_000 + ">x",
        "<p>x" * 150_000,
        "<!--" * 50_000,
    ],
    ids=["div", "inline", "table", "entities", "laughs", "attributes", "many", "comments"],
)
def test_a_hostile_page_is_read_or_refused_in_bounded_time(page: str) -> None:
    began = time.perf_counter()
    try:
        read_html(page)
    except Unreadable as error:
        assert "page" in str(error)  # noqa: PT017 - either way is right
    assert time.perf_counter() - began < 10


# -- PDF ------------------------------------------------------------------------------------------------------------------------


def guide(pages: int = 3) -> bytes:
    """A PDF as programs write them: a running head, wrapped lines, a number at the foot."""
    made = io.BytesIO()
    with matplotlib.backends.backend_pdf.PdfPages(made) as pdf:
        for number in range(1, pages + 1):
            figure = Figure()
            figure.text(0.1, 0.95, "Guide to returns")
            kind = "ABC"[number % 3]
            words = f"Parcels of kind {kind} are re-\nturned within {number}0 days.\nWrite to us before\nyou send them.\nThen wait."
            figure.text(0.1, 0.5, f"{words}\nWe\nanswer\nsoon.")
            figure.text(0.5, 0.02, f"{number} / {pages}")
            pdf.savefig(figure)
    return made.getvalue()


def written(writer: PdfWriter) -> bytes:
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


def test_a_pdf_is_read_page_by_page_under_its_bookmarks(tmp_path: Path) -> None:
    writer = PdfWriter(clone_from=io.BytesIO(guide()))
    writer.add_outline_item(title="Parcels", page_number=1)
    writer.add_metadata({"/Title": "The guide"})
    (tmp_path / "guide.pdf").write_bytes(written(writer))

    found = read(str(tmp_path), link="https://shop.example/").passages

    assert [one.link for one in found] == [f"https://shop.example/guide.pdf#page={number}" for number in (1, 2, 3)]
    assert [one.heading for one in found] == [("The guide",), ("The guide", "Parcels"), ("The guide", "Parcels")]
    assert found[0].text.startswith("Parcels of kind B are returned within 10 days.\nWrite to us before you send them.\nThen wait.")
    assert "Guide to returns" not in found[0].text
    assert "1 / 3" not in found[0].text


def encrypted() -> bytes:
    writer = PdfWriter(clone_from=io.BytesIO(guide(1)))
    writer.encrypt("secret")
    return written(writer)


def blank() -> bytes:
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    return written(writer)


def bomb() -> bytes:
    """A page whose content unpacks to 200 MB."""
    packed = zlib.compress(zlib.compress(b" " * 200_000_000, 1), 9)
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>",
        b"<</Length %d/Filter[/FlateDecode/FlateDecode]>>stream\n%s\nendstream" % (len(packed), packed),
    ]
    made = bytearray(b"%PDF-1.5\n")
    places = []
    for number, one in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj%s endobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(
        made + b"xref\n0 5\n0000000000 65535 f \n" + table + b"trailer<</Size 5/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(made)
    )


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (encrypted, "encrypted"),
        (blank, "pictures of pages and no text"),
        (lambda: guide(1)[:3_000], "damaged"),
        (lambda: b"%PDF-1.7\nhello", "damaged"),
        (bomb, "damaged|memory|limit|no text"),
    ],
    ids=["encrypted", "scanned", "cut", "none", "bomb"],
)
def test_a_pdf_that_cannot_be_read_says_why(made: "object", why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read_pdf(made(), seconds=60)  # type: ignore[operator]


def test_a_pdf_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(Unreadable, match="longer than 0 s"):
        read_pdf(guide(1), seconds=0.01)


# -- addresses ------------------------------------------------------------------------------------------------------------------


class Site(http.server.BaseHTTPRequestHandler):
    """Some pages, and what may be wrong with pages."""

    pages: ClassVar[dict[str, tuple[str, bytes]]] = {
        "/help": ("text/html", PAGE.encode()),
        "/faq.csv": ("application/octet-stream", b"question,answer\nWhere?,Here it is.\n"),
        "/notes": ("text/plain; charset=iso-8859-1", "Geöffnet ab neun.".encode("latin-1")),
        "/big": ("text/plain", b"word " * 200_000),
        "/picture": ("image/png", b"png"),
        "/unknown": ("application/octet-stream", b"?"),
    }
    leads: ClassVar[dict[str, str]] = {
        "/moved": "/help",
        "/round": "/round",
        "/inside": "http://10.0.0.1/",
        "/file": "file:///etc/passwd",
    }

    def do_GET(self) -> None:
        if self.path in self.leads:
            self.send_response(302)
            self.send_header("location", self.leads[self.path])
            self.end_headers()
        elif self.path in self.pages:
            kind, body = self.pages[self.path]
            self.send_response(200)
            self.send_header("content-type", kind)
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@contextmanager
def site() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_address_is_read_as_what_its_server_says_it_is() -> None:
    with site() as at:
        inside = [at.removeprefix("http://")]
        moved = read(f"{at}/moved", inside=inside)
        table = read(f"{at}/faq.csv", inside=inside, link="https://shop.example/faq")
        notes = read(f"{at}/notes", inside=inside)

    assert moved.passages[1].link == f"{at}/help#top"
    assert moved.passages[1].document == f"{at}/moved"
    assert [(one.text, one.questions, one.link) for one in table.passages] == [
        ("Here it is.", ("Where?",), "https://shop.example/faq")
    ]
    assert [(one.text, one.language) for one in notes.passages] == [("Geöffnet ab neun.", "de")]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/round", "after 5 redirects"),
        ("/inside", "leads to an address inside: `--inside 10.0.0.1` allows that"),
        ("/file", "only http and https"),
        ("/picture", "image/png is no kind"),
        ("/unknown", "what kind of document"),
        ("/none", "answered 404"),
        ("/big", "larger than"),
    ],
)
def test_an_address_that_gives_no_document_is_refused_with_the_reason(path: str, why: str) -> None:
    with site() as at, pytest.raises(Unreadable, match=why):
        read(f"{at}{path}", inside=[at.removeprefix("http://")], limits=Limits(pdf_bytes=500_000, seconds_each=10))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "0.0.0.0", "2130706433"]
)
def test_an_address_inside_is_not_read_unless_it_is_allowed_by_name(host: str) -> None:
    with pytest.raises(Unreadable, match=r"leads to an address inside|cannot be reached"):
        read(f"http://{host}:9/", limits=Limits(seconds_each=10))


@pytest.mark.parametrize("url", ["http://", "https://user:pass@shop.example/", "http://a b/", "http://[::1", "http://x:99999/"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(url)
    assert "pass" not in str(caught.value).replace("password", "")
