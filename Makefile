# LensLink. `make help` lists the targets.
#
# All paths are relative: GNU make splits names at spaces, and a checkout may have one in its path.
# hil/tools/venv.sh decides what to install. It compares contents, not time stamps.

SHELL = /bin/sh
PY = .venv/bin/python
PYTEST = $(PY) -m pytest
# Tests that share nothing run in parallel, two on each core: half of the time a test waits. Tests
# that are marked exclusive run alone after them.
# ARGS='-n 0' runs all tests in one process.
PARALLEL = -n auto --maxprocesses 4
# Fast tests first, so that a mistake shows within seconds.
TESTS = $(wildcard $(addprefix tests/,unit property golden firmware packaging e2e))
# Arguments for pytest, for example: make e2e ARGS='--lens unix:/run/lens -k stream'
ARGS =

# The caller's packages must not leak into .venv.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
# The tests start a thousand processes. Each would compile our modules if no .pyc may be written.
unexport PYTHONDONTWRITEBYTECODE
.NOTPARALLEL:
.PHONY: help demo test unit property golden firmware packaging e2e test-kernel check gen gen-check
.PHONY: nightly mutate fuzz bench bench-peers train-denoiser dist lock clean

help: ## list the targets (the default)
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1|/p' Makefile | \
	    while IFS='|' read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done
	@echo "PYTHON=/path/to/python chooses the Python (3.11 to 3.13); ARGS='...' goes to pytest."

demo: ## show what a simulated module and the phone do: out/demo.html, demo.png, demo.dng
	@sh hil/tools/venv.sh demo
	@$(PY) -m lenslink_hil.demo

test: ## run every test; the last lines list what could not run
	@sh hil/tools/venv.sh dev
	@$(PYTEST) $(PARALLEL) $(TESTS) $(ARGS)

unit: ## tests of single parts
	@sh hil/tools/venv.sh dev
	@$(PYTEST) $(PARALLEL) tests/unit $(ARGS)

property: ## tests with hypothesis
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

gen: ## write all generated files
	@sh hil/tools/venv.sh dev
	$(PY) -m lenslink_protocol.codegen

gen-check: ## fail if a generated file differs from what would be generated
	@sh hil/tools/venv.sh dev
	$(PY) -m lenslink_protocol.codegen --check

nightly: ## run the long tests and write tests/NIGHTLY.md (hours); ARGS='explore soak' runs a part
	@sh hil/tools/venv.sh dev
	@$(PY) hil/tools/nightly.py $(ARGS)

mutate: ## mutation testing of framing and link; ARGS='--sample 0.1' tries a part
	@sh hil/tools/venv.sh dev
	@$(PY) hil/tools/mutate.py $(ARGS)

fuzz: ## fuzz every parser with atheris; ARGS='--seconds 600'
	@sh hil/tools/venv.sh dev
	@$(PY) -m tests.fuzz all $(ARGS)

bench: ## measure the driver beside its bounds and write BENCHMARKS.md; ARGS=--quick takes 40 s
	@sh hil/tools/venv.sh demo
	@$(PY) -m lenslink bench host --output BENCHMARKS.md $(ARGS)

bench-peers: ## measure other protocols beside the driver and write BENCHMARKS.md
	@sh hil/tools/venv.sh bench
	@$(PY) -m lenslink bench peers --output BENCHMARKS.md $(ARGS)

train-denoiser: ## train the RAW denoiser anew: hours; ARGS='--steps 250 --output out' tries it
	@sh hil/tools/venv.sh train
	@mkdir -p out
	@OMP_WAIT_POLICY=PASSIVE $(PY) hil/tools/train_denoiser.py $(ARGS)

dist: ## build the last commit: wheel, sdist, bill of materials, checksums
	@sh hil/tools/venv.sh dev
	@$(PY) hil/tools/dist.py

lock: ## choose new versions for requirements.lock, with uv in a temporary environment
	@sh hil/tools/lock.sh

clean: ## remove .venv, out/ and the caches of tools
	rm -rf .venv out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find firmware host protocol hil tests -name __pycache__ -type d -prune -exec rm -rf {} +
