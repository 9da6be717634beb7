# Two commands for a newcomer: `make run` and `make test`. The rest is for developers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header \
	--no-annotate --python-version 3.11 --extra oidc --group build pyproject.toml
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: run test check format lock bench bench-full clean

run: $(VENV)/.run
	$(BIN)/booking-ledger serve --demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "not acceptance"
	$(BIN)/python -m pytest -m acceptance

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Written anew from the ranges in pyproject.toml; commit the result.
lock:
	$(LOCK) --output-file locks/run.txt
	$(LOCK) --extra export --group dev --output-file locks/dev.txt
	$(LOCK) --extra export --group dev --group readers --output-file locks/readers.txt

$(VENV)/.run: locks/run.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --requirement locks/run.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: locks/dev.txt $(VENV)/.run
	$(INSTALL) --requirement locks/dev.txt
	@touch $@

# For the tests that open our exports with pm4py, Polars and Spark: over a gigabyte; skipped without.
$(VENV)/.readers: locks/readers.txt $(VENV)/.dev
	$(INSTALL) --requirement locks/readers.txt
	@touch $@

# Comparisons with peers: under ten minutes, or at full size (ten million events) over an hour.
bench: $(VENV)/.dev benchmarks/$(VENV)/.bench
	$(BIN)/python -m benchmarks --size small

bench-full: $(VENV)/.dev benchmarks/$(VENV)/.bench
	$(BIN)/python -m benchmarks --size full

# Other packages, apart: what they require must not change what we run with.
benchmarks/$(VENV)/.bench: pyproject.toml
	$(PYTHON) -m venv benchmarks/$(VENV)
	benchmarks/$(INSTALL) --upgrade "pip>=25.1"
	benchmarks/$(INSTALL) --group bench
	@touch $@

clean:
	rm -rf $(VENV) dist
