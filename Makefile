# Two commands matter: `make run` (the whole pipeline, ends with the report) and `make test`.
# Every stage of the pipeline is a target too: make neb RUN=runs/quick. CONFIG and RUN choose another run.
CONFIG ?= configs/quick.yaml
RUN    ?= runs/$(basename $(notdir $(CONFIG)))
PYTHON ?= python3
TORCH  ?= torch==2.13.0
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup setup-dft setup-browser run test wandb-sync docs tutorials wheel bench check format clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
	@printf '  make %-12s %s\n' STAGE 'one stage of RUN=$(RUN), as listed by: $(BIN)/mlip --help'

setup: $(VENV)/ready ## virtual environment with all that run, test and check need

# torch comes first: whatever needs it later then takes this build.
$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "make: $(PYTHON) is not Python 3.11 to 3.13; name one that is: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# GPAW is compiled here, against the libraries of these Debian packages (configs/hpc/gpaw.siteconfig).
DFT_PACKAGES := build-essential python3-dev libxc-dev libopenblas-dev libfftw3-dev libopenmpi-dev openmpi-bin \
  libscalapack-openmpi-dev
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

setup-dft: setup ## GPAW for labelling: system packages (Debian, Ubuntu), then GPAW with its PAW data
	@command -v apt-get > /dev/null || { \
	  echo "make: no apt-get here; install libxc, OpenBLAS, FFTW, OpenMPI and ScaLAPACK with headers, see docs/labelling.md"; exit 1; }
	@[ -z "$(SUDO)" ] || command -v sudo > /dev/null || { \
	  echo "make: neither root nor sudo; have these packages installed, see docs/labelling.md: $(DFT_PACKAGES)"; exit 1; }
	$(SUDO) apt-get update --quiet=2
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 $(DFT_PACKAGES)
	GPAW_CONFIG=$(CURDIR)/configs/hpc/gpaw.siteconfig \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dft]'
	$(BIN)/python -c 'from mlip.dft.engines import gpaw; gpaw.require(gpaw.PRESETS["gpaw-pbe-520"], ["Li", "Mg", "O", "Ti"])'

setup-browser: ## Chromium, for the tests of the report (Debian, Ubuntu); nothing where a browser is there
	@command -v chromium || command -v chromium-browser || command -v google-chrome || { \
	  command -v apt-get > /dev/null || { \
	    echo "make: no Chromium and no apt-get here; install Chromium or Google Chrome"; exit 1; } && \
	  $(SUDO) apt-get update --quiet=2 && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends chromium; }

run: setup ## train, relax, NEB, report: CONFIG=configs/quick.yaml RUN=runs/quick
	$(BIN)/mlip run $(CONFIG) $(RUN)

# Any other target is a stage. Where only RUN is named, an existing run keeps its config.
.DEFAULT:
	@$(MAKE) --no-print-directory setup
	$(if $(filter file/command,$(origin CONFIG)/$(firstword $(origin RUN))),@[ -f $(RUN)/config.yaml ] ||) $(BIN)/mlip init $(CONFIG) $(RUN)
	$(BIN)/mlip $@ $(RUN)

test: setup ## the test-suite, minutes on two cores
	$(BIN)/python -m pytest -n 2

wandb-sync: setup ## upload the records of Weights & Biases: RUN=runs/quick
	$(BIN)/mlip wandb-sync $(RUN)

docs: setup ## build the documentation site, docs/_build/html/index.html; a warning is an error
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(BIN)/python -m sphinx --quiet --fresh-env --fail-on-warning --builder html docs docs/_build/html

tutorials: setup ## run the code of the tutorials as it stands in their pages, minutes; PAGES="docs/tutorials/energies.md"
	$(BIN)/python scripts/run_tutorials.py $(PAGES)

wheel: setup ## build the wheel and try it in a fresh environment
	$(BIN)/python scripts/check_wheel.py --torch '$(TORCH)'

bench: setup ## ours and its peers side by side, into docs/benchmarks.md; ONLY="neb md" for some
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python scripts/bench.py $(if $(ONLY),--only $(ONLY))

check: setup ## linter, formatter, types, layers of the package, words and line lengths of texts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_words.py

format: setup ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove runs and the virtual environment
	rm -rf $(VENV) runs
