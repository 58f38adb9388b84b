# One word for everything; `make` alone prints what there is.
BIN := .venv/bin
# So many tests run at a time; 0: one after the other.
JOBS ?= 2
READY := .venv/.ready

.PHONY: help env check test test-cluster test-faults test-cluster-faults bench bench-cluster demo docs lock shim images build clean

help: ## print this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

env: $(READY) ## make .venv: what requirements.lock pins, and this checkout in it

$(READY): requirements.lock pyproject.toml scripts/make-env
	scripts/make-env
	@touch $@

check: $(READY) ## format, lint, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	scripts/check-shim

# A file stays with one process, whose servers no other one has. A cluster is one for all: there tests come in turn.
test: $(READY) ## install what tests need, then check, then every test but the long ones, JOBS=2 at a time
	scripts/install-test-needs
	$(MAKE) --no-print-directory check
	$(BIN)/pytest -m "not faults$(if $(KUBECONFIG), and not cluster)" --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder
	$(if $(KUBECONFIG),$(MAKE) --no-print-directory test-cluster)

test-cluster: $(READY) ## of these those on the cluster of KUBECONFIG
	scripts/install-test-needs
	$(BIN)/pytest -m "cluster and not faults"

test-faults: $(READY) ## the long ones: 200 kills, full disks, lost leases
	scripts/install-test-needs
	$(BIN)/pytest -m "faults and not cluster"

test-cluster-faults: $(READY) ## the long ones on the cluster of KUBECONFIG; CLUSTER_CONTROL names what kills parts of it
	scripts/install-test-needs
	$(BIN)/pytest -m "faults and cluster"

bench: $(READY) ## measure against peers: one table, also build/bench.json; ends with 1 where a line does not hold
	scripts/install-test-needs
	$(BIN)/python -m bench

bench-cluster: $(READY) ## the same on the cluster of KUBECONFIG, with images that it has: build/bench-cluster.json
	$(BIN)/python -m bench cluster

demo: $(READY) ## start a server, run a task of two executors, show all of it, stop
	$(BIN)/python scripts/demo.py

docs: $(READY) ## build/docs/index.html; a warning is an error
	$(BIN)/sphinx-build -q -W --keep-going -b html docs build/docs
	@echo "build/docs/index.html"

lock: $(READY) ## pin anew, with hashes, for every supported Python; names no index
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --upgrade \
		--custom-compile-command "make lock" --extra ed25519 --extra kubernetes --extra objects --extra postgres --group dev --output-file requirements.lock pyproject.toml

shim: ## build/shim/: the first process of executors on Kubernetes, for amd64 and arm64; wants Go
	scripts/make-shim

images: $(READY) ## build/images/: server and stager as archives, by docker, podman or buildah; scripts/make-images says what may be set
	scripts/make-images

build: $(READY) ## dist/: wheel and source
	$(BIN)/python -m build --no-isolation

clean: ## remove what these words made, the environment too
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
