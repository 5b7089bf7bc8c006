"""Celery's own command line against a running system: a worker with the tiny model, and what asks it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.conftest import wait_for
from tests.system import ROOT, Receiver, System
from workers import embedded

WORKER = "worker@tests"
COMMAND = [sys.executable, "-m", "celery", "-A", "workers.app"]


@contextmanager
def system_with_broker(folder: Path, model: Path) -> Iterator[tuple[System, embedded.EmbeddedRedis]]:
    """A system whose lanes and broker are servers of their own; nothing of it runs yet but these two."""
    receiver = Receiver()
    lanes = embedded.EmbeddedRedis(folder / "lanes", log=folder / "lanes.log")
    broker = embedded.EmbeddedRedis(folder / "broker", log=folder / "broker.log")
    try:
        lanes.start()
        broker.start()
        system = System(lanes.url, embedded.free_port(), folder, receiver)
        system.extra |= {"BROKER_URL": broker.url, "MODEL": f"path:{model}", "COMPUTE_TYPE": "float32", "CACHE": "false"}
        try:
            yield system, broker
        finally:
            system.stop_all()
    finally:
        for server in (broker, lanes):
            server.stop()
            server.close()
        receiver.close()


def start_celery(system: System, *options: str, role: str = "celery") -> subprocess.Popen[bytes]:
    """`celery -A workers.app worker` with options, once its loops or its consumer run."""
    with (system.folder / f"{role}.log").open("ab") as log:
        command = [*COMMAND, "worker", "--hostname", WORKER, "--without-mingle", *options]
        process = subprocess.Popen(command, env=system.environ, cwd=ROOT, stdout=log, stderr=log)
    system.processes[role] = process
    wait_for(lambda: system.check_alive() or "ready." in system.log(role), timeout=60)
    return process


def run_celery(system: System, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command of Celery, to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], env=system.environ, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def ask_worker(system: System, *arguments: str) -> dict[str, Any]:
    """What the one worker answers to `inspect` or `control`."""
    kind, *rest = arguments
    done = run_celery(system, kind, "--json", "--timeout", "10", "--destination", WORKER, *rest)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return dict((found[0] if isinstance(found, list) else found)[WORKER])


def child_processes(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [child.pid for child in psutil.Process(pid).children()]


def cpu_seconds(pid: int) -> float:
    """Processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
