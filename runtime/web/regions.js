// Where classes are in a frame, for their names.

/**
 * The classes of a segmenter's answer, the one with the most pixels first.
 * @param {{classes: Int32Array, place: object}} answer of a stream; in `classes` 0 is background
 * @param {number} pitch of `classes`: from one row to the next
 * @returns {object[]} number of the class among the labels; share of the frame; y and x, fractions of the frame, of the
 *   middle of its largest region
 */
export function findRegions({ classes, place: { top, left, height, width } }, pitch) {
  const count = height * width, inner = new Int32Array(count), pending = new Int32Array(count), found = new Map();
  for (let y = 0; y < height; y++) {
    const start = (top + y) * pitch + left;
    inner.set(classes.subarray(start, start + width), y * width);
  }
  for (let start = 0; start < count; start++) {
    const value = inner[start];
    if (!value) continue;
    const region = fill(inner, width, start, pending);
    const known = found.get(value) ?? { number: value - 1, share: 0, most: 0 };
    found.set(value, known);
    known.share += region.area / count;
    if (region.area > known.most) Object.assign(known, { most: region.area, y: region.y / height, x: region.x / width });
  }
  return [...found.values()].sort((a, b) => b.share - a.share).map(({ most, ...rest }) => rest);
}

// Area and middle, in pixels, of the region around a pixel, which becomes background.
function fill(inner, width, start, pending) {
  const value = inner[start];
  let left = width, right = 0, bottom = 0, area = 0, waiting = 1;
  pending[0] = start;
  inner[start] = 0;
  while (waiting) {
    const pixel = pending[--waiting], x = pixel % width;
    area++;
    left = Math.min(left, x);
    right = Math.max(right, x);
    bottom = Math.max(bottom, pixel);
    for (const next of [x > 0 ? pixel - 1 : -1, x + 1 < width ? pixel + 1 : -1, pixel - width, pixel + width]) {
      if (inner[next] !== value) continue;
      inner[next] = 0;
      pending[waiting++] = next;
    }
  }
  const top = Math.floor(start / width); // pixels come row by row
  return { area, y: (top + Math.floor(bottom / width) + 1) / 2, x: (left + right + 1) / 2 };
}
