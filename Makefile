# make demo    mirror a generated event from the sandbox, to see what it is like
# make test    everything that must hold: style, types, layers, tests, coverage, documents
# make check   the quick part of it: style, types, layers
# make bench   compare with curl, wget2, rclone, aria2 and libcurl from Python on this machine, write docs/performance.md
# make torture    break it in every way we know, with the full figures, for hours; goes on where it stopped; writes docs/reliability.md
# Each sets up its own virtual environment first; nothing else has to be done.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# So many processes share the tests: one a processor.
WORKERS ?= auto
# What decides or commits is covered to the last branch (DESIGN of the tests: docs/design.md, How it is tested).
CORE := ninepic_mirror/sync/planner.py,ninepic_mirror/sync/leases.py,ninepic_mirror/sync/recheck.py,ninepic_mirror/archive/placement.py,ninepic_mirror/archive/manifest.py,ninepic_mirror/archive/sqlite_errors.py,ninepic_mirror/archive/listings.py,ninepic_mirror/archive/claims.py,ninepic_mirror/archive/patience.py,ninepic_mirror/archive/holdings.py,ninepic_mirror/archive/lines.py,ninepic_mirror/archive/files.py,ninepic_mirror/archive/faults.py,ninepic_mirror/archive/flush.py,ninepic_mirror/archive/store.py,ninepic_mirror/archive/strays.py,ninepic_mirror/archive/trash.py,ninepic_mirror/archive/verify.py,ninepic_mirror/archive/readers.py,ninepic_mirror/archive/inventory.py,ninepic_mirror/archive/forgotten.py,ninepic_mirror/archive/belongings.py,ninepic_mirror/archive/aside.py,ninepic_mirror/ninepic/wire.py,ninepic_mirror/ninepic/condition.py,ninepic_mirror/ninepic/pacing.py,ninepic_mirror/ninepic/throttle.py,ninepic_mirror/ninepic/backoff.py,ninepic_mirror/service/schedule.py,ninepic_mirror/delivery/selection.py,ninepic_mirror/delivery/plan.py,ninepic_mirror/delivery/limits.py,ninepic_mirror/delivery/bag.py,ninepic_mirror/delivery/tags.py,ninepic_mirror/delivery/catalogue.py,ninepic_mirror/delivery/source.py

.PHONY: demo test check tests bench torture clean

demo: $(VENV)/run
	$(BIN)/ninepic-mirror demo

test: check tests

check: $(VENV)/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml --severity-level medium ninepic_mirror

tests: $(VENV)/dev
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest --numprocesses $(WORKERS) --dist worksteal -m "not alone"
	$(BIN)/coverage run -m pytest -m alone tests/torture
	$(BIN)/coverage combine -q
	$(BIN)/coverage report
	$(BIN)/coverage report --include='$(CORE)' --fail-under=100

torture: $(VENV)/dev
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[torture]' || echo "atheris cannot be had here"
	$(BIN)/python -m tests.torture.run --write $(ARGS)

# In an environment of its own: installed as users have it, without what development adds to the imports.
BENCH := $(VENV)-bench
PEERS := nginx curl wget2 rclone aria2c xxhsum
bench:
	@for peer in $(PEERS); do command -v $$peer >/dev/null || { \
	  echo "lacking: $$peer. Debian: apt install nginx-light curl wget2 rclone aria2 xxhash"; exit 1; }; done
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet --disable-pip-version-check . py-spy pycurl
	$(BENCH)/bin/python -m benchmarks.run --write $(ARGS)

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV) || { echo "Debian: apt install python3-venv"; exit 1; }

$(VENV)/run: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/dev: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/run

clean:
	rm -rf $(VENV) $(BENCH) .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache test-output
