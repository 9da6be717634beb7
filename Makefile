# Two commands for a newcomer: `make run` and `make test`. The rest is for developers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header \
	--no-annotate --python-version 3.11 --extra oidc --group build pyproject.toml
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: run test check format lock clean

run: $(VENV)/.run
	$(BIN)/booking-ledger serve --demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest

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
	$(LOCK) --group dev --output-file locks/dev.txt

$(VENV)/.run: locks/run.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --requirement locks/run.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: locks/dev.txt $(VENV)/.run
	$(INSTALL) --requirement locks/dev.txt
	@touch $@

clean:
	rm -rf $(VENV) dist
