# Two commands do everything on a fresh machine with git, make, python3 and python3-venv:
#   make demo    runs the main job on real data
#   make test    installs what the tests need and runs them
# And `make torture` runs the scenarios of faults at full length: about an hour.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: demo test lint types bench bench-search torture screenshots clean packages

$(VENV)/installed: pyproject.toml requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=25.1"
	$(PIP) install -e .
	touch $@

$(VENV)/demo: $(VENV)/installed
	$(PIP) install --group demo
	touch $@

$(VENV)/bench: $(VENV)/demo
	$(PIP) install -e ".[redis,mongodb,dashboard]" --group bench
	touch $@

$(VENV)/bench-search: $(VENV)/installed
	$(PIP) install -e ".[search]"
	touch $@

$(VENV)/test: $(VENV)/installed
	$(PIP) install -e ".[all]" --group test
	touch $@

demo: $(VENV)/demo
	$(BIN)/python examples/breast_cancer.py

# Packages of the system come by apt and only as root; without them their tests skip.
# No service is started: tests start servers of their own.
PROGRAMS = dot git strace redis-server chromium
packages:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	    && ! (for each in $(PROGRAMS); do command -v $$each || exit 1; done) >/dev/null; then \
	    apt-get update -q && RUNLEVEL=1 apt-get install -y -q --no-install-recommends \
	        graphviz git strace redis-server chromium fonts-dejavu-core; fi

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/test
	$(BIN)/mypy
	$(BIN)/mypy tests/typing/api.py

test: packages $(VENV)/test lint types
	$(BIN)/python -m pytest -n 3 --dist loadgroup

# Without its peers by `make bench PEERS=`.
PEERS ?= yes
bench: packages $(VENV)/bench
	$(BIN)/python -m benchmarks --write $(if $(PEERS),--peers,--no-peers)

# The same for searches: 30 seeds each, which with the peers takes more than an hour.
SEEDS ?= 30
bench-search: $(VENV)/bench-search
	$(BIN)/python -m benchmarks.search --write --seeds $(SEEDS) $(if $(PEERS),--peers,--no-peers)

torture: packages $(VENV)/test
	TORTURE=1 $(BIN)/python -m pytest -q tests/torture -k planted_bug
	$(BIN)/python -m tests.torture

# Every page at two widths in both themes; the best ones stand in the documentation.
screenshots: packages $(VENV)/test
	$(BIN)/python doc/screenshots.py

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
