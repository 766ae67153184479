# Two commands on a fresh machine with Python 3.11, make and a package registry:
#   make run     sets up and runs the whole story on SQLite in ./data
#   make test    sets up and runs the tests
PY ?= python3.11
BIN := .venv/bin
.PHONY: run serve test check bench soak fuzz renewal chaos clients lock clean

run: .venv/.run
	$(BIN)/headway demo

serve: .venv/.run
	$(BIN)/headway serve

test: .venv/.dev
	$(BIN)/pytest -n auto -q

check: .venv/.dev
	@! grep -n '://' requirements/*.txt || { echo 'a lock file names a host'; exit 1; }
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -n auto -q

bench: .venv/.dev
	$(BIN)/python benchmarks/judge.py
	$(BIN)/python benchmarks/gateway.py

# The official clients in the two major versions before the locked ones, and KServe's: a few minutes.
clients: .venv/.dev
	BIN=$(BIN) sh requirements/clients.sh -n auto

# So many seconds of mixed traffic: memory, connections and counts.
SECONDS ?= 900
soak: .venv/.dev
	$(BIN)/python benchmarks/soak.py $(SECONDS)

# 500 new connections a second while the gateways are renewed: none may fail.
renewal: .venv/.dev
	$(BIN)/python benchmarks/renewal.py 500 30

# A hundred thousand requests of any bytes, and a crowd of thousands of connections.
fuzz: .venv/.dev
	HEADWAY_FUZZ_INPUTS=100000 $(BIN)/pytest -q tests/gateway/test_fuzz.py tests/gateway/test_crowd.py

chaos: .venv/.dev
	HEADWAY_CHAOS_KILLS=200 $(BIN)/pytest -q tests/chaos

lock:
	sh requirements/lock.sh

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

# uv where it works (it does not read pip's configuration), else pip. A uv that is fetched for this
# does not stay: it is 50 MB. The project itself is installed without isolation, from the build
# tools in the lock. Bytecode is made now: else four processes make the same at the first start, and
# at every one where it may not be written, which costs each a second and 6 MB. (Some packages ship
# templates that are no Python; that is no failure.)
define install
	@test -d .venv || $(PY) -m venv .venv
	@echo 'Installing $(1) (10 to 60 seconds) ...'
	@PIP="$(BIN)/python -m pip install -q --disable-pip-version-check"; T=$$(mktemp -d); \
	  if command -v uv >/dev/null; then UV=uv; \
	  elif $$PIP --require-hashes --target "$$T" -r requirements/uv.txt; then UV=$$T/bin/uv; fi; \
	  { [ -n "$$UV" ] && "$$UV" pip install -q --require-hashes --python $(BIN)/python -r $(1); } \
	  || $$PIP --no-compile --no-deps --require-hashes --only-binary :all: -r $(1); \
	  STATUS=$$?; rm -rf "$$T"; exit $$STATUS
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib src || true
	@touch $@
endef

.venv/.run: requirements/run.txt requirements/uv.txt pyproject.toml
	$(call install,requirements/run.txt)

.venv/.dev: requirements/dev.txt requirements/uv.txt pyproject.toml
	$(call install,requirements/dev.txt)
