# One word for each thing people do here. It needs make and a Python 3.11 to 3.13, and sets up .venv by itself.
# `make demo PYTHON=/path/to/python3.12` chooses the Python; `make test ARGS="-k config -x"` hands options to pytest.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check
RECIPES := $(wildcard recipes/*.py)
BENCHMARKS := $(filter-out benchmarks/%_accuracy.py,$(wildcard benchmarks/*.py)) # those are of runs that take hours
WEB := examples/web
WORKERS ?= auto
export PYTHONUNBUFFERED := 1

##@ To use
.PHONY: help demo web
help: ## print this list
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} \
	    /^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/user.stamp ## name the words in a clip; export to TFLite, replay, compare
	@$(BIN)/lstm-zoo demo

web: $(WEB)/speech.tflite $(WEB)/node_modules/.package-lock.json ## name spoken words in your browser (examples/web)
	@echo "Open http://127.0.0.1:8000; Ctrl+C ends it"
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory $(WEB) 8000

##@ To work on it
.PHONY: test lint format notebooks readme bench smoke wheel clean
test: $(VENV)/dev.stamp ## run every test
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(VENV)/dev.stamp ## check style, form and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/dev.stamp ## put the code into form
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

smoke: $(VENV)/dev.stamp ## run every recipe on its smoke profile (small generated data)
	@set -e; for recipe in $(RECIPES); do echo "== $$recipe"; $(BIN)/python "$$recipe" --profile smoke; done

notebooks: $(VENV)/dev.stamp ## make the notebooks from the recipes and run them on the smoke profile
	@$(BIN)/python notebooks/make.py --run

readme: $(VENV)/user.stamp ## write the table of models into the README
	@$(BIN)/lstm-zoo list --markdown >README.table
	@awk '/<!-- models:end -->/ {inside = 0} !inside {print} \
	    /<!-- models:start -->/ {inside = 1; while ((getline line < "README.table") > 0) print line}' README.md >README.new
	@mv README.new README.md
	@rm README.table

bench: $(VENV)/dev.stamp ## run the benchmarks that take minutes (benchmarks/README.md has all)
	@set -e; for benchmark in $(BENCHMARKS); do echo "== $$benchmark"; $(BIN)/python "$$benchmark"; done

wheel: $(VENV)/user.stamp ## build the wheel, pretrained models included, into dist/
	@rm -rf build # setuptools would pack what an earlier build left there
	@$(BIN)/python -m pip wheel --disable-pip-version-check --quiet --no-deps --wheel-dir dist .
	@rm -rf build
	@ls dist/*.whl

clean: ## remove whatever make has built, .venv included
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf $(WEB)/node_modules $(WEB)/speech.tflite $(WEB)/speech.tflite.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------------------------ the environment
# Each stamp is newer than what it was made from, so that a second run starts at once. Sources need no new
# installation: it is an editable one.

$(VENV)/user.stamp: $(VENV)/created.stamp pyproject.toml setup.py
	@echo "Installing lstm_zoo (TensorFlow is large: the first time takes some minutes)"
	@$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/created.stamp pyproject.toml setup.py
	@echo "Installing lstm_zoo with its tools (TensorFlow is large: the first time takes some minutes)"
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch $(VENV)/user.stamp $@

# What the page in the browser needs; `npm ci` dates what it writes.
$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json
	@command -v npm >/dev/null || { echo "The page needs Node.js 20 with npm: https://nodejs.org" >&2; exit 1; }
	@cd $(WEB) && npm ci --no-audit --no-fund

$(WEB)/speech.tflite: $(VENV)/user.stamp
	@$(BIN)/lstm-zoo export speech $@

# What makes a Python fit; ensurepip is what Debian and Ubuntu leave out of python3 and put into python3-venv.
FIT := import sys, ssl, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.maxsize < 2**32)
FIT_PYTHONS := $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python)

# The environment is made anew where it belongs to another folder, no longer runs, or PYTHON asks for another version.
VERSION := $(shell $(BIN)/python --version 2>/dev/null)
WANTED := $(if $(PYTHON),$(shell "$(PYTHON)" --version 2>/dev/null),$(VERSION))
ifneq ($(CURDIR) $(WANTED),$(shell cat $(VENV)/created.stamp 2>/dev/null) $(or $(VERSION),does not run))
.PHONY: $(VENV)/created.stamp
endif

$(VENV)/created.stamp:
	@for python in $(FIT_PYTHONS); do \
	    "$$python" -c '$(FIT)' 2>/dev/null || continue; \
	    echo "Creating $(VENV) with $$("$$python" --version) ($$(command -v "$$python"))"; \
	    "$$python" -m venv --clear $(VENV) && printf '%s\n' "$(CURDIR)" >$@; exit; \
	done; \
	{ echo "No fit Python among: $(subst ",,$(FIT_PYTHONS))."; \
	echo "lstm_zoo needs a 64-bit Python 3.11, 3.12 or 3.13 that can make virtual environments:"; \
	echo "  Debian, Ubuntu    sudo apt install python3 python3-venv"; \
	echo "  macOS             brew install python@3.13"; \
	echo "  anywhere          https://www.python.org/downloads/"; \
	echo "If you have one elsewhere: make demo PYTHON=/path/to/python3"; } >&2; exit 1
