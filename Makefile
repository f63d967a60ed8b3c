# Every target makes .venv first (make_venv.sh), which costs a moment when it is there. Options for a recipe go in ARGS.
# STACK=tf1 is TensorFlow 1.15 on Python 3.7, STACK=tf2 TensorFlow 2 on a current one; without it, the former where there
# is a Python 3.7. PYTHON=/path/to/python names one; CUDA=0 leaves NVIDIA's libraries out.

.DEFAULT_GOAL := help
.PHONY: help concepts mnist cifar10 style fast-style dream features transfer report studio test test-fast fuzz lint \
  docs-pictures venv clean-venv clean-output clean-features
# .venv's Python is to find the packages of .venv alone
unexport PYTHONHOME PYTHONPATH
export STACK PYTHON CUDA
# other letters than ASCII's in a path, in the C locale
export PYTHONUTF8 := 1

# What a recipe is can be said without an environment: make ARGS=--help mnist
describe := $(if $(filter -h --help,$(ARGS)),$(if $(wildcard .venv/bin/python),,yes))
environment := $(if $(describe),,venv)
run := $(if $(describe),@sh ./make_venv.sh --describe,.venv/bin/python)

help:  ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1|/p' Makefile | awk -F '|' '{ printf "%-23s %s\n", $$1, $$2 }'
	@echo
	@echo 'ARGS passes options on:  make ARGS="--steps 50" mnist'
	@echo 'DATA names photographs:  make DATA=my/photographs transfer'
	@echo 'STACK chooses:           make STACK=tf1 mnist (TensorFlow 1.15), make STACK=tf2 mnist (TensorFlow 2)'
	@echo 'All options of a recipe: make ARGS=--help mnist'

concepts: $(environment)  ## compute, check and draw the ideas behind convolutional networks
	$(run) recipes/concepts.py $(ARGS)

mnist: $(environment)  ## learn handwritten digits with a convolutional network
	$(run) recipes/mnist_convnet.py $(ARGS)

cifar10: $(environment)  ## tell ten kinds of photographs apart, with tflearn
	$(run) recipes/cifar10_tflearn.py $(ARGS)

style: $(environment)  ## paint a photograph in the style of a painting
	$(run) recipes/style_transfer.py $(ARGS)

fast-style: $(environment)  ## paint a photograph in a second, in one of 26 styles or any painting's
	$(run) recipes/fast_style_transfer.py $(ARGS)

dream: $(environment)  ## show what a network sees in a photograph (DeepDream)
	$(run) recipes/deepdream.py $(ARGS)

features: $(environment)  ## show what channels, layers and classes of a network respond to
	$(run) recipes/feature_visualization.py $(ARGS)

transfer: $(environment)  ## classify photographs of your own kinds with a pre-trained VGG-16
	$(run) recipes/vgg16_transfer.py $(if $(DATA),--data-dir "$(DATA)") $(ARGS)

report: venv  ## write the page of every run in output/ anew, and the list of all runs
	.venv/bin/python recipes/report.py $(ARGS)

studio: venv-studio  ## start recipes, watch them and look at their runs in a browser
	.venv/bin/python recipes/studio.py $(ARGS)

# three at once, also on two processors: tests wait for programs, browsers, disks
test: venv-dev  ## run the tests
	.venv/bin/python -m pytest -n 3 --dist loadfile $(ARGS)

test-fast: venv-dev  ## run the tests that take less than two seconds each
	.venv/bin/python -m pytest -n 3 --dist loadfile -m "not slow" $(ARGS)

fuzz: venv-dev  ## try thousands of bad inputs (ARGS="kills": kills and resumptions) on tiny runs
	.venv/bin/python -W ignore tests/fuzz.py --count 3000 $(ARGS)

lint: venv-dev  ## check the style of the code, and the types of what builds no graph
	.venv/bin/python -m ruff check
	.venv/bin/python -m mypy

docs-pictures: venv  ## make the pictures of docs/ anew, from docs/samples/ and the runs in output/
	.venv/bin/python docs/make_pictures.py $(ARGS)

venv:  ## make .venv: a Python with TensorFlow and what else the recipes need
	@sh ./make_venv.sh

venv-dev:
	@sh ./make_venv.sh --dev

venv-studio:
	@sh ./make_venv.sh --studio

clean-venv:  ## remove .venv, of both stacks
	rm -rf .venv .venv-tf1 .venv-tf2 .uv

clean-output: venv  ## remove the checkpoints of finished runs, but for their best weights
	PYTHONPATH=recipes .venv/bin/python -m common.checkpoints output

clean-features:  ## remove what VGG-16 made of photographs (it can be computed again)
	rm -rf output/vgg16_transfer/features
