// Golden vectors of patchwork-export --golden: frames, windows and answers that this browser has to give too.

import { Frame, Stream } from "./stream.js";

const TOLERANCE = 1e-3;

/** The frames of golden vectors, of any size; also what is measured on. */
export class GoldenFrames {
  /**
   * @param {string} text of golden.txt
   * @param {Uint8Array} rgb of frames.rgb
   * @throws {Error} one line, if they do not go together
   */
  constructor(text, rgb) {
    const [word, ...numbers] = text.slice(0, text.indexOf("\n")).split(" ");
    [this.count, this.height, this.width] = numbers.map(Number);
    if (word !== "golden" || !(this.count * this.height * this.width > 0)) throw new Error("These are no golden vectors.");
    if (rgb.length !== 3 * this.count * this.height * this.width)
      throw new Error("The frames of these golden vectors are cut off.");
    this.rgb = rgb;
  }

  frame(number) {
    const image = new ImageData(this.width, this.height), count = this.height * this.width;
    for (let to = 0, from = 3 * count * (number % this.count); to < 4 * count; to += 4) {
      for (let channel = 0; channel < 3; channel++) image.data[to + channel] = this.rgb[from++];
      image.data[to + 3] = 255;
    }
    return new Frame(image);
  }
}

/**
 * Runs a model on golden frames.
 * @returns {Promise<number>} the largest difference
 * @throws {Error} one line, at the first answer that differs by more than TOLERANCE
 */
export async function prove(model, text, frames) {
  const lines = text.trimEnd().split("\n"), stream = new Stream(model);
  let worst = 0, at = 1;
  try {
    for (let number = 0; number < frames.count; number++) {
      const found = describe(number, await stream.push(frames.frame(number)), lines.slice(at), model);
      for (const line of found) {
        const difference = differ(lines[at++] ?? "nothing", line);
        if (!(difference <= TOLERANCE))
          throw new Error(`Here this model gives other answers than it should: golden.txt:${at}: expected ` +
            `'${lines[at - 1]}', found '${line}'.`);
        worst = Math.max(worst, difference);
      }
    }
  } finally {
    stream.delete();
  }
  if (at !== lines.length) throw new Error(`Here this model gives fewer answers than it should: golden.txt:${at + 1}.`);
  return worst;
}

function describe(number, answer, expected, { size, facts }) {
  const window = answer.window && facts.grid.cells > 1 ? `window ${answer.window.join(" ")}` : "whole";
  const head = `frame ${number} ${window}`;
  if (answer.boxes) return [head, ...answer.boxes.map((found) => `box ${[...found.box, found.score, found.label].join(" ")}`)];
  const { top, left, height, width } = answer.place;
  const pixels = [];
  for (const line of expected.slice(1)) {
    const [word, y, x] = line.split(" ");
    if (word !== "pixel") break;
    const place = (top + Math.floor(y * height)) * size.width + left + Math.floor(x * width);
    pixels.push(["pixel", y, x, answer.mask[place], ...(answer.classes ? [answer.classes[place]] : [])].join(" "));
  }
  return [head, ...pixels];
}

function differ(expected, found) {
  const [a, b] = [expected, found].map((line) => line.split(" "));
  if (a.length !== b.length) return Infinity;
  return Math.max(...a.map((word, i) => (word === b[i] ? 0 : Math.abs(Number(word) - Number(b[i])))));
}
