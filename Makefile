# `make demo` and `make test` are all a newcomer needs; each makes .venv first if there is none.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
BUNDLE := build/bundle-arm64
# Small enough for 2 cores and 10 minutes, installing aside.
MODEL_FLAGS := --image_size=128 --depth=0.35
SF_STEPS ?= 900
# Where the backbone starts: ImageNet weights as keras.applications downloads them, or a .npz or .keras file.
BACKBONE ?= imagenet

.PHONY: setup demo native bundle test test-fast lint format clean

setup: $(VENV)/installed

$(VENV)/installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

# Train the single-frame network; score it on every frame, on every fourth, and as Patchwork; export, time and show both.
demo: $(VENV)/installed
	@mkdir -p $(DEMO)
	$(BIN)/patchwork-train --system=vid-sf $(MODEL_FLAGS) --model_dir=$(DEMO)/sf \
	    --steps=$(SF_STEPS) --batch_size=32 --backbone_weights=$(BACKBONE) || { \
	  echo "No backbone weights: training from scratch, which learns little in so few steps."; \
	  $(BIN)/patchwork-train --system=vid-sf $(MODEL_FLAGS) --model_dir=$(DEMO)/sf \
	    --steps=$(SF_STEPS) --batch_size=32; }
	$(BIN)/patchwork-evaluate --system=vid-sf,vid-sf-int4,vid-pw-m4n2 --checkpoint=$(DEMO)/sf \
	    --num_videos=20 --video_frames=24 --json=$(DEMO)/scores.json
	$(BIN)/patchwork-export --system=vid-sf --checkpoint=$(DEMO)/sf --output=$(DEMO)/sf.tflite
	$(BIN)/patchwork-export --system=vid-pw-m4n2 --checkpoint=$(DEMO)/sf --output=$(DEMO)/pw.tflite
	$(BIN)/patchwork-benchmark --target=host --systems=vid-sf,vid-pw-m4n2 --depth=0.35 --image_size=384 \
	    --steps=200 --json=$(DEMO)/latency.json
	$(BIN)/patchwork-demo --system=vid-pw-m4n2 --checkpoint=$(DEMO)/sf --video=moving_objects:7 --min_score=0.2 \
	    --output=$(DEMO)/annotated.mp4
	@echo "Open $(DEMO)/annotated.mp4: boxes, the attended window, and the rest, darker the longer ago it was looked at."

# The native runner needs a C compiler and nothing else; docs/native.md describes it.
native: build/native/patchwork_runner

build/native/patchwork_runner: $(wildcard benchmarks/runner/*.[ch])
	@mkdir -p $(@D)
	$(CC) -std=c11 -O2 -Wall -Wextra -o $@.part $(filter %.c,$^) -ldl
	mv $@.part $@

# The same for arm64 Linux and Android, with all that it needs there; by apt-get install gcc-aarch64-linux-gnu.
bundle: $(VENV)/installed
	$(BIN)/python -m patchwork_tf.benchmarks.native --bundle=$(BUNDLE)

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not slow'

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(DEMO) build *.egg-info
