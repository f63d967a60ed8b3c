# Every target makes .venv first (make_venv.sh), which costs a moment when it is there. Options for a recipe go in ARGS.

.DEFAULT_GOAL := help
.PHONY: help mnist cifar10 style dream transfer test lint docs-pictures venv clean-venv clean-features
# .venv's Python is to find the packages of .venv alone
unexport PYTHONHOME PYTHONPATH

help:  ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1|/p' Makefile | awk -F '|' '{ printf "%-23s %s\n", $$1, $$2 }'
	@echo
	@echo 'ARGS passes options on:  make ARGS="--steps 50" mnist'
	@echo 'DATA names photographs:  make DATA=my/photographs transfer'
	@echo 'All options of a recipe: make ARGS=--help mnist'

mnist: venv  ## learn handwritten digits with a convolutional network
	.venv/bin/python recipes/mnist_convnet.py $(ARGS)

cifar10: venv  ## tell ten kinds of photographs apart, with tflearn
	.venv/bin/python recipes/cifar10_tflearn.py $(ARGS)

style: venv  ## paint a photograph in the style of a painting
	.venv/bin/python recipes/style_transfer.py $(ARGS)

dream: venv  ## show what a network sees in a photograph (DeepDream)
	.venv/bin/python recipes/deepdream.py $(ARGS)

transfer: venv  ## classify photographs of your own kinds with a pre-trained VGG-16
	.venv/bin/python recipes/vgg16_transfer.py $(if $(DATA),--data-dir "$(DATA)") $(ARGS)

test:  ## run the tests
	@./make_venv.sh --dev
	.venv/bin/python -m pytest $(ARGS)

lint:  ## check the style of the code
	@./make_venv.sh --dev
	.venv/bin/python -m flake8

docs-pictures: venv  ## make the pictures of docs/ anew, from docs/samples/ and the runs in output/
	.venv/bin/python docs/make_pictures.py $(ARGS)

venv:  ## make .venv: Python 3.7 and the packages of requirements.txt
	@./make_venv.sh

clean-venv:  ## remove .venv
	rm -rf .venv .uv

clean-features:  ## remove what VGG-16 made of photographs (it can be computed again)
	rm -rf output/vgg16_transfer/features
