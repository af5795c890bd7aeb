# What a developer runs; CI runs `make test`. Everything is installed into .venv, from the package index alone.
.PHONY: install system demo example lint proto docs test fuzz-inventory soak bench audit-packages clean

PYTHON ?= /usr/bin/python3
UV := .cache/uv/bin/uv
VENV := .venv/bin
FAULT ?= lock
SOURCES := agent controller tests benchmarks

$(UV):
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .cache/uv
	.cache/uv/bin/python -m pip install -q --disable-pip-version-check uv

.venv/.demo: pyproject.toml constraints.txt | $(UV)
	@test -x $(VENV)/python || $(UV) venv -q --python $(PYTHON) .venv
	$(UV) pip install -q --python $(VENV)/python --compile-bytecode -c constraints.txt -e '.[all]' --group demo
	@touch $@

.venv/.dev: .venv/.demo
	$(UV) pip install -q --python $(VENV)/python --compile-bytecode -c constraints.txt -e '.[all]' --group dev
	@touch $@

# ansible-core is GPL and a separate program: never in .venv, never imported.
.cache/oracle/.installed: pyproject.toml | $(UV)
	@test -x .cache/oracle/bin/python || $(UV) venv -q --python $(PYTHON) .cache/oracle
	$(UV) pip install -q --python .cache/oracle/bin/python --compile-bytecode -c constraints.txt --group oracle
	@touch $@

# 330 MB of its own dependencies, some of them older than ours: never in .venv.
.cache/semgrep/.installed: pyproject.toml | $(UV)
	@test -x .cache/semgrep/bin/python || $(UV) venv -q --python $(PYTHON) .cache/semgrep
	$(UV) pip install -q --python .cache/semgrep/bin/python --compile-bytecode --group semgrep
	@touch $@

# What agents are installed from, made by the product's own command while a package index can be reached: for the lab's
# hosts, which are this machine's kind, and for two patch releases of Python of which one needs a wheel more.
.cache/bundles/.made: pyproject.toml | install
	@set -e; for kind in "$$($(PYTHON) -c 'import os, platform; print(platform.python_version(), os.confstr("CS_GNU_LIBC_VERSION"))')" \
		"3.11.2 glibc 2.36" "3.11.9 glibc 2.36"; do set -- $$kind; \
		$(VENV)/fleetmedic agent bundle --python $$1 --machine $$(uname -m) --libc $$3 --bundles .cache/bundles; done
	@touch $@

install: .venv/.dev
	@$(VENV)/python -m compileall -q agent controller protos

# A real fault in a real PostgreSQL or Redis, found by real agents. FAULT=lock, redis-full or none.
demo: .venv/.demo
	@$(VENV)/python -m compileall -q agent controller protos
	@$(VENV)/python -m tests.lab.demo $(FAULT)

# A post-mortem of the demo's lock fault, made by the product; it takes three minutes.
example: install
	$(VENV)/python tests/lab/sandbox.py $(VENV)/python -m tests.lab.example_report docs/examples

lint: install .cache/semgrep/.installed
	$(VENV)/ruff format --check -q $(SOURCES)
	$(VENV)/ruff check -q $(SOURCES)
	$(VENV)/mypy
	$(VENV)/lint-imports --no-logo > .cache/imports.log || { cat .cache/imports.log; exit 1; }
	$(VENV)/buf lint
	$(VENV)/bandit -q -ll -r agent controller
	$(VENV)/bandit -q -lll -r tests benchmarks
	.cache/semgrep/bin/semgrep scan --config lint/semgrep.yml --metrics=off --disable-version-check --quiet --error $(SOURCES)
	lint/secrets
	@$(VENV)/python -m pytest -q --collect-only > .cache/collected.log || { grep -A99 '= coverage' .cache/collected.log || tail -40 .cache/collected.log; exit 1; }
	@rm -rf .cache/generated && mkdir -p .cache/generated && protos/generate .cache/generated
	@for made in .cache/generated/fleetmedic/v1/*; do \
		cmp "$$made" "protos/fleetmedic/v1/$${made##*/}" || { echo "generated code is out of date: make proto"; exit 1; }; done

proto: install
	protos/generate

docs: install
	$(VENV)/python docs/generate
	$(VENV)/python -m pytest -q --collect-only --write-coverage > /dev/null

# The Debian packages the lab starts. Installed as root or with sudo; a clear message where neither is possible.
system:
	@missing=$$($(PYTHON) tests/lab/requirements.py); [ -z "$$missing" ] || \
	if [ "$$(id -u)" = 0 ]; then sudo=; else sudo="sudo -n"; fi; \
	if [ -n "$$missing" ]; then \
		$$sudo true 2>/dev/null || { echo "these Debian packages are missing, and installing them needs root or sudo:" $$missing; exit 1; }; \
		$$sudo apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing; fi

test: system install lint .cache/oracle/.installed .cache/bundles/.made
	tests/run

# Inventories and patterns at random, ours beside ansible-core's. DRAWS=500 takes about five minutes; SEED is the first.
DRAWS ?= 500
SEED ?= 1
fuzz-inventory: install .cache/oracle/.installed
	$(VENV)/python -m tests.fuzz.inventory --draws $(DRAWS) --seed $(SEED)

bench: install .cache/oracle/.installed
	$(VENV)/python -m benchmarks.fanout
	$(VENV)/python -m benchmarks.inventory
	$(VENV)/python tests/lab/sandbox.py $(VENV)/python -m benchmarks.footprint

# Known holes in the packages of constraints.txt. It asks a service on the network, and fails where there is none.
audit-packages: | $(UV)
	@test -x .cache/audit/bin/python || $(UV) venv -q --python $(PYTHON) .cache/audit
	$(UV) pip install -q --python .cache/audit/bin/python --group audit
	.cache/audit/bin/pip-audit --strict --disable-pip --no-deps --progress-spinner off -r constraints.txt

# Long runs, about an hour; their measured results go into benchmarks/README.md.
soak: bench
	$(VENV)/python tests/lab/sandbox.py $(VENV)/python -m benchmarks.abuse
	$(VENV)/python tests/lab/sandbox.py $(VENV)/python -m tests.fuzz.hostile

clean:
	rm -rf .venv .cache dist
