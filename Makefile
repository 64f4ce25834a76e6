# make book    builds the book          make test    runs every check
#
# Both need only make and Python 3.10 or newer. They make .venv themselves, once.
# `make PYTHON=/path/to/python3` chooses the interpreter; `make help` lists the parts.

PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python
PAGES := _build/html/index.html
# Notebooks run for the book: sliders become plain HTML, and nothing draws a progress bar.
FOR_THE_BOOK := UNIGEN_BOOK=1 TQDM_DISABLE=1 PYTHONHASHSEED=0
# Two workers with one thread each are faster on two cores than each worker with all of them.
PARALLEL := OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2

.PHONY: help book test lint types unit notebooks exercises equations site-test serve pdf release \
	readers learning longer-runs address cover environment clean

help:  ## list what make can do
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' Makefile

book: environment equations  ## build the book; prints where it is
	$(FOR_THE_BOOK) $(BIN)/jupyter-book build . -W -n --keep-going
	@echo "The book: $(CURDIR)/$(PAGES)"

test: lint types unit notebooks site-test  ## run every check, the fast ones first

lint: environment  ## style, notebooks included
	$(RUN) -m ruff check .

types: environment  ## static types
	$(RUN) -m mypy

unit: environment  ## package, equations, exercises and the form of the notebooks
	$(PARALLEL) --dist worksteal tests --ignore=tests/site

notebooks: environment  ## run every notebook; compare the outputs that are marked for it
	$(FOR_THE_BOOK) $(PARALLEL) --dist loadfile --nbval-lax --nbval-current-env \
		--nbval-cell-timeout 600 book/*.ipynb exercises/*/student/*.ipynb

exercises: environment  ## make the students' notebooks and the autograders from the sources
	$(RUN) -m unigen_edu.exercises

equations: build/equations.json  ## measure every equation for the equation index

build/equations.json: $(shell find unigen_edu tests/equations -name '*.py' -o -name '*.toml') \
		| environment
	$(RUN) -m pytest -q tests/equations -m equation

site-test: book  ## open every page of the built book in headless Chromium
	rm -rf build/screenshots
	$(PARALLEL) tests/site

serve: book  ## build the book and serve it on http://localhost:8000
	$(RUN) -m http.server 8000 --bind localhost --directory _build/html

pdf: book  ## print the whole book into one PDF, in _build/
	$(FOR_THE_BOOK) $(RUN) tools/pdf.py

release: pdf  ## the site as an archive that works from a folder, and the PDF, in build/release/
	rm -rf build/release && mkdir -p build/release
	cp _build/*.pdf build/release/
	$(RUN) -c "import shutil; shutil.make_archive('build/release/unigen-book', 'zip', '_build', 'html')"

readers: environment  ## run every notebook as in Colab, and as on Binder (half an hour)
	$(RUN) tools/readers.py colab
	$(RUN) tools/readers.py binder

learning: environment  ## train every model with three seeds, and its broken versions (an hour)
	OMP_NUM_THREADS=1 $(RUN) -m tests.learning.record $(CHECKS)

longer-runs: environment  ## run chapters longer and keep what they show (SCALE=laptop or full, CHAPTERS="07_lemma1")
	$(RUN) tools/longer_runs.py --scale $(or $(SCALE),full) $(CHAPTERS)

address: environment  ## make address URL=https://github.com/you/your-fork
	$(RUN) tools/address.py $(URL)

cover: book  ## take the picture of the book in the README anew
	$(RUN) tools/cover.py

environment:
	@$(PYTHON) tools/environment.py

clean:  ## remove everything that was built, but not .venv
	rm -rf _build build unigen_edu.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
