# Two commands on a fresh machine: make demo, make test. The rest: make help.

VENV := .venv
# The first Python that is new enough; Debian and Ubuntu call some of theirs by their version only.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
RUN := $(VENV)/bin/python
# What the tests install has all that the notebook needs.
LAB := $(if $(wildcard $(VENV)/test.stamp),test,lab)
# A change of any of these asks for a new installation: the first two say what is needed, the rest is compiled.
SOURCES := pyproject.toml $(wildcard setup.py podtracer_nb/packets/_*.py)
# What the demo runs: program:package. Debian keeps some of them in sbin, which is not on an ordinary user's PATH.
PROGRAMS := tcpdump:tcpdump ip:iproute2 nsenter:util-linux unshare:util-linux mount:mount ping:iputils-ping \
	dnsmasq:dnsmasq-base nft:nftables

# The tests' cluster: one node (containerd) or two (the second with CRI-O).
NODES ?= 2
# How `make podtracer-deploy` deploys: a folder of deploy/overlays.
OVERLAY ?= capabilities

.PHONY: help demo lab test lint bench soak bench-cluster fuzz clean programs cluster-up cluster-down test-cluster \
	podtracer-deploy podtracer-delete
.DELETE_ON_ERROR:

help:
	@echo 'make demo   install, start the demo pods, run the first notebook against them'
	@echo 'make lab    the same in JupyterLab'
	@echo 'make test   every test that this machine can run'
	@echo 'make lint   ruff, mypy, import-linter'
	@echo 'make bench  the speed of reading captures, beside other readers, and of many sockets'
	@echo 'make soak   an hour of packets in MINUTES=5 of a live capture: is memory flat?'
	@echo 'make fuzz   look for captures that break the reader, for MINUTES=10'
	@echo 'make clean  remove what these made'
	@echo
	@echo 'make cluster-up    a real Kubernetes on this machine, as root: NODES=1 or 2'
	@echo 'make cluster-down  take it down, and check that nothing is left'
	@echo 'make test-cluster  the tests that need it, or the cluster that KUBECONFIG names'
	@echo 'make bench-cluster from a line to tcpdump at work in a pod: PODS="shop/web-0 …",'
	@echo '                   or of pods on another node: NODE=node-b POD_IMAGE=busybox, PODTRACER_IMAGE set'
	@echo 'make podtracer-deploy, podtracer-delete   the notebook in the cluster of KUBECONFIG: OVERLAY=capabilities'

demo: $(VENV)/$(LAB).stamp programs
	@$(RUN) notebooks/run.py demo

lab: $(VENV)/$(LAB).stamp programs
	@$(RUN) notebooks/run.py lab $(ARGS)

test: $(VENV)/test.stamp
	$(RUN) -m pytest $(ARGS)

lint: $(VENV)/test.stamp
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/bench.stamp
	$(RUN) -m tests.benchmarks $(ARGS)
	$(RUN) -m tests.benchmarks.sockets
	$(RUN) -m tests.benchmarks.browse

soak: $(VENV)/test.stamp
	$(RUN) -m tests.benchmarks.soak --minutes $(if $(filter command line,$(origin MINUTES)),$(MINUTES),5)

bench-cluster: $(VENV)/bench.stamp
	$(if $(PODS),$(RUN) -m tests.benchmarks.start $(PODS))
	$(if $(NODE),$(RUN) -m tests.benchmarks.elsewhere --node $(NODE) --pod-image $(POD_IMAGE))

cluster-up: $(VENV)/bin/python
	@$(RUN) -m tests.cluster up --nodes $(NODES)

cluster-down: $(VENV)/bin/python
	@$(RUN) -m tests.cluster down

# With a cluster, none of its tests may be skipped for want of one.
test-cluster: $(VENV)/test.stamp
	PODTRACER_REQUIRE=cluster,kubectl,$$PODTRACER_REQUIRE $(RUN) -m pytest -m cluster tests/deploy tests/kubernetes $(ARGS)

# The token stays as it is where there is one.
podtracer-deploy:
	kubectl apply -f deploy/base/namespace.yaml
	kubectl -n podtracer get secret podtracer-token >/dev/null 2>&1 || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' \
		| kubectl -n podtracer create secret generic podtracer-token --from-file=token=/dev/stdin
	kubectl apply -k deploy/overlays/$(OVERLAY)
	kubectl -n podtracer rollout status statefulset/podtracer --timeout=180s

podtracer-delete:
	kubectl delete -k deploy/overlays/$(OVERLAY) -l app.kubernetes.io/name=podtracer-nb --ignore-not-found

MINUTES ?= 10
fuzz: $(VENV)/test.stamp $(VENV)/fuzz.stamp
	$(RUN) -m tests.packets.fuzz --minutes $(MINUTES)

clean:
	rm -rf $(VENV) build dist found *.egg-info notebooks/executed .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache .benchmarks
	find podtracer_nb tests notebooks -name __pycache__ -prune -exec rm -rf {} +
	rm -f podtracer_nb/packets/*.so podtracer_nb/packets/*.c

# $(call apt-get,PACKAGES): as root install them, otherwise say the one line that does, and stop.
define apt-get
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	echo "installing$(1)"; export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq && apt-get install -y -qq --no-install-recommends $(1) >/dev/null; \
else echo "not installed here:$(1); as root: apt-get install$(1)" >&2; exit 1; fi
endef

programs:
	@PATH="$$PATH:/usr/sbin:/sbin"; missing=; for each in $(PROGRAMS); do \
		command -v "$${each%%:*}" >/dev/null || missing="$$missing $${each#*:}"; done; \
	if [ -n "$$missing" ]; then $(call apt-get,$$missing); fi

# Debian splits venv's ensurepip off into a package of its own, named after the Python's version.
$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then echo 'Python 3.11 or newer is needed: apt-get install python3' >&2; exit 1; fi
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		package=" python$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"; \
		$(call apt-get,$$package); fi
	$(PYTHON) -m venv $(VENV)

$(VENV)/%.stamp: $(SOURCES) | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@
