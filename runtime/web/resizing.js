// From a frame of any size to the network's: OpenCV's rules, to its bits, so that answers are those of Python.

const f32 = Math.fround;
const NO_OVERLAP = 1e-3; // of a pixel, that OpenCV counts as nothing

/** One size of frames, brought to the size of a network. */
export class Resizing {
  /**
   * @param {{height: number, width: number}} frame size in pixels
   * @param {{height: number, width: number}} network likewise
   * @param {boolean} letterbox whether the frame keeps its shape, between black bars
   */
  constructor(frame, network, letterbox) {
    this.frame = frame;
    this.network = network;
    this.letterbox = letterbox;
    this.place = letterbox ? placed(frame, network) : { top: 0, left: 0, ...network };
    const { height, width } = this.place;
    const shrinks = frame.height > network.height || frame.width > network.width;
    this.byArea = shrinks && frame.height >= height && frame.width >= width;
    this.halves = frame.height === 2 * height && frame.width === 2 * width;
    const axis = this.byArea ? areas : pairs;
    this.rows = axis(frame.height, height, shrinks);
    this.columns = axis(frame.width, width, shrinks);
  }

  /** What part of the frame a part {top, left, bottom, right} of the network's frame is made of. */
  source(part) {
    const { top, left, bottom, right } = this.#inside(part);
    if (top === bottom || left === right) return { top: 0, left: 0, bottom: 0, right: 0 };
    return {
      top: this.rows.first[top],
      left: this.columns.first[left],
      bottom: this.rows.last[bottom - 1] + 1,
      right: this.columns.last[right - 1] + 1,
    };
  }

  /**
   * Fills a part of the network's frame; its other pixels stay as they are, and a step reads none of them.
   * @param {Uint8ClampedArray} rgba pixels of `source(part)`
   * @param {{top: number, left: number, bottom: number, right: number}} part of the network's frame
   * @param {Float32Array} target the network's frame (height, width, 3), values in [-1, 1]
   */
  fill(rgba, part, target) {
    const inner = this.#inside(part), from = this.source(part);
    if (from.top < from.bottom) (this.byArea ? shrink : stretch)(this, rgba, inner, from, target);
  }

  /** Box [ymin, xmin, ymax, xmax], fractions of the network's frame, as fractions of the frame. */
  restoreBox(box) {
    if (!this.letterbox) return [...box];
    const { top, left, height, width } = this.place;
    return box.map((value, i) => {
      const pixels = i % 2 ? value * this.network.width - left : value * this.network.height - top;
      return between(pixels / (i % 2 ? width : height), 0, 1);
    });
  }

  #inside({ top, left, bottom, right }) {
    const { top: y, left: x, height, width } = this.place;
    return {
      top: between(top - y, 0, height),
      left: between(left - x, 0, width),
      bottom: between(bottom - y, 0, height),
      right: between(right - x, 0, width),
    };
  }
}

function between(value, least, most) {
  return Math.min(Math.max(value, least), most);
}

function roundHalfToEven(value) {
  const low = Math.floor(value), part = value - low;
  return part > 0.5 || (part === 0.5 && low % 2) ? low + 1 : low;
}

function placed(frame, network) {
  const scale = Math.min(f32(network.height / frame.height), f32(network.width / frame.width));
  const height = Math.max(roundHalfToEven(f32(frame.height * scale)), 1);
  const width = Math.max(roundHalfToEven(f32(frame.width * scale)), 1);
  return {
    top: Math.floor((network.height - height) / 2),
    left: Math.floor((network.width - width) / 2),
    height,
    width,
  };
}

// An axis of which every output pixel is made of the input pixels first..last, by their parts.
function areas(from, to) {
  const scale = from / to;
  const axis = { first: new Int32Array(to), last: new Int32Array(to), starts: new Int32Array(to + 1), parts: [] };
  for (let pixel = 0; pixel < to; pixel++) {
    axis.starts[pixel] = axis.parts.length;
    const start = pixel * scale, end = start + scale, width = Math.min(scale, from - start);
    const last = Math.min(Math.floor(end), from - 1), first = Math.min(Math.ceil(start), last);
    const before = first - start > NO_OVERLAP, after = end - last > NO_OVERLAP;
    axis.first[pixel] = before ? first - 1 : first;
    axis.last[pixel] = after ? last : last - 1;
    if (before) axis.parts.push(f32((first - start) / width));
    for (let i = first; i < last; i++) axis.parts.push(f32(1 / width));
    if (after) axis.parts.push(f32(Math.min(Math.min(end - last, 1), width) / width));
  }
  axis.starts[to] = axis.parts.length;
  axis.parts = Float32Array.from(axis.parts);
  return axis;
}

// An axis of which every output pixel lies between two input pixels; their parts of 2048. Where the other side shrinks,
// OpenCV keeps pixels sharp that grow.
function pairs(from, to, sharp) {
  const scale = from / to;
  const axis = { first: new Int32Array(to), last: new Int32Array(to), parts: new Int32Array(2 * to) };
  for (let pixel = 0; pixel < to; pixel++) {
    const place = f32((pixel + 0.5) * scale - 0.5);
    let first = sharp ? Math.floor(pixel * scale) : Math.floor(place);
    let part = f32(place - first);
    if (sharp) {
      part = f32(pixel + 1 - (first + 1) * (to / from));
      part = part <= 0 ? 0 : f32(part - Math.floor(part));
    }
    if (first < 0 || first >= from - 1) part = 0;
    first = between(first, 0, from - 1);
    axis.first[pixel] = first;
    axis.last[pixel] = Math.min(first + 1, from - 1);
    axis.parts[2 * pixel] = roundHalfToEven(f32(f32(1 - part) * 2048));
    axis.parts[2 * pixel + 1] = roundHalfToEven(f32(part * 2048));
  }
  return axis;
}

function shrink({ rows, columns, place, network, halves }, rgba, inner, from, target) {
  const pitch = from.right - from.left, count = inner.right - inner.left;
  const row = new Float32Array(3 * count), sum = new Float32Array(3 * count);
  const round = halves ? (value) => Math.floor(value + 0.5) : roundHalfToEven;
  for (let y = inner.top; y < inner.bottom; y++) {
    sum.fill(0);
    for (let j = rows.starts[y]; j < rows.starts[y + 1]; j++) {
      shrinkLine(columns, rgba, (rows.first[y] + j - rows.starts[y] - from.top) * pitch - from.left, inner, row);
      const part = rows.parts[j];
      for (let i = 0; i < row.length; i++) sum[i] += f32(part * row[i]);
    }
    let at = 3 * ((place.top + y) * network.width + place.left + inner.left);
    for (let i = 0; i < sum.length; i++) target[at++] = f32(round(sum[i]) / 127.5) - 1;
  }
}

// A line of pixels from number `line` on.
function shrinkLine(columns, rgba, line, inner, row) {
  for (let x = inner.left, to = 0; x < inner.right; x++, to += 3) {
    let red = 0, green = 0, blue = 0;
    let pixel = 4 * (line + columns.first[x]);
    for (let k = columns.starts[x]; k < columns.starts[x + 1]; k++, pixel += 4) {
      const part = columns.parts[k];
      red = f32(red + f32(rgba[pixel] * part));
      green = f32(green + f32(rgba[pixel + 1] * part));
      blue = f32(blue + f32(rgba[pixel + 2] * part));
    }
    row[to] = red;
    row[to + 1] = green;
    row[to + 2] = blue;
  }
}

function stretch({ rows, columns, place, network }, rgba, inner, from, target) {
  const pitch = from.right - from.left, count = 3 * (inner.right - inner.left);
  const above = new Int32Array(count), below = new Int32Array(count);
  for (let y = inner.top; y < inner.bottom; y++) {
    stretchLine(columns, rgba, (rows.first[y] - from.top) * pitch - from.left, inner, above);
    stretchLine(columns, rgba, (rows.last[y] - from.top) * pitch - from.left, inner, below);
    const first = rows.parts[2 * y], second = rows.parts[2 * y + 1];
    let at = 3 * ((place.top + y) * network.width + place.left + inner.left);
    for (let i = 0; i < count; i++) {
      // in fixed point
      const value = (((first * (above[i] >> 4)) >> 16) + ((second * (below[i] >> 4)) >> 16) + 2) >> 2;
      target[at++] = f32(between(value, 0, 255) / 127.5) - 1;
    }
  }
}

function stretchLine(columns, rgba, line, inner, values) {
  for (let x = inner.left, to = 0; x < inner.right; x++) {
    const left = 4 * (line + columns.first[x]), right = 4 * (line + columns.last[x]);
    const first = columns.parts[2 * x], second = columns.parts[2 * x + 1];
    for (let channel = 0; channel < 3; channel++)
      values[to++] = rgba[left + channel] * first + rgba[right + channel] * second;
  }
}
