"""How the text of a variable becomes a value. Each raises `ValueError` with what is accepted as its text."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

#: Begins a setting that is a command line, and stands in it for the name of the file.
COMMAND, FILE = "command:", "{file}"


def shown(value: object) -> str:
    """A value as a person writes it."""
    written = " ".join(value) if isinstance(value, tuple) else str(value)
    return written.lower() if isinstance(value, bool) else written


def text(value: str) -> str:
    """Any text."""
    return value


def text_with(*names: str) -> Callable[[str], str]:
    """Any text; of what stands in braces only the names are filled in."""

    def parse(value: str) -> str:
        try:
            value.format(**dict.fromkeys(names, ""))
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            shown = " and ".join(f"{{{name}}}" for name in names)
            raise ValueError(f"a text in which only {shown} stand in braces (write {{{{ for a brace)") from error
        return value

    return parse


def words(value: str) -> tuple[str, ...]:
    """Words separated by spaces or commas."""
    return tuple(value.replace(",", " ").split())


def named(value: str) -> tuple[str, ...]:
    """Values with names, separated by spaces."""
    found = tuple(value.split())
    if not all(re.fullmatch(r"[a-z][a-z0-9_-]*=[!-~]+", one) for one in found):
        raise ValueError("NAME=VALUE, separated by spaces: a name of small letters, a value of printable ASCII")
    if len({one.partition("=")[0] for one in found}) < len(found):
        raise ValueError("NAME=VALUE with each name once")
    return found


def lines(value: str) -> tuple[str, ...]:
    """Texts separated by `|`."""
    return tuple(part for part in value.split("|") if part)


def path(value: str) -> Path:
    """A path; `~` is the home folder."""
    return Path(value).expanduser()


def table(value: str) -> str:
    """A file of tables."""
    if Path(value).suffix not in {".toml", ".yaml", ".yml"} or not Path(value).expanduser().is_file():
        raise ValueError("the path of a file that is there and ends in .toml, .yaml or .yml")
    return value


def languages(value: str) -> tuple[str, ...]:
    """Codes of languages, separated by spaces or commas."""
    found = words(value)
    if not found or not all(re.fullmatch("[a-z]{2}", code) for code in found):
        raise ValueError("ISO 639-1 codes such as en de, in lower case")
    return found


def flag(value: str) -> bool:
    """True or false, in the usual words."""
    if value.lower() in {"1", "true", "yes", "on"}:
        return True
    if value.lower() in {"0", "false", "no", "off"}:
        return False
    raise ValueError("true or false")


def one_of(*accepted: str) -> Callable[[str], str]:
    """One of the words."""

    def parse(value: str) -> str:
        if value not in accepted:
            raise ValueError("one of " + ", ".join(accepted))
        return value

    return parse


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number in a range."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", value) or not least <= int(value) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(value)

    return parse


def number(least: float, most: float) -> Callable[[str], float]:
    """A number in a range."""

    def parse(value: str) -> float:
        if not re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,9})?", value) or not least <= float(value) <= most:
            raise ValueError(f"a number from {least:g} to {most:g}")
        return float(value)

    return parse


def url(*schemes: str) -> Callable[[str], str]:
    """A URL with one of the schemes."""

    def parse(value: str) -> str:
        if value.partition("://")[0] not in schemes:
            raise ValueError("a URL that begins with " + ", ".join(f"{scheme}://" for scheme in schemes))
        _check_port(value)
        return value

    return parse


def reader(value: str) -> str:
    """What reads voice notes or images: a server's address, or a command line that names the file once or more."""
    if value.startswith(COMMAND):
        try:
            words = shlex.split(value.removeprefix(COMMAND))
        except ValueError:
            words = []
        if not words or FILE in words[0] or not any(FILE in word for word in words):
            raise ValueError(f"`{COMMAND} PROGRAM ... {FILE} ...`, with {FILE} where the file's name goes and every quote closed")
        return value
    if not re.fullmatch(r"https?://[!-~]+", value) or re.search(r"[@?#]", value):
        raise ValueError(f"an address such as http://127.0.0.1:8081/v1, without a password, or `{COMMAND} PROGRAM ... {FILE} ...`")
    _check_port(value)
    return value.rstrip("/")


def bearer(value: str) -> str:
    """A key as it stands in a header."""
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("printable ASCII without spaces")
    return value


def secret(value: str) -> str:
    """A secret that is not too short to be one."""
    if len(value.strip()) < 16:
        raise ValueError("at least 16 characters")
    return value


def keys(value: str) -> tuple[str, ...]:
    """Several secrets."""
    return tuple(secret(key) for key in words(value))


def model(value: str) -> str:
    """The source of a model."""
    if not re.fullmatch(r"(pypi|hf|path|gguf):\S+", value):
        raise ValueError("pypi:NAME==VERSION, hf:ORG/NAME, path:DIR or gguf:FILE")
    return value


def _check_port(value: str) -> None:
    try:
        parts = urlsplit(value)
        if parts.scheme != "sentinel":
            _ = parts.port
    except ValueError:
        raise ValueError(
            "a URL with a number for its port, and with `/`, `@` and `#` in a password written %2F, %40 and %23"
        ) from None
