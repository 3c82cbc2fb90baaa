# Each target makes the environment that it needs. `make help` lists the targets.
# PYTHON=python3.12 selects another interpreter. UV_TORCH_BACKEND=cpu installs torch without CUDA.
PYTHON ?= python3
export PYTHON

PY := .venv/bin/python
PYTEST := $(PY) -m pytest

.PHONY: help env demo test test-slow coverage test-scatter test-oldest lint docs examples bench gpu names clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

env:  ## make .venv unless it is up to date
	@.ci/env .venv train,plot,vision,hub,export,numba dev

demo: env  ## train on simulated occluded hands and print Table 2 of the paper (minutes)
	$(PY) examples/occlusion_benchmark.py --preset quick --out runs/demo
	@echo "The pictures are in runs/demo:"; ls runs/demo/*.png

test test-slow coverage test-scatter test-oldest: export OMP_NUM_THREADS = 1
test: env  ## run the tests
	$(PYTEST) -n 2 --dist loadfile

test-slow: env  ## run the slow tests
	$(PYTEST) -m slow -n 2 --dist loadfile

coverage: env  ## run the tests with coverage, which takes up to twice as long
	$(PYTEST) -n 2 --dist loadfile --cov=handgraph --cov-report=term --cov-fail-under=90

test-scatter:  ## run the mergers with torch-scatter, in .venv-scatter
	@.ci/env .venv-scatter plot,train test
	@.ci/scatter .venv-scatter
	HANDGRAPH_REQUIRE_SCATTER=1 .venv-scatter/bin/python -m pytest tests/nn/test_mergers.py tests/test_scatter_extra.py

# examples and benchmarks are run with the newest versions only
test-oldest:  ## run the tests with the oldest supported versions, in .venv-oldest
	@UV_RESOLUTION=lowest-direct .ci/env .venv-oldest vision,train,plot,hub,export,numba test
	.venv-oldest/bin/python -m pytest -n 2 --dist loadfile \
	    --ignore tests/examples --ignore tests/benchmarks

lint: env  ## run ruff and mypy, as the pre-commit hooks do
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

docs: env  ## build the documentation into docs/_build/html
	$(PY) -m sphinx -W --keep-going -b html docs docs/_build/html

examples: env  ## run the examples and draw the pictures of the docs, with small settings
	$(PY) examples/quickstart.py --samples 500 --epochs 1
	$(PY) examples/occlusion_benchmark.py --preset smoke --out runs/smoke
	$(PY) examples/body.py --samples 300 --epochs 1 --seeds 1
	$(PY) examples/uncertainty.py --samples 500 --epochs 1 --seeds 1 --picture runs/calibration.png
	$(PY) docs/gallery.py --samples 60 --epochs 1 --out runs/gallery
	$(PY) docs/contact_sheet.py --rows 1 --columns 3 --size 64 --out runs/hands.png
	rm -rf runs/psjnet
	$(PY) examples/train.py --samples 32 --image-size 64 --backbone hrnet_w18_small --encoder-channels 8 --epochs 1 1 1 1 --batch-size 8 --validate 16 --device cpu --out runs/psjnet
	$(PY) examples/evaluate.py runs/psjnet --samples 32 --out runs/psjnet/table2
	$(PY) examples/predict.py --run runs/psjnet --out runs/predictions docs/pictures/rendered_hands.png
	$(PY) examples/train_lifter.py --samples 512 --epochs 1 --seeds 1 --out runs/keypoint_lifter
	$(PY) examples/photo.py --out runs/photo
	$(PY) examples/export.py --formats onnx --out runs/export

bench: env  ## run the quick benchmarks (minutes)
	$(PY) -m benchmarks.core --quick --out runs/bench/core.json
	$(PY) -m benchmarks.scaling --quick --out runs/bench/scaling.json --picture runs/bench/scaling.png
	$(PY) -m benchmarks.data --quick --out runs/bench/data.json
	$(PY) -m benchmarks.report runs/bench runs/bench/benchmarks.md

gpu: env  ## run the tests and benchmarks that need a GPU; JSON in runs/gpu
	$(PY) -m benchmarks.gpu --out runs/gpu

names: env  ## rewrite tests/public_names.txt after adding or removing a public name
	$(PY) tests/public_names.py > tests/public_names.txt

clean:  ## remove all files that the other targets make
	rm -rf .venv .venv-scatter .venv-oldest .cache runs docs/_build docs/api/generated
