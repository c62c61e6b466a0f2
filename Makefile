# Everything runs in .venv. The first use creates it from requirements.lock; a change of that file renews it.
PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
READY := .venv/ready
PIP_INSTALL := $(BIN)/python -m pip --quiet --disable-pip-version-check install

.DEFAULT_GOAL := help
.PHONY: help setup search test check format docs lock clean

help:
	@echo 'make search [ARGS="--out DIR"]  the default search: front, report, family'
	@echo 'make test   [ARGS="-k NAME"]    the tests'
	@echo 'make check                      lint, format and types'
	@echo 'make format                     apply formatting and safe lint fixes'
	@echo 'make docs                       documentation site, build/site/index.html'
	@echo 'make lock   [ARGS="--upgrade"]  renew requirements.lock from pyproject.toml'
	@echo 'make setup | clean              make | remove the virtual environment'
	@echo 'PYTHON=/path/to/python3 names another interpreter (3.11 to 3.13).'

setup: $(READY)

search: $(READY)
	@$(BIN)/python run_search.py $(ARGS)

test: $(READY)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs -d build/doctrees . build/site

lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --fork-strategy fewest \
		--generate-hashes --no-header --no-emit-index-url --quiet --output-file requirements.lock $(ARGS)

clean:
	rm -rf .venv

# Only packages named by the lock are installed: pip resolves nothing, and the package itself is built with the locked
# setuptools. TensorFlow, half of what is unpacked, is installed in parallel with the others. Modules are compiled on all
# cores, where pip would use one; some of them are templates that do not compile. In parallel, the fused engine is
# compiled, so that the first search need not wait for it.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || \
		{ echo 'error: $(PYTHON) is not a Python 3.11, 3.12 or 3.13; name one: make PYTHON=/path/to/python3.11' >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'error: $(PYTHON) cannot make virtual environments; install its venv package (Debian: python3-venv)' >&2; exit 2; }
	@echo 'Setting up .venv (the first time 0.9 GB to download, 3 GB on disk)'
	@$(PYTHON) -m venv .venv
	@awk '/^[^ ]/ { part = /^tensorflow==/ ? "tensorflow" : "others" } { print > (".venv/" part ".lock") }' requirements.lock
	@printf '%s\n' tensorflow others | xargs -P 2 -I PART \
		$(PIP_INSTALL) --no-compile --no-deps --require-hashes -r .venv/PART.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c 'from movinet.proxy.fused.network import compile_kernels; compile_kernels()' & compiling=$$!; \
		$(BIN)/python -m compileall -qq -j 0 .venv/lib || true; wait $$compiling
	@touch $@
