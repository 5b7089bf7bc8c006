"""HTML that the standard library's reader gets through in time: it goes back over everything behind a tag that never ends."""

import re

#: Characters of a tag, which may hold a picture in its address; a longer one is text.
LONGEST_TAG = 65_536

_OPEN = re.compile("<")


def bounded(html: str) -> str:
    """The same HTML, in which what begins like a tag and does not end soon is text."""
    found: list[str] = []
    begun, end = 0, html.find(">")
    for opened in _OPEN.finditer(html):
        place = opened.start()
        if 0 <= end < place:
            end = html.find(">", place)
        if end < 0 or end - place > LONGEST_TAG:
            found += [html[begun:place], "&lt;"]
            begun = place + 1
    return "".join([*found, html[begun:]])
