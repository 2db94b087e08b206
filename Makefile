# Two commands for a fresh clone: `make research` does the main job, `make test` checks it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# What a short session on a laptop is: two lanes at most, half-length runs, and an end.
RESEARCH := --autoresearch -n auto --autoresearch-profile=cpu --autoresearch-devices=cpu \
	--autoresearch-budget=340steps --autoresearch-experiments=6 --autoresearch-max-runs=5 \
	--autoresearch-audit=always

.PHONY: research test lint types gpu-proof bench clean

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

research: $(VENV)/.ready  ## baseline, the candidates of experiments/, six generated ones
	$(BIN)/python -m pytest $(RESEARCH) $(ARGS)

# A worker per core; a file stays on one of them, and the longest begin.
SUITE := -q -n auto --dist loadfile --no-loadscope-reorder tests/together tests/cheaters tests/core tests/plugin

test: $(VENV)/.ready  ## the whole suite: no GPU, no key, no network
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(SUITE) $(ARGS)
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report --fail-under=90 | tail -n 30

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready
	$(BIN)/mypy

# Runs with the machine's own Python and torch when there is no environment yet:
# on GPU machines torch is chosen by whoever set them up.
gpu-proof:
	@if [ -x $(BIN)/python ]; then $(BIN)/python tests/gpu_proof.py; \
	else PYTHONPATH=. $(PYTHON) tests/gpu_proof.py; fi

bench: $(VENV)/.ready  ## start-up cost of the plugin in a pytest run that does not use it
	$(BIN)/python tests/startup_cost.py

clean:
	rm -rf $(VENV) .autoresearch autoresearch-report .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
