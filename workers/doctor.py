"""`replymill doctor`: what on this machine or in its Redis could lose messages, or make answers slow."""

import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import redis

from connectors.contract import Check
from engine import card, convert, durability, store
from engine.errors import ReplymillError, SettingsError, StoreUnavailable
from engine.keys import META
from engine.settings import Settings, library_variable
from engine.sources import Kind, Source
from workers import doctor_knowledge, doctor_media, doctor_platforms, home
from workers.newer import waiting_lanes

#: Seconds by which the clocks of Redis and of this machine may differ; signatures are good for 300.
CLOCK_SKEW = 5.0

#: Bytes: below the first the next write may fail, below the second the next model does not fit.
DISK_FAIL = 200_000_000
DISK_WARN = 2_000_000_000

#: Python's names of x86-64.
_X86 = {"x86_64", "AMD64"}


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    #: It works, but could lose messages or be slow.
    WARN = "warn"
    #: It does not work.
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    #: What was looked at.
    check: str
    level: Level
    #: What was found.
    found: str
    #: What to do about it.
    advice: str = ""


def checkup() -> list[Finding]:
    """Every check, on the settings of this process; raises nothing."""
    try:
        settings = Settings.load()
    except SettingsError as error:
        return [Finding("settings", Level.FAIL, "refused", str(error))]
    return [Finding("settings", Level.OK, f"{len(settings.webhooks)} webhook endpoints"), *examine(settings)]


def examine(settings: Settings) -> list[Finding]:
    """Every check, on settings that need not be complete; raises nothing."""
    findings = [*_folders(settings), _model(settings)]
    if settings.device != "cuda":
        findings.append(judge_cpu(platform.machine(), Path("/proc/cpuinfo"), use_mkl=library_variable("CT2_USE_MKL")))
    try:
        complete = home.complete(settings)
    except ReplymillError as error:
        return [*findings, Finding("Redis", Level.FAIL, "none", str(error))]
    checks = {
        "Redis": _redis,
        "broker": lambda chosen: [_broker(chosen)],
        "platforms": _platforms,
        "media": _media,
        "knowledge": _knowledge,
    }
    return [*findings, *(finding for name, look in checks.items() for finding in _guarded(name, partial(look, complete)))]


def _guarded(check: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return look()
    except ReplymillError as error:
        return [Finding(check, Level.FAIL, "no answer", str(error))]


def _folders(settings: Settings) -> Iterator[Finding]:
    for check, folder in (("data folder", settings.data_dir), ("cache folder", settings.cache_dir)):
        try:
            free = shutil.disk_usage(home.private_folder(folder)).free
        except ReplymillError as error:
            yield Finding(check, Level.FAIL, str(folder), str(error))
        else:
            yield judge_disk(check, folder, free)


def judge_disk(check: str, folder: Path, free: int) -> Finding:
    """Room for queues and for a model."""
    level = Level.FAIL if free < DISK_FAIL else Level.WARN if free < DISK_WARN else Level.OK
    found = f"{folder}, {free / 1e9:.1f} GB free"
    return Finding(
        check, level, found, "" if level is Level.OK else "free some space: Redis refuses messages when its disk is full"
    )


def _model(settings: Settings) -> Finding:
    try:
        source = Source.parse(settings.model)
        place = convert.place(source, settings)
        ready = card.is_complete(place)
    except (ReplymillError, OSError) as error:
        return Finding("model", Level.FAIL, settings.model, str(error))
    if source.kind in (Kind.PATH, Kind.GGUF) and not Path(source.name).expanduser().exists():
        return Finding("model", Level.FAIL, settings.model, f"there is no {source.name}: check REPLYMILL_MODEL")
    if not ready:
        return Finding(
            "model", Level.WARN, f"{settings.model} is not converted yet", "run `replymill model convert` (`up` does it too)"
        )
    return Finding("model", Level.OK, f"{settings.model} in {place}")


def judge_cpu(machine: str, cpuinfo: Path, *, use_mkl: str) -> Finding:
    """The instruction sets that INT8 arithmetic needs to be fast, and Intel's library on other processors."""
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    flags = next((set(line.split()) for line in text.splitlines() if line.startswith("flags")), set())
    if "AuthenticAMD" in text and use_mkl in {"1", "true", "TRUE", "ON", "on"}:
        return Finding(
            "processor", Level.WARN, "AMD with CT2_USE_MKL set", "unset CT2_USE_MKL: answers take several times longer with it"
        )
    if machine in _X86 and not flags & {"avx2", "avx512f"}:
        return Finding("processor", Level.WARN, "no AVX2", "answers will be slow: use a processor with AVX2, or a CUDA device")
    best = next((name for name in ("avx512_vnni", "avx_vnni", "avx512f", "avx2") if name in flags), machine)
    return Finding("processor", Level.OK, best)


def _redis(settings: Settings) -> list[Finding]:
    client = store.connect(settings)
    with store.reachable():
        nodes = _nodes(client)
        findings = [finding for node in nodes for finding in judge_redis(node.info(), _config(node))]
        seconds, microseconds = nodes[0].time()
        findings.append(_durable(client, settings))
        findings.append(judge_clock(seconds + microseconds / 1e6 - time.time()))
        if newer := waiting_lanes(settings, client):
            advice = "start workers of the newer version, or see docs/upgrades.md for the way back"
            findings.append(Finding("versions", Level.WARN, f"{newer} conversations wait for a newer version", advice))
        if client.exists(META):
            store.adopt(client, settings)
    client.close()
    return findings


def _durable(client: store.Client, settings: Settings) -> Finding:
    try:
        durability.require(client, settings)
    except StoreUnavailable as error:
        return Finding("durability", Level.FAIL, settings.durability, str(error))
    said = "acknowledged once it is on the disk" if settings.durability == "fsync" else "acknowledged before it is on the disk"
    return Finding("durability", Level.OK, f"{settings.durability}: {said}")


def _nodes(client: store.Client) -> list[redis.Redis]:
    """Every server that holds messages: each primary of a Cluster, else the one."""
    if not isinstance(client, redis.RedisCluster):
        return [client]
    primaries: list[Any] = client.get_primaries()  # type: ignore[no-untyped-call]
    return [client.get_redis_connection(node) for node in primaries]


def _config(node: redis.Redis) -> Mapping[str, str]:
    """`appendfsync` and `save`; empty where the provider keeps them to itself."""
    try:
        return {name: str(node.config_get(name)[name]) for name in ("appendfsync", "save")}
    except (redis.ResponseError, KeyError):
        return {}


def judge_redis(info: Mapping[str, Any], config: Mapping[str, str]) -> list[Finding]:
    """Version, eviction and persistence of one server, from its INFO and CONFIG."""
    return [judge_version(str(info.get("redis_version", "0"))), judge_eviction(info), judge_persistence(info, config)]


def judge_version(version: str) -> Finding:
    """The scripts need Redis 6.2."""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < (6, 2):
        return Finding("Redis", Level.FAIL, version, "Replymill needs Redis 6.2 or newer")
    return Finding("Redis", Level.OK, version)


def judge_eviction(info: Mapping[str, Any]) -> Finding:
    """Any policy but `noeviction` drops messages that wait when memory is short."""
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        return Finding("eviction", Level.OK, policy)
    when = "when memory is short" if info.get("maxmemory") else "as soon as a maxmemory is set"
    return Finding("eviction", Level.WARN, policy, f"set maxmemory-policy noeviction: messages that wait would be dropped {when}")


def judge_persistence(info: Mapping[str, Any], config: Mapping[str, str]) -> Finding:
    """What a restart or a power loss takes."""
    fsync = config.get("appendfsync", "unknown")
    if info.get("aof_last_write_status", "ok") != "ok" or info.get("rdb_last_bgsave_status", "ok") != "ok":
        return Finding(
            "persistence",
            Level.FAIL,
            "the last write failed",
            "see the log of Redis and its disk: it refuses messages or will lose them",
        )
    if not info.get("aof_enabled"):
        lost = "up to everything since its last snapshot" if config.get("save") else "every message that waits"
        return Finding(
            "persistence", Level.WARN, "no append-only file", f"set appendonly yes: a restart of Redis would lose {lost}"
        )
    if fsync == "no":
        return Finding(
            "persistence", Level.WARN, "appendfsync no", "set appendfsync everysec: a power loss would lose up to half a minute"
        )
    return Finding("persistence", Level.OK, f"append-only file, fsync {fsync}")


def _platforms(settings: Settings) -> list[Finding]:
    return [_found(check) for check in doctor_platforms.look(settings)]


def _media(settings: Settings) -> list[Finding]:
    return [_found(check) for check in doctor_media.look(settings)]


def _knowledge(settings: Settings) -> list[Finding]:
    return [_found(check) for check in doctor_knowledge.look(settings)]


def _found(check: Check) -> Finding:
    level = Level.OK if check.ok else Level.FAIL if check.fatal else Level.WARN
    return Finding(check.what, level, check.found, check.advice)


def judge_clock(skew: float) -> Finding:
    """Deadlines count in the time of Redis, signatures in that of this machine."""
    if abs(skew) > CLOCK_SKEW:
        return Finding(
            "clock",
            Level.WARN,
            f"Redis is {skew:+.1f} s off",
            "synchronise both clocks (NTP): signatures and deadlines depend on them",
        )
    return Finding("clock", Level.OK, f"within {CLOCK_SKEW:g} s of Redis")


def _broker(settings: Settings) -> Finding:
    if store.is_cluster(settings.broker_url):
        return Finding(
            "broker",
            Level.FAIL,
            "a Redis Cluster",
            "set REPLYMILL_BROKER_URL to a single server: Celery's transport knows no Cluster",
        )
    same = settings.broker_url == settings.redis_url
    return Finding("broker", Level.OK, "the same server" if same else "a server of its own")
