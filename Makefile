PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check -q
READY := $(VENV)/.ready
CLUSTER_READY := $(VENV)/.cluster-ready
BENCH_READY := $(VENV)/.bench-ready
DEMO_STORE := demo-store
SAMPLE := tests/sample_corpus

.PHONY: setup setup-cluster demo test soak check bench readme figures clean

setup: $(READY)

# One stamp file: setting up again costs nothing until the pins change. torch is named first so that its pinned build is taken.
$(READY): pyproject.toml infra/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Engraph needs Python 3.11 or 3.12, this is " + sys.version.split()[0] + ": make PYTHON=python3.11") if not (3, 11) <= sys.version_info < (3, 13) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c infra/constraints.txt torch==2.13.0
	$(PIP) install -c infra/constraints.txt -e '.[dev]'
	@touch $(READY)

# What the profile `cluster` needs besides: Java 17, Ray, Spark, buckets as stores.
setup-cluster: $(CLUSTER_READY)

$(CLUSTER_READY): $(READY) infra/setup_cluster.sh
	sh infra/setup_cluster.sh $(VENV)
	@touch $(CLUSTER_READY)

demo: $(READY)
	@ENGRAPH=$(BIN)/engraph sh infra/demo.sh $(SAMPLE) $(DEMO_STORE)

# Whole files side by side: most of the time of a test goes into starting engines, servers and browsers. One thread each for
# linear algebra: threads of several processes on the same cores spin while they wait for each other, which doubles the work.
# Files in the order of their names, as the long ones come first and the many short ones fill up the end.
TEST_WORKERS ?= 2
test: $(READY)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

soak: $(READY)
	$(BIN)/python -m pytest -m soak -s
	ENGRAPH_NEW_EXAMPLES=1 $(BIN)/python -m pytest -m 'hypothesis and not soak'

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy flows jobs pipelines schemas engraph.py
	$(BIN)/lint-imports
	$(BIN)/python infra/readme.py --check
	$(BIN)/python -m infra.scaling --check

# The peers of `bench ann`; one that cannot be installed here is a row that says so.
$(BENCH_READY): $(READY)
	-$(PIP) install -c infra/constraints.txt -e '.[bench]'
	@touch $(BENCH_READY)

bench: $(BENCH_READY)
	$(BIN)/engraph bench embed
	$(BIN)/engraph bench ingest
	$(BIN)/engraph bench recall --units 100000
	$(BIN)/engraph bench graph
	$(BIN)/engraph bench ann --plot build/bench-ann.svg
	$(BIN)/engraph bench scale
	$(BIN)/engraph bench cluster

readme: $(READY)
	$(BIN)/python infra/readme.py

figures: $(READY)
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python infra/readme.py --figures

clean:
	rm -rf $(VENV) $(DEMO_STORE) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
