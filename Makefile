# Each target sets itself up in .venv; Python 3.10 or newer is all that a machine needs.
PYTHON ?= python3
BIN := .venv/bin
SMOKE := DCGAN_SMOKE=1 WANDB_MODE=offline $(BIN)/python -m pytest --nbval-lax --nbval-cell-timeout=300
TWO_CORES := $(filter 2,$(shell getconf _NPROCESSORS_ONLN))  # as the notebooks' first cell does
COMMAND := PYTHONPATH=.:notebooks:$$PYTHONPATH $(BIN)/python -m lab.commands
# of some variables, NAME='value' of each that was given, as it was typed, for the shell
quoted = '$(subst ','\'',$(value $(1)))'
given = $(foreach name,$(1),$(if $(filter undefined,$(origin $(name))),,$(name)=$(call quoted,$(name))))
# folders are looked for where the command was given; the notebooks run in theirs
$(foreach name,DCGAN_DATA_DIR KERAS_HOME,$(if $(filter-out /% ~%,$(firstword $(value $(name)))), \
	$(eval override $(name) := $$(CURDIR)/$$(value $(name)))))
export TF_CPP_MIN_LOG_LEVEL ?= 3
export TF_FORCE_GPU_ALLOW_GROWTH ?= true

.PHONY: train test test-long test-browser versions notebooks notebook handout explorer gallery bench quality measuring-net stamp

# make train DATASET="my images" EPOCHS=25 BATCH_SIZE=32 RUN=my-run
train: .venv/ready
	@trap : INT; $(COMMAND) train $(call given,DATASET RUN RECIPE CONDITIONAL EPOCHS BATCH_SIZE) || [ $$? = 130 ]  # 130: by Ctrl-C

# the notebooks run as copies in which every exercise is checked twice: as it stands, and solved
test: .venv/ready
	@$(BIN)/python -m pytest -n 2 --dist worksteal tests
	@$(BIN)/python tests/tools/exercises.py
	@$(SMOKE) -n 2 --dist loadfile $$(ls -r .solved/*.ipynb)  # the longest one first

# what takes long and is a promise all the same: kills at random, several workers, Colab's two machines, faulty servers
test-long: .venv/ready
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m long tests
	@$(BIN)/python tests/tools/exercises.py long
	@$(SMOKE) .solved

# notebooks 00 to 04 as a learner runs them, in JupyterLab; CHROMIUM=path names the browser if it is not found
test-browser: .venv/browser-ready
	@$(BIN)/python -m pytest -rP tests/browser

# the tests with the oldest, Colab's and the newest TensorFlow and Keras, into tests/tested_versions.md; half an hour, 7 GB
versions: .venv/ready
	@$(BIN)/python tests/tools/versions.py $(PAIRS)

# make notebooks, or some of them: make notebooks NOTEBOOKS=notebooks/02_generator.ipynb
notebooks: .venv/ready
	@$(BIN)/python tests/tools/notebooks.py $(NOTEBOOKS)

# one notebook after a change: lint, a run in smoke mode with its exercises, the run on full data, form and outputs
NOTEBOOK = $(or $(wildcard notebooks/$(NB)_*.ipynb),$(error say which notebook: make notebook NB=04))
notebook: .venv/ready
	@$(BIN)/ruff check $(NOTEBOOK)
	@$(BIN)/python tests/tools/exercises.py
	@$(SMOKE) -q .solved/$(notdir $(NOTEBOOK))
	@$(BIN)/python tests/tools/notebooks.py $(NOTEBOOK)
	@$(BIN)/python -m pytest -q tests/test_notebooks.py tests/test_exercises.py tests/test_verdicts.py

# the notebooks without their solutions, for a class
handout: .venv/ready
	@$(BIN)/jupyter nbconvert --log-level=WARN --to notebook --output-dir=outputs/handout \
		--NotebookExporter.preprocessors='["nbgrader.preprocessors.ClearSolutions"]' \
		--ClearSolutions.enforce_metadata=False --ClearSolutions.text_stub= notebooks/*.ipynb
	@echo "outputs/handout: $$(ls outputs/handout | wc -l) notebooks without solutions"

# make explorer RUN=my-run: a page that draws with a run's generator in the browser
explorer: .venv/ready
	@$(COMMAND) explorer $(call given,DATASET RUN)

# speed, floating-point rate and time to quality; make bench LONG=1 trains the tutorial's nets for 50 epochs, not 20
bench: .venv/ready
	@TF_ENABLE_ONEDNN_OPTS=1 $(if $(TWO_CORES),TF_NUM_INTRAOP_THREADS=1) $(COMMAND) bench $(if $(LONG),long)

# the default run beside the TensorFlow tutorial's nets, three seeds, into outputs/quality.csv
quality: .venv/ready
	@$(COMMAND) quality

# samples of finished runs and their settings, on one page; make gallery RUNS="my-run another" for runs of your own
gallery: .venv/ready
	@$(COMMAND) gallery $(call given,RUNS)

# make measuring-net DATASET=path: what to measure with on labelled images of your own
measuring-net: .venv/ready
	@$(COMMAND) measuring_net $(call given,DATASET SHIP)

# make stamp REPOSITORY=owner/name: where the course is published, into badges and first cells
stamp: .venv/ready
	@$(BIN)/python tests/tools/stamp.py $(if $(REPOSITORY),$(call quoted,REPOSITORY))

.venv/ready: requirements.txt tests/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, this is " + sys.version)'
	@echo "Setting up .venv: TensorFlow and the rest, 2 GB, some minutes the first time ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet -r requirements.txt -r tests/requirements.txt
	@touch $@

.venv/browser-ready: .venv/ready tests/browser/requirements.txt
	@$(BIN)/python -m pip install --quiet -r tests/browser/requirements.txt
	@$(BIN)/python tests/tools/chromium.py
	@touch $@
