# LensLink. `make help` lists the targets.
#
# Paths stay relative and no target is a file name of the checkout's path: GNU make splits names
# at spaces, and a checkout may have one in its path. What has to be installed is decided by
# hil/tools/venv.sh, by content and not by time stamps; when nothing changed it takes a few milliseconds.

SHELL = /bin/sh
PY = .venv/bin/python
PYTEST = $(PY) -m pytest
# Tests that share nothing run on every core, those marked exclusive alone after them; ARGS='-n 0'
# runs one after the other.
PARALLEL = -n auto --maxprocesses 4
# Fast first, so that a slip shows within seconds.
TESTS = $(wildcard $(addprefix tests/,unit property golden firmware packaging e2e))
# More for pytest, for example: make e2e ARGS='--lens unix:/run/lens -k stream'
ARGS =

# Somebody else's packages must not leak into .venv.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
.NOTPARALLEL:
.PHONY: help demo test unit property golden firmware packaging e2e test-kernel check gen gen-check
.PHONY: nightly mutate fuzz bench bench-peers lock clean

help: ## list the targets (the default)
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1|/p' Makefile | \
	    while IFS='|' read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done
	@echo "PYTHON=/path/to/python chooses the Python (3.11 to 3.13); ARGS='...' goes to pytest."

demo: ## boot a camera module and take a photograph: out/demo.dng, out/demo.png
	@sh hil/tools/venv.sh demo
	@$(PY) -m lenslink_hil.demo

test: ## run every test, fast ones first; what could not run is listed last
	@sh hil/tools/venv.sh dev
	@$(PYTEST) $(PARALLEL) $(TESTS) $(ARGS)

unit: ## tests of single parts
	@sh hil/tools/venv.sh dev
	@$(PYTEST) $(PARALLEL) tests/unit $(ARGS)

property: ## tests by hypothesis
	@sh hil/tools/venv.sh dev
	@$(PYTEST) $(PARALLEL) tests/property $(ARGS)

golden: ## vectors that every implementation must agree with
	@sh hil/tools/venv.sh dev
	@$(PYTEST) tests/golden $(ARGS)

firmware: ## tests that run on MicroPython
	@sh hil/tools/venv.sh dev
	@$(PYTEST) tests/firmware $(ARGS)

packaging: ## wheel, sdist, Makefile
	@sh hil/tools/venv.sh dev
	@$(PYTEST) tests/packaging $(ARGS)

e2e: ## tests of everything together; ARGS='--lens URL' chooses the bench
	@sh hil/tools/venv.sh dev
	@$(PYTEST) $(PARALLEL) tests/e2e $(ARGS)

test-kernel: ## usb: and serial: on a real Linux kernel in QEMU; ARGS=--write keeps the results
	@sh hil/tools/venv.sh dev
	@$(PY) -m lenslink_hil.kernel $(ARGS)

check: ## ruff, mypy, and whether generated files are what would be generated
	@sh hil/tools/venv.sh dev
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	@$(MAKE) --no-print-directory gen-check

gen: ## write everything that is generated from protocol/lenslink_protocol/structs.py
	@sh hil/tools/venv.sh dev
	$(PY) -m lenslink_protocol.codegen

gen-check: ## fail if a generated file differs from what would be generated
	@sh hil/tools/venv.sh dev
	$(PY) -m lenslink_protocol.codegen --check

nightly: ## all at full scale, into tests/NIGHTLY.md: takes hours; ARGS='explore soak' runs a part
	@sh hil/tools/venv.sh dev
	@$(PY) hil/tools/nightly.py $(ARGS)

mutate: ## mutation testing of framing and link; ARGS='--sample 0.1' tries a part
	@sh hil/tools/venv.sh dev
	@$(PY) hil/tools/mutate.py $(ARGS)

fuzz: ## fuzz every parser with atheris; ARGS='--seconds 600'
	@sh hil/tools/venv.sh dev
	@$(PY) -m tests.fuzz all $(ARGS)

bench: ## measure the driver beside its bounds: BENCHMARKS.md; ARGS=--quick takes 40 s
	@sh hil/tools/venv.sh demo
	@$(PY) -m lenslink bench host --output BENCHMARKS.md $(ARGS)

bench-peers: ## measure what others would use, in one run with the driver: BENCHMARKS.md
	@sh hil/tools/venv.sh bench
	@$(PY) -m lenslink bench peers --output BENCHMARKS.md $(ARGS)

lock: ## choose anew the versions in requirements.lock (with uv, in a throwaway environment)
	@sh hil/tools/lock.sh

clean: ## remove .venv, out/ and what tools leave behind
	rm -rf .venv out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find firmware host protocol hil tests -name __pycache__ -type d -prune -exec rm -rf {} +
