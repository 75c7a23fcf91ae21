# Every target sets up what it needs: `make demo` and `make test` work in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check lint types setup browser wheel benchmarks clean help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/'

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

setup: $(READY)  ## make .venv and install the project with its development tools

browser:  ## install Debian's chromium for the browser tests, where it is missing and can be installed
	@command -v chromium >/dev/null 2>&1 || { \
	  as_root=$$([ "$$(id -u)" = 0 ] || echo "sudo -n"); \
	  { $$as_root apt-get update -qq && $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } \
	    >/dev/null 2>&1 || echo "chromium is missing and cannot be installed here: the browser tests will be skipped"; }

demo: $(READY)  ## build and compare both atlases of the embedded dataset, and open the explorer
	$(BIN)/atlas demo

test: $(READY) browser  ## run every test
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

lint: $(READY)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy
	$(BIN)/mypy

check: lint types test  ## lint, types and tests

wheel: $(READY)  ## prove that the wheel runs the demo in a clean environment
	rm -rf dist build/clean && $(BIN)/python -m build --wheel --outdir dist >/dev/null
	$(PYTHON) -m venv build/clean
	build/clean/bin/python -m pip install --quiet --upgrade pip
	build/clean/bin/python -m pip install --quiet dist/*.whl
	rm -rf build/wheel-demo
	cd build && clean/bin/atlas demo --no-serve --out wheel-demo
	build/clean/bin/atlas verify build/wheel-demo/honest.atlas

clean:  ## remove what the targets made, but not .venv
	rm -rf dist build demo .pytest_cache .mypy_cache .ruff_cache
