# Each target first builds the environment it needs, from the pins in envs/.
SHELL := bash
PYTHON ?= python3
STUDY ?= .
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c envs/constraints.txt

TERMINAL := $(wildcard workflow/terminal/*.toml workflow/terminal/*/*.py)

.PHONY: summary plan ask report test test-all lint docs status pins clean
.DEFAULT_GOAL := summary

summary: .venv/workflow.done  ## results/summary.csv and its figures, from nothing
	@PYTHONPATH=workflow/scripts python -m frontier.jobs.unlock
	snakemake --cores 1 results/summary.csv
	snakemake --cores 1

plan: .venv/workflow.done  ## results/plan.csv and its figure: what the runs would need and take; none starts
	snakemake --cores 1 results/plan.csv results/figures/plan.png

ask: export CARD := $(CARD)
ask: export ROWS := $(ROWS)
ask: export HOURS := $(HOURS)
ask: .venv/workflow.done  ## what can be trained on a card, how long, at which rank: make ask CARD='12 GB' ROWS=3000 HOURS=8
	@PYTHONPATH=workflow/scripts python -m frontier.study.ask

report: .venv/workflow.done  ## results/report.html, the whole study on one page
	snakemake --cores 1 results/report.html

test: .venv/tests.done  ## the test suite, but for what takes a minute or more of its own
	pytest

test-all: .venv/tests.done  ## the whole test suite: a sweep through a real Slurm, and what else is slow, too
	pytest -m 'slow or not slow'

lint: .venv/tests.done  ## ruff, mypy and snakemake --lint
	ruff check .
	ruff format --check .
	mypy
	snakemake --lint

docs: .venv/workflow.done  ## what is written from the code: config/, workflow/schemas/, docs/records.md, the tree
	@PYTHONPATH=workflow/scripts python -m frontier.study.documentation
	@PYTHONPATH=workflow/scripts python -m frontier.results.records_page
	@python docs/make_tree.py

status: .venv/workflow.done  ## how far each run is, also while they go on: make status STUDY=studies/NAME
	@PYTHONPATH=workflow/scripts python -m frontier.results.status $(STUDY)

pins: .venv/tests.done  ## envs/constraints.txt, from the environment as it is
	@python -m pip freeze | grep -vE '^(torch|pip|setuptools)==|^snakemake-logger-plugin-frontier' | \
	  grep -vixFf <(grep -hv '^#' envs/workflow.txt envs/tests.txt envs/tests-alone.txt envs/slurm.txt envs/trackers.txt envs/shipping.txt) > envs/constraints.txt

clean:  ## delete results and what they were made from; the environment stays
	@du -sh results resources .snakemake 2>/dev/null | sed 's/^/freeing /' || true
	@find results -mindepth 1 ! -name README.md -delete 2>/dev/null || true
	@rm -rf resources .snakemake

.venv/created.done:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or later is needed; name it: make PYTHON=python3.12"; exit 1; }
	@command -v cc >/dev/null || { echo "error: a C compiler (cc) is needed: install gcc or clang"; exit 1; }
	@$(PYTHON) -c 'import os, sysconfig as s; os.stat(os.path.join(s.get_paths()["include"], "Python.h"))' 2>/dev/null || \
	  { echo "error: Python's headers are needed: install python3-dev"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/workflow.done: .venv/created.done envs/workflow.txt envs/cuda.txt envs/constraints.txt $(TERMINAL)
	$(INSTALL) -r envs/workflow.txt $$(command -v nvidia-smi >/dev/null && echo -r envs/cuda.txt)
	$(INSTALL) --no-deps ./workflow/terminal
	@touch $@

.venv/tests.done: .venv/workflow.done envs/tests.txt envs/tests-alone.txt envs/slurm.txt envs/trackers.txt envs/shipping.txt
	$(INSTALL) -r envs/tests.txt -r envs/slurm.txt -r envs/trackers.txt -r envs/shipping.txt
	$(INSTALL) --no-deps -r envs/tests-alone.txt
	@touch $@
