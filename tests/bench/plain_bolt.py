"""A Slack bot as tutorials write it: Bolt answers in its listener. `python -m tests.bench.plain_bolt PORT API SECRET`."""

import sys
import time

from slack_bolt import App, Say
from slack_sdk import WebClient

from tests.bench.plain import THINKING


def main(port: int, api: str, secret: str) -> None:
    app = App(client=WebClient(token="xoxb-plain", base_url=api), signing_secret=secret, token_verification_enabled=False)

    @app.event("message")
    def answer(event: dict[str, str], say: Say) -> None:
        time.sleep(THINKING)
        say(event["text"])

    app.start(port, path="/slack/chaos/events", http_server_logger_enabled=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
