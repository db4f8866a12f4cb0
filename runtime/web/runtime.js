// What a worker does for the page: LiteRT.js, the models that are open in it, and a stream of each.

import { GoldenFrames, prove } from "./golden.js";
import { findRegions } from "./regions.js";
import { Frame, Model, Stream } from "./stream.js";
import { getGlobalLiteRt, loadLiteRt, supportsFeature } from "./vendor/index.js";

const VENDOR = new URL("vendor/", import.meta.url).href;
const CLOCK_STEPS = 20;

let threads;
let frames; // golden ones
const streams = new Map(); // by name

/**
 * Loads LiteRT.js, once.
 * @param {number} count threads of inference; more than one takes a page that is isolated
 * @param {boolean} relaxed whether to use relaxed SIMD where there is any
 * @returns {Promise<object>} threads, simd ('relaxed' or '128'), and the milliseconds that the clock is exact to
 */
export async function start(count, relaxed) {
  const simd = relaxed && (await supportsFeature("relaxedSimd")) ? "relaxed" : "128";
  const build = simd === "128" ? "compat_" : count > 1 ? "threaded_" : "";
  threads = simd === "128" ? 1 : count; // LiteRT.js has threads only together with relaxed SIMD
  const script = `${VENDOR}litert_wasm_${build}internal.js`;
  self.Module = { locateFile: (name) => VENDOR + name, mainScriptUrlOrBlob: script };
  try {
    await loadLiteRt(script);
  } catch (error) {
    throw new Error(`LiteRT.js cannot be loaded (${error.message ?? error}).`);
  }
  return { threads, simd, clockMs: clockMs() };
}

/** Opens a file under a name; returns its metadata, and milliseconds of opening it and of its very first inference. */
export async function open(name, bytes) {
  const model = await Model.open(bytes, threads), stream = new Stream(model);
  streams.set(name, stream);
  const { runMs } = await stream.push(new Frame(new ImageData(model.size.width, model.size.height)));
  stream.reset();
  return { facts: model.facts, loadMs: model.loadMs, firstMs: runMs };
}

/** Takes golden frames, of the size that the first line of golden.txt says. */
export function take(text, rgb) {
  frames = new GoldenFrames(text, rgb);
}

/** Holds a model against golden answers on the frames taken; returns the largest difference. */
export function check(name, text) {
  return prove(streams.get(name).model, text, frames);
}

/** Answers about one frame, with the regions of classes; the image goes back to the page with them. */
export async function push(name, image, window) {
  const stream = streams.get(name), answer = await stream.push(new Frame(image), window ?? undefined);
  const regions = answer.classes && findRegions(answer, stream.model.size.width);
  return { ...answer, regions, image, memoryMb: memoryMb() };
}

/** The next frame is the first of a video, which begins with a whole frame or a sweep. */
export function reset(name, start) {
  streams.get(name).reset(start);
}

/**
 * Times inference on golden frames, as the first ones of a video, the inputs already in place.
 * @returns {Promise<object>} samples, milliseconds of `count` frames after a warm-up; their kinds, as in docs/measure.md;
 *   memoryMb, that WebAssembly has
 */
export async function time(name, count, warmup) {
  const stream = streams.get(name), samples = [], kinds = [];
  stream.reset();
  for (let number = 0; number < warmup + count; number++) {
    const { runMs, kind } = await stream.push(frames.frame(number));
    samples.push(runMs);
    kinds.push(kind);
  }
  return { samples: samples.slice(warmup), kinds: kinds.slice(warmup), memoryMb: memoryMb() };
}

// It never shrinks.
function memoryMb() {
  return getGlobalLiteRt().liteRtWasm.HEAPU8.length / 1e6;
}

/** The smallest step of the browser's clock, in milliseconds. */
function clockMs() {
  let least = Infinity;
  for (let i = 0; i < CLOCK_STEPS; i++) {
    const begun = performance.now();
    let now = begun;
    while (now === begun) now = performance.now();
    least = Math.min(least, now - begun);
  }
  return least;
}
