// The report of patchwork-benchmark (docs/measure.md), of a browser.

import { RATIOS, describe, interval, resample } from "./statistics.js";

const SCHEMA = 3;

/**
 * @param {Map<string, {facts: object, file: object, repeats: object[]}>} measured by system
 * @param {object} about settings, machine, created (a Date), finished, command
 */
export function makeReport(measured, about) {
  const samples = new Map([...measured].map(([name, { repeats }]) => [name, repeats.flatMap((part) => part.samples)]));
  const estimates = new Map([...samples].map(([name, values], i) => [name, resample(values, i + 1)]));
  const systems = {};
  for (const [name, { facts, file, repeats }] of measured) {
    const reference = measured.has(facts.reference) ? facts.reference : null;
    systems[name] = {
      ...numbers(samples.get(name), estimates.get(name), reference && samples.get(reference), estimates.get(reference)),
      ...describeSystem(facts),
      file,
      repeats,
      kinds: kinds(repeats),
      deadline_misses: null,
      load_ms: repeats[0].load_ms,
      first_ms: repeats[0].first_ms,
      peak_mb: Math.max(...repeats.map((part) => part.peak_mb)),
      samples: samples.get(name),
    };
  }
  return {
    schema: SCHEMA,
    target: "browser",
    emulated: false,
    frames: "generated scenes",
    ...about,
    created: about.created.toISOString().replace(/\.\d+Z$/, "+00:00"),
    systems,
  };
}

function kinds(repeats) {
  const frames = repeats.flatMap((part) => part.samples.map((sample, i) => [part.kinds[i], sample]));
  return Object.fromEntries([...new Set(frames.map(([kind]) => kind))].map((kind) => {
    const values = frames.filter(([of]) => of === kind).map(([, sample]) => sample);
    return [kind, { count: values.length, ...describe(values) }];
  }));
}

function numbers(values, estimates, reference, ofReference) {
  const statistics = describe(values), single = reference && describe(reference), intervals = {}, ratios = {};
  for (const key in estimates) intervals[key] = interval(estimates[key]);
  for (const [ratio, key] of Object.entries(RATIOS)) {
    ratios[ratio] = single && statistics[key] / single[key];
    if (reference) intervals[ratio] = interval(estimates[key].map((value, i) => value / ofReference[key][i]));
  }
  return { ...statistics, ...ratios, intervals };
}

function describeSystem(facts) {
  const average = facts.mflops.step / facts.stream.interval;
  return {
    system: facts.system,
    task: facts.task,
    reference: facts.reference,
    stream: facts.stream,
    patchwork: facts.grid.cells > facts.grid.window_cells,
    depth: facts.model.depth,
    image_size: facts.input.image_size,
    grid: facts.grid,
    mflops_max: facts.mflops.step,
    mflops_avg: average,
    mflops_avg_run: average,
  };
}

/** What the report says of a file. */
export async function describeFile(facts, bytes) {
  // Pages that are not secure get no digests.
  const digest = self.crypto?.subtle ? new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)) : [];
  return {
    sha256: Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join(""),
    bytes: bytes.length,
    state_bytes: facts.states.reduce((sum, { shape }) => sum + 4 * shape.reduce((a, b) => a * b, 1), 0),
    weights: facts.weights,
    weights_sha256: facts.weights_sha256,
  };
}

/** What the browser says of the machine and itself. It does not say which processor it runs on. */
export async function describeMachine({ threads, simd, clockMs }) {
  const hints = ["architecture", "bitness", "model", "platformVersion", "fullVersionList"];
  const data = (await navigator.userAgentData?.getHighEntropyValues(hints).catch(() => null)) ?? {};
  const brands = (data.fullVersionList ?? []).filter(({ brand }) => !/not.a.brand/i.test(brand));
  const brand = brands.find(({ brand }) => brand !== "Chromium") ?? brands[0];
  const architecture = [data.architecture, data.bitness].filter(Boolean).join(" ") || navigator.platform || "unknown";
  return {
    cpu: `a processor that the browser does not name (${architecture})`,
    ...(data.model ? { model: data.model } : {}),
    cores: navigator.hardwareConcurrency,
    threads,
    browser: brand ? `${brand.brand} ${brand.version}` : navigator.userAgent,
    system: `${data.platform ?? navigator.platform} ${data.platformVersion ?? ""}`.trim(),
    user_agent: navigator.userAgent,
    memory_gb: navigator.deviceMemory ?? null,
    simd,
    isolated: self.crossOriginIsolated,
    clock_ms: Number(clockMs.toPrecision(2)),
    runner: "LiteRT.js",
  };
}
