"""The Celery app and composition root: `celery -A workers.app worker` runs the loops, with Celery's own options.

Messages travel in lanes, not in Celery tasks; Celery gives the process, its signals and shutdown, remote control, events, and the
periodic and one-off jobs. Loop workers consume a queue that nothing is sent to; jobs have a worker of their own (`--loops none`).
"""

import os
import socket
import warnings
from typing import Any

import click
from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import beat_embedded_init, setup_logging
from celery.worker import state

from engine.errors import StartError
from engine.keys import FIGURES_TASK, IDLE_QUEUE, INDEXING_QUEUE, INDEXING_TASK, JOBS_QUEUE, RETENTION_TASK
from engine.settings import Settings
from workers import control, leash
from workers.broker import configuration
from workers.home import complete
from workers.logs import configure
from workers.steps import AnsweringStep, DeliveringStep

#: Generating takes every core there is and replies may come in a flood: first come acknowledging, then delivering, then generating,
#: and indexing at last. Unix's nice values, of 0 to 19.
NICE: dict[tuple[str, ...], int] = {("answer",): 10, ("deliver",): 5, ("jobs",): 19}
#: Seconds between samples of the backlog, between looks for what a killed job left to index, and between clean-ups.
FIGURES_EVERY, INDEXING_EVERY, RETENTION_EVERY = 15.0, 15.0, 3600.0


def make_app(settings: Settings) -> Celery:
    """The app for these settings, with both loops as steps of the worker."""
    app = Celery("replymill", include=["workers.tasks", "workers.indexing", control.__name__])
    app.settings = settings
    #: Why a loop could not start, if so.
    app.fault = None
    app.conf.update(_configuration(settings))
    app.steps["worker"].update((AnsweringStep, DeliveringStep))
    app.user_options["worker"].add(
        click.Option(["--loops"], default="answer,deliver", help="Loops to run: answer, deliver, or both with a comma; or none.")
    )
    return app


def _configuration(settings: Settings) -> dict[str, Any]:
    return {
        **configuration(settings.broker_url),
        "broker_connection_max_retries": None,
        "broker_connection_retry_on_startup": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_pool": "solo",
        "worker_concurrency": 1,
        "worker_prefetch_multiplier": 1,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_send_task_events": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "result_backend": None,
        "task_default_queue": IDLE_QUEUE,
        "task_routes": {INDEXING_TASK: {"queue": INDEXING_QUEUE}, "replymill.*": {"queue": JOBS_QUEUE}},
        "beat_scheduler": "celery.beat:Scheduler",
        "beat_schedule": {
            "figures": {"task": FIGURES_TASK, "schedule": FIGURES_EVERY, "options": {"expires": FIGURES_EVERY}},
            "indexing": {"task": INDEXING_TASK, "schedule": INDEXING_EVERY, "options": {"expires": INDEXING_EVERY}},
            "retention": {"task": RETENTION_TASK, "schedule": RETENTION_EVERY, "options": {"expires": RETENTION_EVERY}},
        },
    }


@setup_logging.connect  # type: ignore[untyped-decorator]
def _own_logging(**_: Any) -> None:
    """Connected so that Celery leaves the logging that `workers.logs` set up alone."""


@beat_embedded_init.connect  # type: ignore[untyped-decorator]
def _die_with_the_worker(**_: Any) -> None:
    """The beat is a process of its own, which would outlive a worker killed with -9."""
    leash.tie(os.getppid())


app = make_app(complete(Settings.load()))
configure(app.settings)


def run_worker(settings: Settings, *, loops: tuple[str, ...]) -> None:
    """Run a worker with these loops, or `jobs` alone, until it is told to stop.

    :raises ReplymillError: if a loop cannot start.
    :raises StartError: if it ends for any other reason.
    :raises KeyboardInterrupt: if Ctrl-C told it to.
    """
    # Celery warns root because of pickle; we accept JSON alone, and a container has no other user.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    role = "-".join(loops)
    os.nice(NICE.get(loops, 0))
    jobs = role == "jobs"
    worker = app.Worker(
        hostname=f"{role}-{os.getpid()}@{socket.gethostname()}",
        loops="none" if jobs else ",".join(loops),
        queues=[JOBS_QUEUE, INDEXING_QUEUE] if jobs else [IDLE_QUEUE],
        beat=jobs,
        pool_cls="solo",
        concurrency=1,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
        loglevel=settings.log_level.upper(),
    )
    worker.start()
    if app.fault is not None:
        raise app.fault
    if worker.exitcode and state.should_stop:
        raise KeyboardInterrupt
    if worker.exitcode:
        raise StartError(f"the {role} worker ended with status {worker.exitcode}; its log says why")
