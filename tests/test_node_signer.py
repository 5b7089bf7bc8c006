"""Standard Webhooks in another language: what the npm package `standardwebhooks` signs we accept, and it accepts what we sign.

The package is found by `NODE_PATH`; `.ci/run` installs it into a folder of its own.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from connectors.signatures import STANDARD, secret_bytes, sign, verify
from engine.errors import RejectedRequest
from engine.settings import Settings
from tests.conftest import missing, wait_for
from tests.doors import OTHER_SECRET, SECRET, opened, ready, with_endpoint

pytestmark = pytest.mark.one_redis

#: Signs what has no signature yet and judges what has one; then says whether a server takes it.
PROGRAM = """
const { Webhook } = require("standardwebhooks");
async function answered({ secret, id, at, body, signature, url }) {
  const webhook = new Webhook(secret);
  const headers = { "webhook-id": id, "webhook-timestamp": String(at) };
  headers["webhook-signature"] = signature ?? webhook.sign(id, new Date(at * 1000), body);
  if (url) {
    const options = { method: "POST", body, headers: { ...headers, "content-type": "application/json" } };
    return (await fetch(url, options)).status;
  }
  if (!signature) return headers["webhook-signature"];
  try { webhook.verify(body, headers); return true; } catch (error) { return error.constructor.name; }
}
(async () => {
  for await (const line of require("node:readline").createInterface({ input: process.stdin }))
    console.log(JSON.stringify(await answered(JSON.parse(line))));
})();
"""

Node = Callable[..., str | bool | int]

ids = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="."), min_size=1, max_size=256)
bodies = st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)).map(
    lambda found: json.dumps(found, ensure_ascii=False).encode("utf-8", "replace").decode()
)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """Asks the package for one thing: a signature, a verdict, or the status that a server gives to what it has signed."""
    command = shutil.which("node") or missing("node")
    if subprocess.run([command, "-e", "require('standardwebhooks')"], capture_output=True, check=False).returncode:
        missing("the npm package standardwebhooks, in NODE_PATH,")
    with subprocess.Popen([command, "-e", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        into, out = process.stdin, process.stdout

        def ask(**question: str | int) -> str | bool | int:
            print(json.dumps({"secret": SECRET, "id": "msg_1", "at": int(time.time()), **question}), file=into, flush=True)
            return json.loads(out.readline())  # type: ignore[no-any-return]

        yield ask


def accepted(body: str, signature: str, *, id_: str = "msg_1", at: int, secret: str = SECRET) -> bool:
    headers = {"webhook-id": id_, "webhook-timestamp": str(at), "webhook-signature": signature}
    try:
        verify(STANDARD, (secret_bytes(secret),), headers=headers, body=body.encode())
    except RejectedRequest:
        return False
    return True


@examples(max_examples=50)
@given(body=bodies, id_=ids)
def test_we_accept_what_the_npm_package_signs(node: Node, body: str, id_: str) -> None:
    at = int(time.time())
    signature = str(node(body=body, id=id_, at=at))

    assert accepted(body, signature, id_=id_, at=at)
    assert not accepted(body, signature, id_=id_, at=at, secret=OTHER_SECRET)
    assert not accepted(body + " ", signature, id_=id_, at=at)


@examples(max_examples=50)
@given(body=bodies, id_=ids)
def test_the_npm_package_accepts_what_we_sign(node: Node, body: str, id_: str) -> None:
    at = int(time.time())
    signature = sign(secret_bytes(SECRET), id_, timestamp=at, body=body.encode())["webhook-signature"]

    assert node(body=body, id=id_, at=at, signature=signature) is True
    assert node(body=body, id=id_, at=at, signature=signature, secret=OTHER_SECRET) == "WebhookVerificationError"


@pytest.mark.parametrize(("age", "taken"), [(0, True), (290, True), (310, False), (-290, True), (-310, False)])
def test_both_draw_the_same_line_between_fresh_and_stale(node: Node, age: int, taken: bool) -> None:
    at = int(time.time()) - age
    signature = str(node(body="{}", at=at))

    assert accepted("{}", signature, at=at) is taken
    assert (node(body="{}", at=at, signature=signature) is True) is taken


def test_a_customers_program_in_node_gets_its_message_through_the_door(node: Node, settings: Settings) -> None:
    body = json.dumps({"conversation": "c1", "user": "anna", "text": "Où est mon colis ? 📦"}, ensure_ascii=False)
    with opened(with_endpoint(settings)) as door:
        wait_for(lambda: ready(door))
        url = f"{door.url}/webhooks/shop"

        assert node(body=body, url=url) == 202
        assert node(body=body, url=url, secret=OTHER_SECRET) == 401
