"""Every setting is checked at start: a bad value names variable, value and what is accepted; an unknown name, the closest known."""

import ast
import dataclasses
import re
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples

import engine
from engine.accounts import SECTIONS, parts
from engine.answers import Answers
from engine.endpoints import WEBHOOK_PARTS, WebhookEndpoint
from engine.errors import SettingsError
from engine.settings import PREFIX, Settings, describe
from engine.staffing import Staffing
from engine.texts import Texts

ROOT = Path(engine.__file__).parent.parent
#: What is said as it is set.
TEXTS = ("no_text", "describe_prompt", "lane_full", "paused", "handing_over", "forgotten", "in_line", "tenant_full")
TEXTS += (
    "nobody_came",
    "not_handed",
    "given_back",
    "greeting",
    "how_are_you",
    "thanks",
    "goodbye",
    "fine",
    "bot",
    "who",
    "say_more",
)
TEXTS += ("help", "clarify", "clarify_one", "unknown", "not_spoken", "nobody_here", "found_only", "passages_prompt")
#: What stands at the end of every list.
TEXTS_LAST = {f.name for f in dataclasses.fields(Texts)}
STAFFING_THEN = {f.name for f in dataclasses.fields(Staffing)}
ANSWERS_THEN = {f.name for f in dataclasses.fields(Answers)}
FIELDS = {f.name: f for f in dataclasses.fields(Settings) if f.name not in ("webhooks", "accounts", "tenants")}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

#: Values each setting refuses, beside those that all of its kind refuse.
BAD = {
    "log_format": ["JSON", "text"],
    "log_level": ["loud", "INFO"],
    "redis_url": ["localhost", "http://localhost", "REDIS://localhost", " redis://x"],
    "broker_url": ["amqp://localhost"],
    "secret_key": ["short", "fifteen chars.."],
    "api_keys": ["short", "a-long-enough-key-01 short"],
    "sealing_keys": ["short", "a-long-enough-key-01 short"],
    "unclear": ["twice", ""],
    "durability": ["always", "", "FSYNC"],
    "bridge": [
        "slack",
        "slack:acme",
        "slack:acme/support",
        "slack:acme/T1/T2/C1",
        "telegram:shop/42",
        "telegram:shop/-1/2",
        "mail:x",
    ],
    "bridge_mention": ["here", "@here now", "<!here> and more", "<@Q1>"],
    "handover_anger": ["maybe"],
    "in_line": ["wait {minutes}", "wait {", "wait {0}"],
    "seconds": ["{seconds} s", "{"],
    "minutes": ["{0} min"],
    "hours": ["{position} h"],
    "model": ["smollm2", "pypi:", "hf: x", "ftp:model", "pypi:a b"],
    "device": ["gpu", "CPU"],
    "compute_type": ["int4", "INT8"],
    "near": ["maybe", "ON", ""],
    "cache": ["maybe", "2", "yess"],
    "encoder": ["minilm", "pypi:", "pypi:a b"],
    "encoder_compute_type": ["float16", "INT8"],
    "sample_kb": ["maybe"],
    "vectors": ["localhost", "postgres://x", "sentinel://a,b/n"],
    "transcribe": [
        "whisper",
        "ftp://x/v1",
        "http://",
        "http://a b",
        "https://x/v1?key=1",
        "command:",
        "command: {file}",
        "command: x",
    ],
    "describe": ["on", "http://x:port/v1", "command: 'x {file}", "COMMAND: x {file}", "http://[/v1"],
    "tool_secrets": ["shop", "shop=", "=x", "Shop=x", "shop=ключ", "shop=a shop=b"],
    "transcribe_key": ["two words", "ключ"],
    "partly": ["no {answer}"],
    "sources": ["see {0}"],
    "texts": ["texts.json", "not-there.toml", "pyproject.yaml"],
    "languages": ["EN", "english", "en-GB", ""],
    "encoder_languages": ["eng", " "],
    "small_talk": ["maybe"],
    "verbatim": ["word"],
    "grounding": ["always"],
    "describe_key": ["a\tb"],
}
#: Values each setting takes, with what they mean.
GOOD: dict[str, dict[str, object]] = {
    "host": {"0.0.0.0": "0.0.0.0"},
    "log_format": {"json": "json", "console": "console"},
    "log_level": {"debug": "debug"},
    "redis_url": {
        "redis://x": "redis://x",
        "rediss://x": "rediss://x",
        "unix:///x": "unix:///x",
        "sentinel://a,b/n": "sentinel://a,b/n",
    },
    "otlp_endpoint": {"http://localhost:4318": "http://localhost:4318"},
    "broker_url": {"redis://x/1": "redis://x/1"},
    "secret_key": {"sixteen chars...": "sixteen chars..."},
    "api_keys": {"a-long-enough-key-01, a-long-enough-key-02": ("a-long-enough-key-01", "a-long-enough-key-02")},
    "page_hosts": {"a.example b.example": ("a.example", "b.example")},
    "model": {"hf:org/name": "hf:org/name", "path:/models/x": "path:/models/x", "gguf:x.gguf": "gguf:x.gguf"},
    "device": {"cuda": "cuda"},
    "durability": {"fsync": "fsync", "everysec": "everysec"},
    "compute_type": {"float32": "float32"},
    "stop": {"User:|\n\n": ("User:", "\n\n")},
    "trace_text": {"on": True},
    "bridge_mention": {"<!here>": "<!here>", "<!subteam^S0HELP>": "<!subteam^S0HELP>", "@support_team": "@support_team"},
    "handover_anger": {"off": False},
    "encoder": {"hf:org/name": "hf:org/name", "path:/models/x": "path:/models/x"},
    "encoder_compute_type": {"int8": "int8"},
    "sample_kb": {"off": False},
    "vectors": {"redis://x:6380/0": "redis://x:6380/0", "unix:///x": "unix:///x"},
    "near": {"on": "on", "off": "off", "shadow": "shadow"},
    "cache": {"off": False, "TRUE": True, "0": False, "yes": True},
    "languages": {"en, de": ("en", "de"), "zh": ("zh",)},
    "encoder_languages": {"en de": ("en", "de")},
    "verbatim": {"false": False},
    "apology": {"Sorry.": "Sorry."},
    "sealing_keys": {"a-long-enough-key-01": ("a-long-enough-key-01",)},
    "unclear": {"at-most-once": "at-most-once"},
    "transcribe": {
        "http://127.0.0.1:8081/v1/": "http://127.0.0.1:8081/v1",
        "command: whisper-cli -f {file} -nt": "command: whisper-cli -f {file} -nt",
    },
    "describe": {"https://api.example.com/v1": "https://api.example.com/v1"},
    "transcribe_model": {"large-v3": "large-v3"},
    "describe_model": {"llava": "llava"},
    "transcribe_key": {"sk-1": "sk-1"},
    "describe_key": {"sk-1": "sk-1"},
    "eval_data": {"~/data/public": "~/data/public"},
    "tools": {"tools.toml": "tools.toml"},
    "tool_hosts": {"shop.example, crm:8443": ("shop.example", "crm:8443")},
    "tool_secrets": {"shop=abc=1 crm=x": ("shop=abc=1", "crm=x")},
    "media_hosts": {"cdn.example, minio:9000": ("cdn.example", "minio:9000")},
}


def variable(name: str) -> str:
    return PREFIX + name.upper()


def numbers() -> dict[str, tuple[float, float]]:
    """The numeric settings with their bounds, from what an impossible value is told."""
    found = {}
    for name, setting in FIELDS.items():
        if isinstance(setting.default, int | float) and not isinstance(setting.default, bool):
            with pytest.raises(SettingsError) as caught:
                Settings.load({variable(name): "x"})
            bounds = re.search(r"number from (\S+) to (\S+)$", str(caught.value))
            assert bounds, caught.value
            found[name] = (float(bounds[1]), float(bounds[2]))
    return found


NUMBERS = numbers()
BAD_CASES = [
    *((name, value) for name, values in BAD.items() for value in values),
    *((name, value) for name in NUMBERS for value in ("", " ", "x", "1e3", "0x10", "1_0", "٣", "1 ", "nan", "inf", "-", "1\n")),
    *((name, f"{least - 1:.0f}") for name, (least, _) in NUMBERS.items()),
    *((name, f"{most + 1:.0f}") for name, (_, most) in NUMBERS.items()),
    *((name, "1.5") for name in NUMBERS if isinstance(FIELDS[name].default, int)),
]


@pytest.mark.parametrize(("name", "value"), BAD_CASES, ids=[f"{name}={value!a}" for name, value in BAD_CASES])
def test_a_bad_value_is_refused_naming_variable_value_and_what_is_accepted(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({variable(name): value})

    text = str(caught.value)
    assert variable(name) in text
    assert re.search(r"must be \S+", text)
    if FIELDS[name].metadata["secret"]:
        assert value not in text
        assert "(hidden)" in text
    else:
        assert repr(value) in text


@pytest.mark.parametrize("name", GOOD)
def test_a_good_value_is_taken(name: str) -> None:
    for value, meaning in GOOD[name].items():
        assert getattr(Settings.load({variable(name): value}), name) == meaning


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_taken_up_to_its_bounds(name: str) -> None:
    around = {
        "CLARIFY_CONFIDENCE": "0",
        "ANSWER_CONFIDENCE": "1",
        "LEASE": "3600",
        "SEND_TIMEOUT": "0.1",
        "PROMPT_TOKENS": "131072",
        "DEDUPE_TTL": "31536000",
    }
    for value in NUMBERS[name]:
        environ = {PREFIX + other: text for other, text in around.items()}
        if name == "lease":
            environ[f"{PREFIX}SEND_TIMEOUT"] = "0.1"
        if name == "send_timeout":
            environ[f"{PREFIX}LEASE"] = "3600"
        if name == "prompt_tokens":
            environ[f"{PREFIX}MAX_TOKENS"] = "1"
        if name == "dedupe_ttl":
            environ |= {f"{PREFIX}DEADLINE_{of}": "60" for of in ("CHAT", "WEBHOOK")}
        loaded = Settings.load(environ | {variable(name): f"{value:.6f}".rstrip("0").rstrip(".")})

        assert getattr(loaded, name) == value


def test_every_setting_is_tried_here() -> None:
    assert set(FIELDS) <= {*NUMBERS, *GOOD, *BAD, "data_dir", "cache_dir", "system_prompt", *TEXTS}


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("REPLYMILL_PROT", "REPLYMILL_PORT"),
        ("REPLYMILL_REDIS_URI", "REPLYMILL_REDIS_URL"),
        ("REPLYMILL_MAXTOKENS", "REPLYMILL_MAX_TOKENS"),
        ("REPLYMILL_WEBHOOK_SHOP_SECRTE", "REPLYMILL_WEBHOOK_SHOP_SECRET"),
        ("REPLYMILL_WEBHOOK_MY_SHOP_CALLBACK_URI", "REPLYMILL_WEBHOOK_MY_SHOP_CALLBACK_URL"),
        ("REPLYMILL_TENANT_MY_SHOP_GREETNG", "REPLYMILL_TENANT_MY_SHOP_GREETING"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_closest(misspelt: str, meant: str) -> None:
    with pytest.raises(SettingsError, match=rf"unknown variable {misspelt}: did you mean {meant}\?"):
        Settings.load({misspelt: "1"})


def test_a_name_that_resembles_nothing_is_refused_with_where_to_look() -> None:
    with pytest.raises(
        SettingsError, match=r"unknown variable REPLYMILL_ZZQQXXJJKKVVWW: see the configuration table in README\.md"
    ):
        Settings.load({"REPLYMILL_ZZQQXXJJKKVVWW": "1"})


def test_names_of_others_are_left_alone() -> None:
    assert Settings.load({"PATH": "/bin", "replymill_port": "x", "MY_REPLYMILL_PORT": "x"}) == Settings.load({})


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"SEND_TIMEOUT": "15"}, ["SEND_TIMEOUT", "15", "LEASE"]),
        ({"MAX_TOKENS": "1000", "PROMPT_TOKENS": "64"}, ["MAX_TOKENS", "1000", "PROMPT_TOKENS"]),
        ({"DEDUPE_TTL": "600", "DEADLINE_WEBHOOK": "601"}, ["DEDUPE_TTL", "600", "DEADLINE_WEBHOOK"]),
        ({"DEDUPE_TTL": "600", "DEADLINE_CHAT": "601"}, ["DEDUPE_TTL", "600", "DEADLINE_CHAT"]),
        ({"ANSWER_CONFIDENCE": "0.2"}, ["CLARIFY_CONFIDENCE", "0.3", "ANSWER_CONFIDENCE"]),
        ({"TENANT_SHOP_CLARIFY_CONFIDENCE": "0.9"}, ["TENANT_SHOP_CLARIFY_CONFIDENCE", "0.9", "0.5"]),
    ],
)
def test_values_that_cannot_go_together_are_refused(environ: dict[str, str], named: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({PREFIX + name: value for name, value in environ.items()})

    assert all(name in str(caught.value) for name in named)


def test_a_password_in_an_address_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({"REPLYMILL_DESCRIBE": "http://ann:a-password@127.0.0.1/v1"})

    assert "REPLYMILL_DESCRIBE is (hidden)" in str(caught.value)


# -- tenants --------------------------------------------------------------------------------------------------------------------


def test_a_tenant_has_its_own_and_else_those_of_all() -> None:
    mine = {
        "TENANT_ACME_SHOP_GREETING": "Ahoy!",
        "TENANT_ACME_SHOP_CITATIONS": "1",
        "TENANT_B_VERBATIM": "no",
        "GOODBYE": "So long.",
    }
    loaded = Settings.load({PREFIX + name: value for name, value in mine.items()})

    for name in ("acme-shop", "Acme Shop", "acme_shop"):
        shop = loaded.for_tenant(name)
        assert (shop.greeting, shop.goodbye, shop.citations, shop.verbatim) == ("Ahoy!", "So long.", 1, True)
    assert loaded.for_tenant("b").verbatim is False
    assert loaded.for_tenant("other") is loaded


@pytest.mark.parametrize(
    ("name", "value"),
    [("TENANT_A_VERBATIM", "maybe"), ("TENANT_A_CITATIONS", "9"), ("TENANT_A_IN_LINE", "{x}"), ("TENANT_A_TEXTS", "none.toml")],
)
def test_a_bad_value_of_a_tenant_is_refused_like_any(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"{PREFIX}{name} is .* but must be "):
        Settings.load({PREFIX + name: value})


@pytest.mark.parametrize("name", ["PORT", "MODEL", "BRIDGE", "LEASE"])
def test_what_a_process_shares_no_tenant_sets(name: str) -> None:
    with pytest.raises(SettingsError, match=f"unknown variable {PREFIX}TENANT_A_{name}"):
        Settings.load({f"{PREFIX}TENANT_A_{name}": "1"})


def test_settings_that_begin_with_the_word_tenant_stay_those_of_all() -> None:
    loaded = Settings.load({f"{PREFIX}TENANT_MESSAGES": "7", f"{PREFIX}TENANT_FULL": "Full."})

    assert (loaded.tenant_messages, loaded.tenant_full, loaded.tenants) == (7, "Full.", {})


# -- webhooks -------------------------------------------------------------------------------------------------------------------


def webhook(**parts: str) -> WebhookEndpoint:
    """The endpoint `my-shop` of these parts."""
    loaded = Settings.load({f"{PREFIX}WEBHOOK_MY_SHOP_{part}": value for part, value in ({"SECRET": SECRET} | parts).items()})
    (endpoint,) = loaded.webhooks.values()
    return endpoint


def test_a_webhook_needs_only_a_secret() -> None:
    assert webhook() == WebhookEndpoint(name="my-shop", secrets=(SECRET,), callback_secret=SECRET, tenant="my-shop")


def test_a_webhook_takes_all_its_parts() -> None:
    other = "whsec_" + "A" * 32
    endpoint = webhook(
        SECRET=f"{SECRET} {other}",
        CALLBACK_URL="http://10.0.0.1:8000/replies",
        CALLBACK_SECRET=other,
        CALLBACK_PRIVATE="true",
        TENANT="acme",
        WISHES="false",
    )

    assert endpoint == WebhookEndpoint(
        name="my-shop",
        secrets=(SECRET, other),
        callback_url="http://10.0.0.1:8000/replies",
        callback_secret=other,
        callback_private=True,
        tenant="acme",
        wishes=False,
    )


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("SECRET", ""),
        ("SECRET", "not-from-standard-webhooks"),
        ("SECRET", "whsec_short"),
        ("SECRET", f"{SECRET} whsec_short"),
        ("CALLBACK_SECRET", "whsec_!" + "A" * 40),
        ("CALLBACK_PRIVATE", "perhaps"),
        ("CALLBACK_URL", "http://example.com/"),
        ("CALLBACK_URL", "https://user@example.com/"),
        ("CALLBACK_URL", "https://"),
        ("CALLBACK_URL", "https://example.com/a b"),
        ("CALLBACK_URL", "https://example.com/\n"),
        ("CALLBACK_URL", "ftp://example.com/"),
    ],
)
def test_a_bad_part_of_a_webhook_is_refused_naming_it(part: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        webhook(**{part: value})

    text = str(caught.value)
    assert "REPLYMILL_WEBHOOK_MY_SHOP" in text
    assert "SECRET" in part or repr(value) in text
    assert not value or "SECRET" not in part or value not in text


def test_a_webhook_without_a_secret_is_refused_whatever_else_it_has() -> None:
    with pytest.raises(SettingsError, match="REPLYMILL_WEBHOOK_SHOP_SECRET is missing"):
        Settings.load({"REPLYMILL_WEBHOOK_SHOP_TENANT": "acme"})


# -- files, children, documentation ---------------------------------------------------------------------------------------------


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("REPLYMILL_PORT=1111\nREPLYMILL_HOST=0.0.0.0\nOTHER=x\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPLYMILL_PORT", "2222")

    loaded = Settings.load()

    assert (loaded.host, loaded.port) == ("0.0.0.0", 2222)


def test_a_misspelt_name_in_the_file_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("REPLYMILL_PROT=1111\n")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SettingsError, match="did you mean REPLYMILL_PORT"):
        Settings.load()


def test_home_folders_are_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")

    assert Settings.load({}).cache_dir == Path("/home/ann/.cache/replymill")
    assert Settings.load({f"{PREFIX}DATA_DIR": "~/data"}).data_dir == Path("/home/ann/data")


def _a_value(name: str) -> st.SearchStrategy[object]:
    default = FIELDS[name].default
    if name in NUMBERS:
        least, most = NUMBERS[name]
        if isinstance(default, int):
            return st.integers(int(least), int(most))
        return st.integers(round(least * 1e6), round(most * 1e6)).map(lambda millionths: millionths / 1e6)
    return st.sampled_from([default, *GOOD.get(name, {}).values()])


@example(changes={"temperature": 0.00001, "cache": False, "stop": ("User:", "\n\n")})
@example(changes={"dedupe_ttl": 31_536_000.0, "api_keys": ("a-long-enough-key-01", "a-long-enough-key-02")})
@given(changes=st.fixed_dictionaries({}, optional={name: _a_value(name) for name in FIELDS if not name.endswith("_dir")}))
@examples(suppress_health_check=[HealthCheck.too_slow])
def test_a_child_process_reads_what_its_parent_has(changes: dict[str, object]) -> None:
    together = {
        "clarify_confidence": 0.0,
        "lease": 3600.0,
        "send_timeout": 0.1,
        "prompt_tokens": 131_072,
        "dedupe_ttl": 31_536_000.0,
    }
    parent = dataclasses.replace(Settings.load({}), **(changes | together))  # type: ignore[arg-type]

    assert Settings.load(parent.to_environ()) == parent


def test_every_setting_is_described_once_with_its_default() -> None:
    rows = describe()

    assert [name for name, _, _ in rows] == [
        *(
            variable(name)
            for name in sorted(FIELDS, key=lambda name: (name in TEXTS_LAST, name in STAFFING_THEN, name in ANSWERS_THEN))
        ),
        f"{PREFIX}TENANT_<NAME>_<SETTING>",
        *(f"{PREFIX}WEBHOOK_<NAME>_{part}" for part in WEBHOOK_PARTS),
        *(f"{PREFIX}{kind.upper()}_<NAME>_{part}" for kind, section in SECTIONS.items() for part in parts(section)),
    ]
    assert all(meaning and meaning == meaning.strip() for _, _, meaning in rows)
    assert ("REPLYMILL_CACHE", "true") in {(name, default) for name, default, _ in rows}


def test_every_setting_is_read_by_the_code() -> None:
    read = set()
    for package in ("engine", "connectors", "workers"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name != "settings.py":
                tree = ast.parse(path.read_text())
                read |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}
                read |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in TEXTS_LAST}
    endpoint = {f.name for f in dataclasses.fields(WebhookEndpoint)}

    assert {*FIELDS, *endpoint, "webhooks"} - read == set(), "settings that nothing reads"
