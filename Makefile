# make up            everything on this machine, one line with the address of the chat page; Ctrl-C drains and stops
# make test          lint, types and every test, against real parts
# make lint          the first two alone
# make bench         all figures, or one row: make bench ONLY=accept-rate
# make eval          figures of quality on public sets, or one: make eval ONLY=recall; REPLYMILL_EVAL_DATA names their folder
# make constraints   constraints.txt anew, with the newest versions that pyproject.toml allows; run it with the oldest Python
# make clean         everything that was made here; never data or models, which are in the user's own folders
#
# make test ARGS="..." hands options to pytest, such as -n 0: one process instead of two, as a debugger wants it.
# make PYTHON=python3.12 ... picks the interpreter of a new .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: up test lint bench eval constraints clean
.DELETE_ON_ERROR:

up: $(VENV)/installed
	@exec $(BIN)/replymill up

test: lint
	@exec $(BIN)/pytest -n 2 --dist worksteal $(ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict

bench: $(VENV)/installed-dev
	@exec $(BIN)/python -m tests.bench $(ONLY)

eval: $(VENV)/installed-dev
	@exec $(BIN)/python -m tests.evaluation $(ONLY)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Replymill needs Python 3.11 or newer, and $(PYTHON) is not: name one, such as make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: install its venv package (python3-venv on Debian)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/installed

# What pip would install into an empty environment, without installing it.
constraints: | $(BIN)/python
	@$(PIP) install --quiet --upgrade pip
	@$(PIP) install --quiet --dry-run --ignore-installed --report $(VENV)/report.json '.[dev]'
	@$(BIN)/python -c "$$WRITE_CONSTRAINTS" < $(VENV)/report.json > $(VENV)/constraints.txt
	@mv $(VENV)/constraints.txt constraints.txt

define WRITE_CONSTRAINTS
import json, re, sys
found = [item["metadata"] for item in json.load(sys.stdin)["install"]]
pins = sorted((re.sub(r"[-_.]+", "-", item["name"]).lower(), item["version"]) for item in found)
print("# Made by `make constraints`; holds for Python 3.11 and 3.12.")
print(*(f"{name}=={version}" for name, version in pins if name != "replymill"), sep="\n")
endef
export WRITE_CONSTRAINTS

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
