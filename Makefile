# `make train` and `make test` do everything, from a clean clone on; `make help` lists the rest.

PYTHON ?= python3
EXPERIMENT ?= tanh_linear

.DEFAULT_GOAL := help
.PHONY: help train test golden matrix power opinfo pythons compat oracles notebooks bench lint format types clean

help: ## this list
	@echo 'make TARGET [ARGS=...] [PYTHON=python3.12]; the environment .venv is made when a target first needs it'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' Makefile

train: .venv/installed ## prove the gradients, then train; EXPERIMENT=tanh_mlp for another, ARGS='seed=1' for other settings
	@.venv/bin/python train.py experiment=$(EXPERIMENT) $(ARGS)

test: .venv/installed-tools ## run the whole suite; ARGS='-k tanh' for a part of it
	@.venv/bin/python -m pytest -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder $(ARGS)

matrix: .venv/installed-tools ## what takes minutes: each table of `make test` in full, at every seed; every end of a run of two processes
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --maxprocesses=4 --dist=load -m 'matrix or not matrix' tests/test_checker.py tests/test_accumulation_kinds.py tests/test_torchrun.py \
	    tests/test_explanation_own_layers.py tests/test_experiments.py tests/test_networks_of_runs.py tests/test_own_layers.py tests/test_wrong_layers.py tests/test_torch_layers.py tests/test_from_torch.py \
	    tests/test_engines.py tests/test_repeated_forwards.py tests/test_verify.py tests/test_power.py tests/test_precision.py tests/test_row_noise.py $(ARGS)

power: .venv/installed-tools ## what takes half an hour: 800 trials of each stated probability; every module and fault in half precision
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 -m 'matrix or not matrix' tests/test_stated_power.py tests/test_half.py $(ARGS)

opinfo: .venv/installed-tools ## verify PyTorch's own operations and modules, which takes a quarter of an hour; ARGS=--write for docs/pytorch.md
	@OMP_NUM_THREADS=1 .venv/bin/python -m tests.opinfo $(ARGS)

pythons: ## the main job and the command line on every Python from 3.10 to 3.13 that is found; ARGS=lowest for one
	@$(usable_python) tests/pythons.py $(ARGS)

compat: ## the suite beside another torch: make compat TORCH=2.14.1 TORCHVISION=0.29.1, in an environment of its own
	@$(if $(and $(TORCH),$(TORCHVISION)),,$(error compat was given TORCH=$(TORCH) TORCHVISION=$(TORCHVISION); expected two releases \
	    that belong together: write make compat TORCH=2.14.1 TORCHVISION=0.29.1))
	@$(MAKE) --no-print-directory $(compat)/installed
	@OMP_NUM_THREADS=1 $(compat)/bin/python -m pytest -n 2 --dist=loadfile --no-loadscope-reorder $(ARGS)

golden: .venv/installed-tools ## what certificates, explanations and records say, held against the files that are kept; ARGS=--write to keep the new
	@OMP_NUM_THREADS=1 .venv/bin/python -m tests.golden $(ARGS)

oracles: .venv/installed-oracles ## install SymPy, TensorFlow and JAX, and hold the closed form against them
	@.venv/bin/python -m pytest tests/test_engines_cross.py tests/test_claims.py $(ARGS)

notebooks: .venv/installed-notebooks ## run each notebook in a clean kernel and hold its output against the one that is kept; ARGS=--write to keep the new
	@.venv/bin/python -m notebooks $(ARGS)

bench: .venv/installed-bench ## every claim of speed beside its peers; writes its table into the README; ARGS=steps for one group
	@.venv/bin/python -m benchmarks $(ARGS)

lint: .venv/installed-tools ## look for faults of style (ruff)
	@.venv/bin/python -m ruff check
	@.venv/bin/python -m ruff format --check

format: .venv/installed-tools ## mend what ruff can mend by itself
	@.venv/bin/python -m ruff check --fix
	@.venv/bin/python -m ruff format

types: .venv/installed-tools ## check the types of the package (mypy)
	@.venv/bin/python -m mypy nets

clean: ## remove .venv and what the tools leave behind; runs and data stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find nets tests -name __pycache__ -prune -exec rm -rf {} +

# .venv. Each stamp is written once its installation is complete, and is gone while one is under way: where the first is
# missing, the environment is new or an installation was cut short, and it is made afresh; where one is merely older than
# the lists of packages, pip brings the environment up to date.
pip = .venv/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt

.venv/installed: pyproject.toml constraints.txt
	$(if $(wildcard $@),,@rm -rf .venv && $(usable_python) -m venv .venv)
	@rm -f $@ && echo 'Installing nets into .venv (once; one to three minutes) ...'
	@$(pip) -e .
	@touch $@

.venv/installed-tools: .venv/installed
	@rm -f $< $@ && echo 'Installing the tools that test and check nets into .venv (once; about half a minute) ...'
	@$(pip) -e '.[test,dev]'
	@touch $< $@

.venv/installed-oracles: .venv/installed-tools
	@rm -f $@ && echo 'Installing SymPy, TensorFlow and JAX into .venv (once; one to three minutes) ...'
	@$(pip) -e '.[test,dev,oracles]'
	@touch $@

.venv/installed-notebooks: .venv/installed-oracles
	@rm -f $@ && echo 'Installing what runs notebooks into .venv (once; about half a minute) ...'
	@$(pip) -e '.[test,dev,oracles,notebooks]'
	@touch $@

.venv/installed-bench: .venv/installed-oracles
	@rm -f $@ && echo 'Installing Lightning, BackPACK and Opacus into .venv (once; about half a minute) ...'
	@$(pip) -e '.[test,dev,oracles,bench]'
	@touch $@

# An environment with another torch. What torch itself brings along is left to torch; the rest is as constraints.txt pins it.
compat = build/compat/torch-$(TORCH)

$(compat)/installed: pyproject.toml constraints.txt
	@rm -rf $(compat) && $(usable_python) -m venv $(compat)
	@echo 'Installing nets beside torch $(TORCH) into $(compat) (once; a CUDA build takes some minutes and 6 GB) ...'
	@grep -vE '^(torch|torchvision|triton|nvidia|cuda)[-=]' constraints.txt > $(compat)/constraints.txt
	@$(compat)/bin/python -m pip install -qq --disable-pip-version-check -c $(compat)/constraints.txt \
	    torch==$(TORCH) torchvision==$(TORCHVISION) -e '.[test]'
	@touch $@

# Looked into only where .venv is to be made.
version = $(shell $(PYTHON) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)
ensurepip = $(shell $(PYTHON) -c 'import ensurepip, venv; print("there")' 2>/dev/null)
usable_python = $(PYTHON)$(if $(filter 3.10.% 3.11.% 3.12.% 3.13.%,$(version)),,$(error $(wrong_version)))$(if \
    $(ensurepip),,$(error $(no_ensurepip)))
wrong_version = $(PYTHON) is $(if $(version),Python $(version),not to be found); nets needs Python 3.10 to 3.13: \
    name one, as in `make $(firstword $(MAKECMDGOALS)) PYTHON=python3.12`
no_ensurepip = $(PYTHON) comes without ensurepip, which .venv is made with: install it (python3-venv on Debian and Ubuntu)
