// Statistics of latencies, as benchmarks/latency.py defines them.

const PERCENTILES = { median_ms: 50, p95_ms: 95, p99_ms: 99 };
export const RATIOS = { ratio_median: "median_ms", ratio_p95: "p95_ms", ratio_mean: "mean_ms" };
const RESAMPLES = 1000, CONFIDENCE = 95, BLOCK = 16;

/** Percentile of sorted values, linearly interpolated between order statistics. */
function percentile(sorted, percent) {
  const rank = (percent / 100) * (sorted.length - 1), low = Math.floor(rank);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (rank - low) * (sorted[high] - sorted[low]);
}

/** median_ms, p95_ms, p99_ms, mean_ms and std_ms of milliseconds. */
export function describe(values) {
  const sorted = Float64Array.from(values).sort();
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length;
  const variance = sorted.reduce((sum, value) => sum + (value - mean) ** 2, 0) / sorted.length;
  const percentiles = Object.entries(PERCENTILES).map(([key, percent]) => [key, percentile(sorted, percent)]);
  return { ...Object.fromEntries(percentiles), mean_ms: mean, std_ms: Math.sqrt(variance) };
}

/** What the statistics might have been: a moving-block bootstrap. Statistic -> values, one of every resample. */
export function resample(values, seed) {
  const random = generator(seed);
  const length = Math.min(BLOCK, values.length), count = Math.floor(values.length / length);
  const whole = values.slice(0, count * length), drawn = new Float64Array(whole.length);
  const estimates = { median_ms: [], p95_ms: [], p99_ms: [], mean_ms: [] };
  for (let i = 0; i < RESAMPLES; i++) {
    for (let block = 0; block < count; block++) {
      const start = Math.floor(random() * whole.length);
      for (let j = 0; j < length; j++) drawn[block * length + j] = whole[(start + j) % whole.length];
    }
    const statistics = describe(drawn);
    for (const key in estimates) estimates[key].push(statistics[key]);
  }
  return estimates;
}

/** Low and high end of what holds CONFIDENCE per cent of estimates. */
export function interval(estimates) {
  const sorted = Float64Array.from(estimates).sort(), tail = (100 - CONFIDENCE) / 2;
  return [percentile(sorted, tail), percentile(sorted, 100 - tail)];
}

/** Uniform numbers in [0, 1), the same for the same seed (mulberry32). */
export function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let value = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}
