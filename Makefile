# `make demo` and `make test` are all a newcomer needs; each makes .venv first if there is none.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
BUNDLE := build/bundle-arm64
VIDEO ?= docs/photos.mp4
DEMO_SYSTEMS := oid-sf oid-sf-int4 oid-pw-m4n2 voc-sf voc-sf-int4 voc-pw-m4n2
comma := ,
space := $(subst ,, )
# Of `make train-demo`; small enough for 2 cores and 10 minutes.
MODEL_FLAGS := --image_size=128 --depth=0.35
SF_STEPS ?= 900
# Where the backbone starts: ImageNet weights as keras.applications downloads them, or a .npz or .keras file.
BACKBONE ?= imagenet
# The npm package that the Open Images detector comes in, and where in it.
OBJECTRON := https://registry.npmjs.org/@mediapipe/objectron/-/objectron-0.4.1675468480.tgz
OID := build/oid
OID_FILE := $(OID)/object_detection_ssd_mobilenetv2_oidv4_fp16.tflite

.PHONY: setup demo train-demo pretrained-oid smoke web native bundle test test-fast lint format clean

setup: $(VENV)/installed

$(VENV)/installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable .
	touch $@

# What tests and lint need on top.
$(VENV)/tests: $(VENV)/installed
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

# The shipped detector on a clip, or on yours (VIDEO=clip.mp4): on every frame, on every fourth, and as Patchwork.
demo: $(VENV)/installed
	@mkdir -p $(DEMO)
	@for system in $(DEMO_SYSTEMS); do \
	  $(BIN)/patchwork-export --system=$$system --checkpoint=$$system --output=$(DEMO)/$$system.tflite \
	      --verify_steps=10 || exit 1; \
	done
	@if [ "$(VIDEO)" = docs/photos.mp4 ]; then \
	  echo "$(VIDEO) is made up: things cut out of photographs move over another. Yours: make demo VIDEO=clip.mp4"; fi
	$(BIN)/patchwork-demo --tflite=$(subst $(space),$(comma),$(patsubst %,$(DEMO)/%.tflite,$(DEMO_SYSTEMS))) \
	    --video=$(VIDEO) --output=$(DEMO)/annotated.mp4 --json=$(DEMO)/answers.json
	@echo "Open $(DEMO)/annotated.mp4: boxes, masks, the attended window, and the rest, darker the longer ago it was looked at."

# Train a small single-frame network on generated scenes; score it on every frame, on every fourth, and as Patchwork.
train-demo: $(VENV)/installed
	@mkdir -p $(DEMO)
	$(BIN)/patchwork-train --system=vid-sf $(MODEL_FLAGS) --model_dir=$(DEMO)/sf \
	    --steps=$(SF_STEPS) --batch_size=32 --backbone_weights=$(BACKBONE) || { \
	  echo "No backbone weights: training from scratch, which learns little in so few steps."; \
	  $(BIN)/patchwork-train --system=vid-sf $(MODEL_FLAGS) --model_dir=$(DEMO)/sf \
	    --steps=$(SF_STEPS) --batch_size=32; }
	$(BIN)/patchwork-evaluate --system=vid-sf,vid-sf-int4,vid-pw-m4n2 --checkpoint=$(DEMO)/sf \
	    --num_videos=20 --max_frames=24 --json=$(DEMO)/scores.json
	$(BIN)/patchwork-demo --system=vid-sf,vid-sf-int4,vid-pw-m4n2 --checkpoint=$(DEMO)/sf --video=moving_objects:7 \
	    --min_score=0.2 --output=$(DEMO)/trained.mp4

# The shipped weights of the Open Images detector once more, from where they were published.
pretrained-oid: $(VENV)/installed
	@mkdir -p $(OID)
	curl --fail --silent --show-error --location $(OBJECTRON) \
	    | tar xzO package/objectron_solution_packed_assets.data > $(OID)/assets
	head -c 184 $(OID)/assets > $(OID)/labels.txt
	tail -c +185 $(OID)/assets | head -c 9987728 > $(OID_FILE)
	$(BIN)/python results/oid_weights.py --tflite=$(OID_FILE) --labels=$(OID)/labels.txt \
	    --output=patchwork_tf/pretrained/oid.npz

# Both recipes on tiny data: from raw files to the tables of the paper. What they give means nothing.
smoke: $(VENV)/installed
	@for table in 4 5; do \
	  $(BIN)/patchwork-recipe --recipe=recipes/table$$table.yaml --output_dir=build/smoke$$table --smoke --jobs=2 || exit 1; \
	done

# The page that runs and measures systems in a browser: static files, for any host. patchwork-web serves them here.
web: $(VENV)/installed
	$(BIN)/patchwork-web --build_only

# The native runner needs a C compiler and nothing else; docs/measure.md describes it.
native: build/native/patchwork_runner

RUNNER := $(wildcard benchmarks/runner/*.[ch]) $(foreach name,context litert model,$(wildcard runtime/c/$(name).[ch]))

build/native/patchwork_runner: $(RUNNER) runtime/c/fail.h
	@mkdir -p $(@D)
	$(CC) -std=c11 -O2 -Wall -Wextra -Iruntime/c -o $@.part $(filter %.c,$^) -ldl
	mv $@.part $@

# The same for arm64 Linux and Android, with all that it needs there; by apt-get install gcc-aarch64-linux-gnu.
bundle: $(VENV)/installed
	$(BIN)/python -m patchwork_tf.benchmarks.native --bundle=$(BUNDLE)

test: $(VENV)/tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

test-fast: TESTS := -m 'not slow'
test-fast: test

lint: $(VENV)/tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/tests
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(DEMO) build *.egg-info
