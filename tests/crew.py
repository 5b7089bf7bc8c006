"""Run as a script by `test_supervisor`: supervises small commands in a process of its own, as `replymill up` does.

python -m tests.crew stages FOLDER '[[["name", GRACE, ["sh", "-c", "..."]], ...], ...]'
python -m tests.crew run FOLDER PORT
"""

import contextlib
import json
import sys
from pathlib import Path

from engine.errors import StartError
from engine.settings import Settings
from workers import embedded, home
from workers.crew import Crew, Stage, StopAsked
from workers.processes import Child
from workers.supervisor import ROLES, ready, run

#: A web process that is ready at once and can stop.
WEB = """
import http.server, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""


def stages(folder: Path, described: str) -> None:
    """Start everything, wait for the file `ready` of each child, write `up`, watch."""
    made = [
        Stage(
            [Child(name, ["/bin/sh", "-c", script], log=folder / f"{name}.log", folder=folder) for name, _, script in stage],
            stage[0][1],
        )
        for stage in json.loads(described)
    ]
    with contextlib.suppress(StopAsked), Crew(made) as crew:
        for stage in made:
            for child in stage.children:
                crew.start(child)
        expected = [folder / f"{child.name}.ready" for stage in made for child in stage.children]
        crew.until(lambda: all(path.exists() for path in expected), "everything", timeout=20)
        (folder / "up").touch()
        crew.watch()


def whole(folder: Path, port: int) -> None:
    """The order of `up`, with the embedded Redis and sleeping workers."""
    settings = Settings(data_dir=folder / "data", port=port, drain_timeout=1.0)
    home.private_folder(settings.data_dir)
    redis = embedded.EmbeddedRedis(settings.data_dir / "redis", log=folder / "redis.log")
    roles = {role: Child(role, ["/bin/sleep", "600"]) for role in ROLES}
    roles["web"] = Child("web", [sys.executable, "-c", WEB, str(port)], log=folder / "web.log")
    run(settings, roles, redis, is_up=lambda: ready(settings))
    redis.close()


if __name__ == "__main__":
    try:
        if sys.argv[1] == "stages":
            stages(Path(sys.argv[2]), sys.argv[3])
        else:
            whole(Path(sys.argv[2]), int(sys.argv[3]))
    except StartError as error:
        sys.exit(f"refused: {error}")
