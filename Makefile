# All that a developer needs. Every target makes the virtual environment first, from hashes; a second time it costs nothing.
.DEFAULT_GOAL := help
.PHONY: help demo test lint types unit integration quick doors journeys monitoring browser pictures cluster cluster-tools image bench bench-plots bench-ingress faults fuzz schemas readme lock jars clean

PYTHON ?= $(or $(shell command -v python3.11),python3)
VENV := .venv
PY := $(VENV)/bin/python
# A copy of the lock file that the environment was made from: made anew only when that changes.
READY := $(VENV)/installed.lock
FIGURES ?= .wapipe/bench.jsonl

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## Everything on this machine: broker, API, pipeline, a campaign, and its books
	@$(VENV)/bin/wapipe demo

test: lint types ## What CI runs; tests that wait for a limit leave room for those that do not
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target quick journeys

quick:
	@$(MAKE) --no-print-directory unit doors

lint: $(READY) ## ruff: rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(READY) ## mypy, strict
	$(PY) -m mypy

unit: $(READY) ## Unit, property and contract tests: no Kafka
	$(PY) -m pytest tests/unit tests/property tests/contract tests/helm tests/faults/test_proxy.py tests/faults/test_schedule.py tests/faults/test_rollout.py tests/faults/test_verdict.py

integration: doors journeys ## Tests on a real Kafka, with real processes

# One room each, and the ways in and out of it: in these, nobody waits for a limit.
DOORS := $(foreach name,cli% console% embedded_broker ingress% login malformed observed operating producers secure% \
	simulator% template_listing topics,$(wildcard tests/integration/test_$(subst %,*,$(name)).py))
ON_KAFKA := $(PY) -m pytest -m "not prometheus and not browser" --durations=15

doors: $(READY) jars
	$(ON_KAFKA) $(DOORS)

journeys: $(READY) jars
	$(ON_KAFKA) tests/integration tests/faults/test_faults.py $(addprefix --ignore=,$(DOORS))

browser: $(READY) ## The console in a real browser, its accessibility, and README's pictures of it
	$(PY) -m pytest -m browser tests/browser

monitoring: $(READY) jars ## Dashboards and alerts on a real Prometheus, if there is one
	$(PY) -m pytest -m prometheus tests/integration

pictures: $(READY) jars ## Draw README's picture of the dashboard from a demo, if there is a Prometheus
	$(PY) -m tests.support.pictures

cluster: $(READY) ## The chart on a real Kubernetes control plane, if make cluster-tools has built one
	$(PY) -m pytest -m cluster --durations=0 -rs tests/deploy

cluster-tools: $(READY) ## Build that: Kubernetes, etcd, kwok, helm, kubeconform from their Go modules (20 minutes)
	@$(PY) -m tests.support.cluster_tools

image: $(READY) jars ## Build the Dockerfile with buildah on Debian, and run what comes out; as root
	$(PY) -m pytest -m image --durations=0 -rs -s tests/deploy

bench: $(READY) jars ## Measure, and print the figures: make bench [WORKLOADS="W2 W9"] [SCALE=0.1]
	$(PY) -m tests.bench $(WORKLOADS) --scale $(or $(SCALE),1) --out $(FIGURES)

bench-plots: $(READY) ## Draw those figures: make bench-plots [FIGURES=….jsonl] [PLOTS=folder]
	$(PY) -m tests.bench.plots $(FIGURES) $(or $(PLOTS),.wapipe/plots)

bench-ingress: $(READY) jars ## Measure the ingress: speed, memory, and while it and its broker are killed
	$(PY) -m tests.bench W11 W11FLAT W11DEATHS

faults: $(READY) jars ## Faults on three brokers: make faults [SCHEDULE=mixed] [SECONDS=1800] [SEED=1]
	$(PY) -m tests.faults --schedule $(or $(SCHEDULE),mixed) --seed $(or $(SEED),1) $(if $(SECONDS),--seconds $(SECONDS))

fuzz: $(READY) ## Generated answers, messages and webhooks: make fuzz [COUNT=1000000] [SEED=1]
	$(PY) -m tests.fuzz --count $(or $(COUNT),1000000) --seed $(or $(SEED),1)

schemas: $(READY) ## Export JSON Schemas and the AsyncAPI document from the models
	$(VENV)/bin/wapipe schemas export

readme: $(READY) ## Renew README's tables from the code
	$(PY) -m tests.support.readme

lock: $(READY) ## Resolve the dependencies anew
	$(PY) -m pip install --quiet --disable-pip-version-check uv
	$(VENV)/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--extra otel --output-file requirements.lock
	$(VENV)/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--group dev --output-file requirements-dev.lock

jars: $(READY)
	@$(PY) -c "from pipeline.embedded.jars import ensure_jars; ensure_jars()"

clean: ## Remove the environment, caches and local data
	rm -rf $(VENV) .wapipe .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements-dev.lock
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@cmp -s requirements-dev.lock $(READY) || \
		$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@# The program itself, straight from this folder.
	@echo "$(CURDIR)" > "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/wapipe.pth"
	@printf '#!%s\nfrom pipeline.cli.main import main\n\nmain()\n' "$(CURDIR)/$(PY)" > $(VENV)/bin/wapipe
	@chmod +x $(VENV)/bin/wapipe
	@cp requirements-dev.lock $(READY)
