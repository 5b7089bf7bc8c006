"""The rules of the house, held as data: who imports whom, who may do what, and how large things may grow.

An exception to a budget carries its reason here; a budget is a signal to think.
"""

import ast
import functools
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: A package may import itself and those before it.
LAYERS = ("engine", "connectors", "workers")

#: What connectors may know of the engine, so that the web process never loads a model.
OPEN_TO_CONNECTORS = {
    "addresses",
    "messages",
    "choices",
    "errors",
    "settings",
    "keys",
    "lanes",
    "moves",
    "scripts",
    "store",
    "conversations",
    "crypto",
    "limits",
    "overload",
    "saying",
    "roster",
    "handoff",
    "handing",
    "gaps",
    "wishes",
    "staffing",
    "accounts",
    "endpoints",
    "durability",
    "trail",
    "telemetry",
}

#: What those need in turn and nobody else does.
BEHIND_THEM = {
    "values",
    "tenants",
    "wordings",
    "endpoint_checks",
    "items",
    "texts",
    "answers",
    "redaction",
    "personal_data",
    "recognisers",
    "checksums",
}

#: Who imports CTranslate2, and what of it: serving in two places; converting needs only its specs and converters.
CTRANSLATE2 = {
    "engine.model": {"ctranslate2"},
    "engine.encoder": {"ctranslate2"},
    "engine.conversion": {"ctranslate2", "ctranslate2.specs", "ctranslate2.converters"},
    "engine.convert": {"ctranslate2.specs", "ctranslate2.converters"},
    "engine.gguf_model": {"ctranslate2.specs"},
    "engine.bert_model": {"ctranslate2.specs"},
    "engine.precision": {"ctranslate2.specs"},
    "workers.chaos.echo": {"ctranslate2.specs"},
}

#: Never imported by serving code: training alone needs them.
HEAVY = {"torch", "transformers", "accelerate"}

READS_ENVIRONMENT = {"engine.settings"}

#: Boundaries where anything may arrive, and what becomes of it. Each has a comment on its line.
CATCHES_EVERYTHING = {
    "connectors.guard": "one request: its caller gets an answer, and the next one is served",
    "workers.answering": "one turn: it is tried again, the last time alone",
    "workers.delivering": "one delivery: it is tried again, and the others go on",
    "workers.showing": "one step of a reply that is being made: the reply itself still comes",
    "workers.acting": "one call of a tool: its person is told that it does not work",
    "workers.perceiving": "one voice note or image: the rest of its turn is answered",
    "workers.loop": "the thread of a loop: the process ends, logged, to be started afresh",
    "engine.pending": "a callback from CTranslate2's C++ thread, which an exception would end",
    "engine.tokenizer": "the Rust library raises plain `Exception` for a file it cannot read",
}

MODULE_LINES, MEDIAN_MODULE_LINES = 300, 130
MEDIAN_FUNCTION_LINES, P90_FUNCTION_LINES, FUNCTION_LINES = 8, 30, 60
NESTING = 3
DOUBLES_PER_TEST = 0.3

LARGE_MODULES: dict[str, str] = {"engine.keys": "the legend of every Redis key, a row each, belongs into one file"}
DEEP_FUNCTIONS: dict[str, str] = {}
#: Imports inside functions: what a command of the command line alone needs must not slow down all the others.
LATE_IMPORTS: dict[str, str] = {}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """A Python file of the product."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    def functions(self) -> Iterator[Function]:
        """All of them, methods and inner ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


@functools.cache
def modules() -> dict[str, Module]:
    """Every module of the three packages by its dotted name."""
    found = {}
    for path in sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        text = path.read_text()
        found[name] = Module(name, path, text, ast.parse(text))
    return found


each_module = pytest.mark.parametrize("module", modules().values(), ids=modules())


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of what is imported anywhere in a tree; `from a import b` is `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(name: str) -> str | None:
    """The module of ours that an imported name is, or is in."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or None


def lines(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


# -- who imports whom -----------------------------------------------------------------------------------------------------------


@each_module
def test_imports_run_from_workers_to_connectors_to_engine(module: Module) -> None:
    below = LAYERS[: LAYERS.index(module.package) + 1]
    for name in imported(module.tree):
        package = name.partition(".")[0]
        assert package not in LAYERS or package in below, f"{module.name} imports {name}"
        assert package != "tests", f"{module.name} imports {name}"


@pytest.mark.parametrize("module", [m for m in modules().values() if m.package == "connectors"], ids=lambda module: module.name)
def test_connectors_know_only_the_open_part_of_the_engine(module: Module) -> None:
    used = {found.split(".")[1] for name in imported(module.tree) if (found := own(name)) and found.startswith("engine.")}

    assert used <= OPEN_TO_CONNECTORS


def test_what_is_open_to_connectors_imports_nothing_that_is_not() -> None:
    for name in OPEN_TO_CONNECTORS & {name.removeprefix("engine.") for name in modules()}:
        used = {found.removeprefix("engine.") for name_ in imported(modules()[f"engine.{name}"].tree) if (found := own(name_))}
        assert used - {"engine"} <= OPEN_TO_CONNECTORS | BEHIND_THEM, name


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        module.name: {found for name in imported(module.tree) if (found := own(name)) and found != module.name}
        for module in modules().values()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for following in graph[name]:
                visit(following, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@each_module
def test_ctranslate2_is_imported_where_models_are_served_or_converted_alone(module: Module) -> None:
    used = {name for name in imported(module.tree) if name.partition(".")[0] == "ctranslate2"}
    allowed = CTRANSLATE2.get(module.name, set())

    assert all(any(name == part or name.startswith(f"{part}.") for part in allowed) for name in used), used


@each_module
def test_serving_imports_nothing_that_belongs_to_training(module: Module) -> None:
    if not module.name.startswith("engine.training"):
        assert not HEAVY & {name.partition(".")[0] for name in imported(module.tree)}


# -- who may do what ------------------------------------------------------------------------------------------------------------

_ENVIRONMENT = re.compile(r"\bos\.environb?\b|\bos\.getenvb?\b|\bos\.putenv\b|from os import [^\n]*\b(environ|getenv)|\bdotenv\b")


@each_module
def test_only_the_settings_read_the_environment(module: Module) -> None:
    assert module.name in READS_ENVIRONMENT or not _ENVIRONMENT.search(module.text)


def handlers(module: Module) -> Iterator[tuple[ast.ExceptHandler, str, str]]:
    """Each `except` with what it catches and the text of its lines."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            text = module.text.splitlines()[node.lineno - 1 : node.end_lineno]
            yield node, ast.unparse(node.type) if node.type else "BaseException", "\n".join(text)


def catches_everything(module: Module) -> Iterator[str]:
    """The text of each `except` that anything may end in; one that only cleans up and raises on is none."""
    for handler, caught, text in handlers(module):
        last = handler.body[-1]
        raises_on = isinstance(last, ast.Raise) and last.exc is None
        if re.search(r"\b(Base)?Exception\b", caught) and not raises_on:
            yield text


@each_module
def test_everything_is_caught_only_at_the_listed_boundaries_with_the_reason_beside_it(module: Module) -> None:
    for text in catches_everything(module):
        assert module.name in CATCHES_EVERYTHING, text
        assert re.search(r"# .*\w{3,} \w", text.splitlines()[0]), text


@each_module
def test_nothing_is_swallowed_without_a_reason(module: Module) -> None:
    for handler, _, text in handlers(module):
        idle = all(isinstance(node, ast.Pass | ast.Continue) for node in handler.body)
        assert not idle or "#" in text, text


def test_every_listed_boundary_exists() -> None:
    assert {module.name for module in modules().values() if any(catches_everything(module))} == set(CATCHES_EVERYTHING)


@each_module
def test_every_name_in_redis_is_made_in_one_file(module: Module) -> None:
    if module.name == "engine.keys":
        return
    texts = [node.value for node in ast.walk(module.tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]

    assert not [text for text in texts if re.match(r"rm:|replymill\.(jobs|idle)", text)]


def test_the_scripts_make_their_names_from_the_prefix_they_are_given() -> None:
    for path in (ROOT / "engine" / "lua").glob("*.lua"):
        assert "rm:" not in path.read_text(), path.name


# -- budgets --------------------------------------------------------------------------------------------------------------------


@each_module
def test_a_module_stays_within_its_lines(module: Module) -> None:
    size = module.text.count("\n")

    assert size <= MODULE_LINES or module.name in LARGE_MODULES, f"{module.name} has {size} lines"


def test_modules_are_small_on_the_whole() -> None:
    # A simulated platform is a list of that platform's answers, as long as they are many.
    counted = [module for module in modules().values() if "simulators" not in module.name and module.path.name != "__init__.py"]
    sizes = [module.text.count("\n") for module in counted]

    assert statistics.median(sizes) <= MEDIAN_MODULE_LINES


def test_functions_are_small_on_the_whole() -> None:
    sizes = sorted(lines(function) for module in modules().values() for function in module.functions())

    assert statistics.median(sizes) <= MEDIAN_FUNCTION_LINES
    assert sizes[int(len(sizes) * 0.9)] <= P90_FUNCTION_LINES


@each_module
def test_no_function_is_long(module: Module) -> None:
    assert not [f"{function.name}: {lines(function)}" for function in module.functions() if lines(function) > FUNCTION_LINES]


#: A `with` makes no decision.
_BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar, ast.Match)


def depth(node: ast.AST) -> int:
    """How many decisions stand inside each other; `elif` is no deeper than its `if`, an inner function begins anew."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef | ast.Lambda):
            continue
        chained = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deepest = max(deepest, depth(child) + (isinstance(child, _BLOCKS) and not chained))
    return deepest


@each_module
def test_blocks_are_not_deep(module: Module) -> None:
    deep = {f"{module.name}:{function.name}" for function in module.functions() if depth(function) > NESTING}

    assert deep <= set(DEEP_FUNCTIONS)


@each_module
def test_everything_is_annotated(module: Module) -> None:
    bare = []
    for function in module.functions():
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        missing = [a.arg for a in named if a is not None and a.annotation is None and a.arg not in {"self", "cls"}]
        if missing or function.returns is None:
            bare.append(f"{function.name}({', '.join(missing)})")

    assert not bare


@each_module
def test_serving_code_imports_at_the_top_of_the_file(module: Module) -> None:
    late = {
        f"{module.name}:{function.name}"
        for function in module.functions()
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }

    assert late <= set(LATE_IMPORTS) or module.name.startswith("engine.training")


def _exists(entry: str) -> bool:
    name, _, function = entry.partition(":")
    module = modules().get(name)
    return module is not None and (not function or function in {f.name for f in module.functions()})


@pytest.mark.parametrize(
    "table", [LARGE_MODULES, DEEP_FUNCTIONS, LATE_IMPORTS, CATCHES_EVERYTHING], ids=["large", "deep", "late", "all"]
)
def test_an_exception_from_a_rule_names_what_exists_with_its_reason(table: dict[str, str]) -> None:
    assert all(_exists(entry) and len(reason) > 20 for entry, reason in table.items())


# -- tests ----------------------------------------------------------------------------------------------------------------------

_DOUBLE = re.compile(r"monkeypatch\.setattr|mock\.patch|\bMagicMock\(|\bMock\(|\bAsyncMock\(|mocker\.|create_autospec\(|fakeredis")


@functools.cache
def files_of_tests() -> dict[Path, str]:
    """All but this one, which names what it forbids."""
    return {path: path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py")) if path != Path(__file__)}


def cases(text: str) -> list[Function]:
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, Function) and node.name.startswith("test_")]


def test_tests_use_real_parts() -> None:
    doubles = sum(len(_DOUBLE.findall(text)) for text in files_of_tests().values())
    tests = sum(len(cases(text)) for text in files_of_tests().values())

    assert doubles / tests <= DOUBLES_PER_TEST


def test_names_of_tests_are_sentences() -> None:
    names = [function.name for text in files_of_tests().values() for function in cases(text)]

    assert not [name for name in names if name.count("_") < 3]


def test_no_test_sleeps_for_luck() -> None:
    calls = {
        path.name: [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        for path, text in files_of_tests().items()
    }
    sleeping = {name for name, nodes in calls.items() if any(ast.unparse(node.func) == "time.sleep" for node in nodes)}

    assert not sleeping
