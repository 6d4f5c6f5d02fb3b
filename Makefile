# `make help` says what there is.
#
# Everything runs in .venv, which is made when it is missing and made again when a requirements file is newer than it.

.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
STAMP := $(VENV)/.complete

export PORT ?= 8000
export HOST ?= 127.0.0.1

# An interpreter that no longer runs (Python was upgraded or removed under it) is as good as none.
ifeq ($(shell $(VENV)/bin/python -c 'print("runs")' 2>/dev/null),)
.PHONY: $(STAMP)
endif

.PHONY: help
help:
	@echo 'make run     run OrderOnce on this machine: PORT=8000 HOST=127.0.0.1 AWS_PORT=... LOG_FORMAT=json can be set;'
	@echo '             DATA=dir keeps its data in a folder; AUTH=cognito asks for a token (docs/laptop.md)'
	@echo 'make seed    place N=1000 orders on the running OrderOnce; TOKEN=... of a service, if it asks for one'
	@echo 'make test    run every test; ARGS="-k idempotency" is handed to pytest'
	@echo 'make faults  strike every call with every fault, at length, and count the schedules; ARGS as for make test'
	@echo 'make chaos   random schedules for MINUTES=5, or one SCHEDULE; PROCESSES=1 ORDERS=10000: real processes, killed'
	@echo 'make lint    ruff and mypy, as strict as they go'
	@echo 'make diagram draw docs/state_diagram.md again'
	@echo 'make openapi write chalicelib/entrypoints/openapi.json again'
	@echo 'make asyncapi, make postman   write docs/asyncapi.json, docs/postman_collection.json again'
	@echo 'make docs    pages about the API, its problems and its events, in out/docs; OUT=dir'
	@echo 'make soak    clients, duplicates, cancels, events and poison for MINUTES=5 on a stack of its own; a table'
	@echo 'make bench   what an order costs in CPU, beside the usual design and bare boto3: ROUNDS=500'
	@echo 'make clients orders a second on DynamoDB Local with 1, 8 and 32 clients, beside the usual design'
	@echo 'make sustained   orders a minute on DynamoDB Local for MINUTES=10, placed and fulfilled; then nothing may be lost'
	@echo 'make reliability   OrderOnce and the usual design under the same faults: which promises each keeps, in tables'
	@echo 'make simulation  hot products, outages, poison and a flash sale, simulated with the real code; the tables of docs/scale.md'
	@echo 'make capacity    from one order a second to 100,000: what each part must bear, and which limit comes first'
	@echo 'make mutants put mistakes into the code, and see whether a test fails for each; SAMPLE=60 ONLY=chalicelib/domain'
	@echo 'make clean   remove all that make has made'
	@echo
	@echo 'make resources STAGE=dev                    tables, queues, bus, alarms: a stack beside `chalice deploy --stage dev`'
	@echo 'make vendor                                 the X-Ray SDK and Stripe, for `chalice deploy`, in vendor/'
	@echo 'make lock                                   write requirements-lambda.txt again: versions and hashes of the zip'
	@echo 'make audit                                  advisories of today for all packages; the schema of the bill of materials'
	@echo 'make package STAGE=prod OUT=out             the template and the zip of a stage, its digest and bill of materials'
	@echo 'make deploy STAGE=prod BUCKET=...           package, upload, and deploy all of it as one stack;'
	@echo '                                            ARTIFACT=out/dev/deployment.zip deploys that zip,'
	@echo '                                            RESTORED=... uses restored tables (docs/deploying.md),'
	@echo '                                            ALL_AT_ONCE=1 does not go by canary'
	@echo 'make scan                                   what checkov says of the template of prod; ARGS as for make test'
	@echo 'make destroy STAGE=prod                     delete its stacks and logs, once its name is typed (or YES=prod);'
	@echo '                                            tables, queues and key are kept'
	@echo
	@echo 'PYTHON=...   the Python to make .venv with; otherwise the first of 3.13, 3.12, 3.11 and python3 that runs'

.PHONY: run
run: $(STAMP)
	@exec $(VENV)/bin/python -m local

.PHONY: seed
seed: $(STAMP)
	@exec $(VENV)/bin/python -m local.seeding

# worksteal: each worker begins with a run of tests of its own, so that what they share is made once there.
.PHONY: test
test: $(STAMP)
	@echo 'Running the tests.'
	@exec $(VENV)/bin/python -m pytest -n auto --dist worksteal $(ARGS)

.PHONY: faults
faults: $(STAMP)
	@FAULTS=all exec $(VENV)/bin/python -m pytest -n auto --dist worksteal tests/faults $(ARGS)

.PHONY: lint
lint: $(STAMP)
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy

# --- deploying: docs/deploying.md ---

STAGE ?=
BUCKET ?=
ARTIFACT ?=
OUT ?= out/$(STAGE)

VENDORED := vendor/aws_xray_sdk/__init__.py

.PHONY: vendor
vendor: $(VENDORED)

# Made again when the locked versions change.
$(VENDORED): requirements-lambda.txt $(STAMP)
	@$(VENV)/bin/python -m deploy vendor
	@touch $@

.PHONY: resources
resources: $(STAMP)
	$(call needs,STAGE)
	@exec $(VENV)/bin/python -m deploy resources --stage '$(STAGE)' $(if $(BUCKET),--bucket '$(BUCKET)')

.PHONY: lock
lock: $(STAMP)
	@exec $(VENV)/bin/python -m deploy lock

.PHONY: audit
audit: $(STAMP)
	@REQUIRE_ADVISORIES=1 exec $(VENV)/bin/python -m pytest -n 0 tests/deploy/test_audit.py $(ARGS)

.PHONY: package
package: $(STAMP)
	$(call needs,STAGE)
	@exec $(VENV)/bin/python -m deploy package --stage '$(STAGE)' --out '$(OUT)'

.PHONY: deploy
deploy: $(STAMP)
	$(call needs,STAGE)
	$(call needs,BUCKET)
	@exec $(VENV)/bin/python -m deploy stack --stage '$(STAGE)' --bucket '$(BUCKET)' $(if $(ARTIFACT),--artifact '$(ARTIFACT)') \
	  $(if $(ALL_AT_ONCE),--all-at-once)

# The first run installs a hundred packages, for minutes.
.PHONY: scan
scan: $(STAMP)
	@REQUIRE_CHECKOV=1 exec $(VENV)/bin/python -m pytest -n 0 -o faulthandler_timeout=900 tests/deploy/test_scan.py $(ARGS)

.PHONY: destroy
destroy: $(STAMP)
	$(call needs,STAGE)
	@exec $(VENV)/bin/python -m deploy destroy --stage '$(STAGE)' $(if $(YES),--yes '$(YES)')

needs = @test -n '$($(1))' || { echo 'make $@ needs $(1)=...' >&2; exit 1; }

.PHONY: soak
soak: MINUTES ?= 5
soak: $(STAMP)
	@exec $(VENV)/bin/python -m benchmarks.soak --minutes '$(MINUTES)'

# SEED repeats a search; PLANTED=1 looks for mistakes planted in a copy of the service, each for MINUTES.
.PHONY: chaos
chaos: $(STAMP)
	@exec $(VENV)/bin/python -m tests.faults.chaos $(if $(MINUTES),--minutes '$(MINUTES)') $(if $(SEED),--seed '$(SEED)') \
	  $(if $(SCHEDULE),--schedule '$(SCHEDULE)') $(if $(PLANTED),--planted) \
	  $(if $(PROCESSES),--processes) $(if $(ORDERS),--orders '$(ORDERS)') $(if $(PROVIDER),--provider '$(PROVIDER)')

ROUNDS ?= 500

.PHONY: bench
bench: $(STAMP)
	@exec $(VENV)/bin/python -m benchmarks.speed --rounds '$(ROUNDS)' --zip

.PHONY: clients
clients: $(STAMP)
	@exec $(VENV)/bin/python -m benchmarks.clients

.PHONY: sustained
sustained: MINUTES ?= 10
sustained: $(STAMP)
	@exec $(VENV)/bin/python -m benchmarks.sustained --minutes '$(MINUTES)'

.PHONY: reliability
reliability: $(STAMP)
	@exec $(VENV)/bin/python -m benchmarks.reliability

# ARGS=--write writes the tables into docs/scale.md.
.PHONY: simulation
simulation: $(STAMP)
	@$(VENV)/bin/python -m benchmarks.simulation $(ARGS)
	@exec $(VENV)/bin/python -m benchmarks.backlog $(ARGS)

.PHONY: capacity
capacity: $(STAMP)
	@exec $(VENV)/bin/python -m benchmarks.capacity $(ARGS)

ONLY ?=
SAMPLE ?=
AGAIN ?=

# An hour or more for all of them. AGAIN=1: only those that no test has killed yet.
.PHONY: mutants
mutants: $(STAMP)
	@exec $(VENV)/bin/python -m tests.mutants.run $(if $(ONLY),--only '$(ONLY)') $(if $(SAMPLE),--sample '$(SAMPLE)') $(if $(AGAIN),--again)

# The page is made from the table of transitions; a test fails when it is stale.
.PHONY: diagram
diagram: $(STAMP)
	$(VENV)/bin/python -m docs.state_diagram

# So does a test when this one is stale. ARGS=--released, with a release: what the next changes are compared with.
.PHONY: openapi
openapi: $(STAMP)
	$(VENV)/bin/python -m docs.openapi $(ARGS)

# What is made from the same sources; tests fail when it is stale.
.PHONY: asyncapi postman
asyncapi postman: $(STAMP)
	$(VENV)/bin/python -m docs.$@

.PHONY: docs
docs: OUT := out/docs
docs: $(STAMP)
	@$(VENV)/bin/python -m docs.site '$(OUT)'
	@echo 'Open $(OUT)/index.html in a browser.'

.PHONY: clean
clean:
	rm -rf $(VENV) vendor .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache .chalice/deployments out
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp comes last: an install that failed or was interrupted leaves none, and the next make starts from nothing.
# (exec, so that a signal to make ends the install itself, which would otherwise go on beside the next one.)
# venv is asked for by ensurepip, the part that Debian and Ubuntu package separately.
$(STAMP): requirements.txt requirements-dev.txt
	@set -eu; \
	if [ -n '$(PYTHON)' ]; then set -- '$(PYTHON)'; else set -- python3.13 python3.12 python3.11 python3; fi; \
	found=; bare=; \
	for python in "$$@"; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	  if "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then found=$$python; break; fi; \
	  bare=$${bare:-$$python}; \
	done; \
	if [ -z "$$found" ] && [ -n "$$bare" ]; then \
	  echo "$$bare has no venv: install it (on Debian and Ubuntu: apt-get install python3-venv) and call make again." >&2; exit 1; \
	elif [ -z "$$found" ]; then \
	  echo "OrderOnce needs Python 3.11 or newer; none of these is one: $$*. Install it, or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	version=$$("$$found" -c 'import platform; print(platform.python_version())'); \
	echo "Making $(VENV) with Python $$version and installing what requirements-dev.txt names (once, about a minute) ..."; \
	rm -rf $(VENV); \
	exec "$$found" -m venv $(VENV)
	@exec $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-input -r requirements-dev.txt
	@touch $(STAMP)
	@echo '$(VENV) is ready.'
