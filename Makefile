# Needs make and python3 (3.11 or newer) with venv. Everything is installed into .venv, nothing elsewhere.
PYTHON ?= python3
ARGS   ?=
OUT    ?= runs/gpu-check
MINUTES ?= 10

help:                ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## */  make \1\t/p' Makefile | expand -t 20
	@echo "  ARGS='...' adds options to quickstart, test, bench, torture and gpu-check; PYTHON=python3.12 is another Python"
	@echo "  gpu-check installs nothing: it takes a Python that has NumPy, CuPy and PyTorch; OUT=dir, PARTS=check,bench"

quickstart: .venv/made-run   ## a question classifier on the shipped model: two minutes on two free cores
	@.venv/bin/ulmfit quickstart $(ARGS)

test: .venv/made-dev         ## the whole test suite
	@.venv/bin/python -m pytest -q $(ARGS)

lint: .venv/made-dev         ## ruff
	@.venv/bin/ruff check .

bench: .venv/made-dev        ## the CPU benchmarks and their tables, in ten minutes; with torch where it is installed
	@for name in lstm lm_step gates; do .venv/bin/python benchmarks/bench_$$name.py $(ARGS) || exit 1; done
	@.venv/bin/python benchmarks/report.py

torture: .venv/made-dev      ## kills, damage, full disks and bad files by the hundred; ten to twenty minutes, ARGS=--short a minute
	@.venv/bin/python tests/torture/run.py $(ARGS)
	@$(if $(findstring --short,$(ARGS)),:,.venv/bin/python benchmarks/report.py)

fuzz: .venv/made-dev         ## every parser against a fuzzer; TARGET='table config' for some, MINUTES=10 for each
	@.venv/bin/python -c 'import atheris' 2>/dev/null || .venv/bin/python -m pip install --quiet atheris
	@.venv/bin/python tests/fuzz/run.py --minutes $(MINUTES) $(TARGET)

gpu-check:           ## checks and measures the kernels on a GPU, in eight minutes; partial results stay
	@$(PYTHON) benchmarks/gpu_check.py --out "$(OUT)" $(if $(PARTS),--parts $(PARTS)) $(ARGS)

clean:               ## remove caches and build folders; .venv and runs stay
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find minilstm kernels ulmfit tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# The two stamps are written last, when all they stand for is installed, and say for which folder. Without made-run,
# .venv was left half made, or copied from elsewhere, and is made anew; where pyproject.toml is newer than a stamp,
# the installation is brought up to date. What serves for development also serves for running.
.venv/made-run: EXTRAS = numba,plot,sklearn
.venv/made-run: STAMPS = .venv/made-run
.venv/made-dev: EXTRAS = dev
.venv/made-dev: STAMPS = .venv/made-dev .venv/made-run
.venv/made-run .venv/made-dev: pyproject.toml
	@if [ "$$(cat .venv/made-run 2>/dev/null)" != "$(CURDIR)" ]; then \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	    { echo "minilstm needs Python 3.11 or newer, and '$(PYTHON)' is not: name one with make PYTHON=python3.12" >&2; exit 1; }; \
	  $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	    { echo "'$(PYTHON)' lacks the venv module: install it, for instance with apt install python3-venv" >&2; exit 1; }; \
	  rm -rf .venv && $(PYTHON) -m venv .venv || exit 1; \
	fi
	@rm -f .venv/made-*
	@echo "Installing minilstm[$(EXTRAS)] into .venv (the first time this takes a minute or two)" >&2
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@echo "$(CURDIR)" | tee $(STAMPS) >/dev/null

.PHONY: help quickstart test lint bench torture fuzz gpu-check clean
ifneq "$(shell cat .venv/made-run 2>/dev/null)" "$(CURDIR)"
.PHONY: .venv/made-run .venv/made-dev
endif
