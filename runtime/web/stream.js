// An exported file in LiteRT.js, and streams of frames through it. Policy, suppression and memory are in the file: a
// stream feeds frames and hands every state back. Runs in a worker.

import { Resizing } from "./resizing.js";
import { readMetadata } from "./metadata.js";
import { Tensor, getGlobalLiteRt, loadAndCompile } from "./vendor/index.js";

/** An exported file, compiled. */
export class Model {
  /**
   * @param {Uint8Array} bytes the file
   * @param {number} threads of inference
   * @throws {Error} one line, if it is no file that runs here
   */
  static async open(bytes, threads) {
    const facts = readMetadata(bytes);
    const begun = performance.now();
    let compiled;
    try {
      compiled = await loadAndCompile(bytes, { accelerator: "wasm", cpuOptions: { numThreads: threads } });
    } catch (error) {
      throw new Error(`LiteRT cannot load this file (${String(error.message ?? error).split("\n")[0]}).`);
    }
    return new Model(facts, compiled, performance.now() - begun);
  }

  constructor(facts, compiled, loadMs) {
    this.facts = facts;
    this.compiled = compiled;
    this.loadMs = loadMs;
    const [height, width] = facts.input.image_size;
    this.size = { height, width };
    this.states = facts.states.map((state) => state.name);
    this.inputs = new Set(compiled.signatures.step.getInputDetails().map((input) => input.name));
  }
}

/**
 * What a model has seen of one video. It starts with a "whole" frame, at 1.1 to 1.2 times the cost of the single-frame
 * network; or with a "sweep": no frame costs more than a window, the first ones look through windows that cover the frame.
 */
export class Stream {
  start = "whole";

  /** @param {Model} model */
  constructor(model) {
    this.model = model;
    this.frame = new Tensor(new Float32Array(model.size.height * model.size.width * 3), [
      1, model.size.height, model.size.width, 3,
    ]);
    this.memory = {};
    this.reset();
  }

  /** Forgets everything: the next frame is the first of a video. */
  reset(start = this.start) {
    for (const state of Object.values(this.memory)) state.delete();
    this.memory = {};
    this.number = 0;
    this.window = [0, 0];
    this.resizing = null;
    this.start = start;
    this.sweep = start === "sweep" && this.model.states.length ? raster(this.model.facts.grid) : [];
  }

  delete() {
    this.reset();
    this.frame.delete();
  }

  /**
   * Looks at one frame.
   * @param {Frame} frame
   * @param {?number[]} window row and column to look through, after the start; by default what the file chose
   * @returns {Promise<object>} boxes [{box, score, label}] or mask, its classes if the file tells several apart, and the
   *   place of the frame in them; window (null: the whole frame, or none), kind as in docs/measure.md, and milliseconds of
   *   scaling (prepareMs) and inference (runMs)
   */
  async push(frame, window = this.window) {
    this.#begin(frame);
    const { interval } = this.model.facts.stream, number = this.number++;
    if (number % interval) return { ...this.last, window: null, prepareMs: 0, runMs: 0, kind: "skip" };
    const whole = !this.model.states.length || (number === 0 && !this.sweep.length);
    window = this.sweep[number] ?? window;
    const begun = performance.now();
    this.#load(frame, whole ? { top: 0, left: 0, bottom: this.model.size.height, right: this.model.size.width }
      : this.#pixels(window));
    const loaded = performance.now();
    const outputs = await this.#infer(window, whole && this.model.states.length);
    const runMs = performance.now() - loaded;
    this.last = this.#answer(outputs);
    const kind = interval > 1 ? "key" : this.model.states.length ? "window" : "whole";
    return { ...this.last, window: whole ? null : window, prepareMs: loaded - begun, runMs, kind };
  }

  // Gets ready for a frame's size.
  #begin(frame) {
    const { height, width } = frame;
    if (this.resizing && (this.resizing.frame.height !== height || this.resizing.frame.width !== width)) this.reset();
    if (!this.resizing) {
      this.resizing = new Resizing({ height, width }, this.model.size, this.model.facts.resize_mode === "letterbox");
      this.#pixelsOfNetwork((values) => values.fill(-1)); // the bars of a letterbox are black
      if (this.sweep.length) this.memory = empty(this.model.facts.states);
    }
  }

  // Runs the network on the frame that is loaded. All states move on, in WebAssembly's memory; returns other outputs.
  async #infer(window, first) {
    const position = new Tensor(Int32Array.from(window), [2]);
    const given = { frame: this.frame, window: position, ...this.memory };
    const inputs = first ? { frame: this.frame }
      : Object.fromEntries([...this.model.inputs].map((name) => [name, given[name]]));
    try {
      const outputs = await this.model.compiled.run(first ? "whole_frame" : "step", inputs);
      for (const name of this.model.states) {
        this.memory[name]?.delete();
        this.memory[name] = outputs[name];
        delete outputs[name];
      }
      return outputs;
    } finally {
      position.delete();
    }
  }

  #answer(outputs) {
    const values = Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensor.toTypedArray()]));
    for (const tensor of Object.values(outputs)) tensor.delete();
    if (values.next_window) this.window = [...values.next_window];
    if (values.mask) return { mask: values.mask, classes: values.classes, place: this.resizing.place };
    const boxes = Array.from({ length: values.count[0] }, (_, i) => ({
      box: this.resizing.restoreBox(values.boxes.subarray(4 * i, 4 * i + 4)),
      score: values.scores[i],
      label: values.classes[i],
    }));
    return { boxes };
  }

  #pixels([row, column]) {
    const { cells, window_cells: window } = this.model.facts.grid;
    const height = this.model.size.height / cells, width = this.model.size.width / cells;
    return {
      top: row * height, left: column * width, bottom: (row + window) * height, right: (column + window) * width,
    };
  }

  #load(frame, part) {
    const rgba = frame.pixels(this.resizing.source(part));
    this.#pixelsOfNetwork((values) => this.resizing.fill(rgba, part, values));
  }

  // The network's frame, where WebAssembly has it.
  #pixelsOfNetwork(write) {
    const { liteRtWasm: wasm } = getGlobalLiteRt();
    const buffer = this.frame.liteRtTensorBuffer;
    const place = buffer.lock(wasm.LiteRtTensorBufferLockMode.WRITE);
    try {
      write(new Float32Array(wasm.HEAPU8.buffer, place, buffer.size() / Float32Array.BYTES_PER_ELEMENT));
    } finally {
      buffer.unlock();
    }
  }
}

/** The fewest windows that cover a frame, row by row. */
function raster({ cells, window_cells: window }) {
  const last = cells - window, starts = [];
  for (let start = 0; start < last; start += window) starts.push(start);
  starts.push(last);
  return starts.flatMap((row) => starts.map((column) => [row, column]));
}

/** The memory before a first frame. */
function empty(states) {
  const count = (shape) => shape.reduce((a, b) => a * b, 1);
  return Object.fromEntries(states.map(({ name, shape }) => [name, new Tensor(new Float32Array(count(shape)), shape)]));
}

/** Pixels of one frame, read where they are needed. One canvas serves all frames. */
export class Frame {
  static #canvas = new OffscreenCanvas(1, 1);
  static #context = Frame.#canvas.getContext("2d", { willReadFrequently: true });

  /** @param {ImageBitmap | ImageData} image */
  constructor(image) {
    this.image = image;
    this.height = image.height;
    this.width = image.width;
  }

  /** RGBA of a part {top, left, bottom, right}. */
  pixels({ top, left, bottom, right }) {
    const height = bottom - top, width = right - left, canvas = Frame.#canvas;
    if (!height || !width) return new Uint8ClampedArray();
    if (canvas.height < height || canvas.width < width) {
      canvas.height = Math.max(canvas.height, height);
      canvas.width = Math.max(canvas.width, width);
    }
    if (this.image instanceof ImageData) Frame.#context.putImageData(this.image, -left, -top);
    else Frame.#context.drawImage(this.image, left, top, width, height, 0, 0, width, height);
    return Frame.#context.getImageData(0, 0, width, height).data;
  }
}
