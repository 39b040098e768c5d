# `make serve` and `make test` set up everything they need; a second run reuses it.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# On a terminal pip shows what it is at; a log is spared some hundred lines.
QUIET := $(if $(MAKE_TERMOUT),,--quiet)

# The pip that venv brings can take an hour to resolve what a current one resolves in seconds.
define MAKE_VENV
@echo "Installing what Prosopon needs into $(VENV): this takes some minutes the first time."
@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
endef

# pip compiles some 20,000 modules with one processor, in more than half a minute. A few are of other Pythons.
define COMPILE
@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true
endef

# Where the environment says that nothing compiled is kept, each of a server's dozen processes would compile all anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: serve test bench soak lint style types format install clean

# The virtual environment is complete once the stamp is newer than what it was made from.
$(VENV)/.serve: pyproject.toml
	$(MAKE_VENV)
	$(BIN)/python -m pip install $(QUIET) --no-compile -e .
	$(COMPILE)
	@echo "Installed."
	@touch $@

$(VENV)/.test: pyproject.toml
	$(MAKE_VENV)
	$(BIN)/python -m pip install $(QUIET) --no-compile -e ".[test]"
	$(COMPILE)
	@echo "Installed."
	@touch $@

install: $(VENV)/.serve
	@echo "The command is $(BIN)/prosopon; for this shell, prosopon alone: source $(BIN)/activate"

serve: $(VENV)/.serve
	$(BIN)/prosopon serve serve_config.yaml

# Two streams with one server at a time: most of a server's time is waiting, for a start, a client or what follows a load.
# Of the tests with servers of their own these come after those of the shared one, so that both streams end together.
AFTERWARDS := $(patsubst %,tests/integration/test_%.py,ingestion kills scaling)
# Beside them, in two halves, so that no core waits when servers are done: these, and all others without a server. They
# give way, since they need cores alone, and the two streams end last otherwise.
FIRST := $(wildcard tests/unit/test_[a-o]*.py)

# As a server's processes have it: where streams share the cores, threads of one sum wait for one another, and spin.
test: export OMP_NUM_THREADS := 1
test: $(VENV)/.test
	$(BIN)/prosopon models pull
	@nice -n 5 $(BIN)/pytest $(FIRST) >$(VENV)/first.log 2>&1 & first=$$!; \
	nice -n 5 $(BIN)/pytest tests/unit tests/conformance $(FIRST:%=--ignore %) --servers own >$(VENV)/rest.log 2>&1 & rest=$$!; \
	$(BIN)/pytest --ignore tests/unit --ignore tests/conformance $(AFTERWARDS:%=--ignore %) --servers own \
		>$(VENV)/own.log 2>&1 & own=$$!; \
	$(BIN)/pytest --ignore tests/unit --servers shared; shared=$$?; \
	$(BIN)/pytest $(AFTERWARDS) --servers own; after=$$?; \
	wait $$own; own=$$?; echo "Tests with a server of their own:"; cat $(VENV)/own.log; \
	wait $$first; first=$$?; wait $$rest; rest=$$?; echo "Tests without a server:"; cat $(VENV)/first.log $(VENV)/rest.log; \
	test $$shared = 0 -a $$after = 0 -a $$own = 0 -a $$first = 0 -a $$rest = 0

bench: $(VENV)/.test
	$(BIN)/prosopon models pull
	$(BIN)/python -m tests.benchmarks

# What a server withstands, in an hour or two: a table in the end. `make soak SHARE=0.1` for less of it.
SHARE ?= 1
soak: $(VENV)/.test
	$(BIN)/prosopon models pull
	$(BIN)/python -m tests.soak --share $(SHARE)

lint: style types

style: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.test
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
