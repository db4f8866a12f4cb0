// What an exported file says about itself, without LiteRT: a JSON text in the metadata of its FlatBuffer.

const ENTRY = "patchwork.json";
const VERSION = 5;
const BUFFERS = 4, METADATA = 6; // numbers of fields of a TFLite model
const NAME = 0, BUFFER = 1; // of its metadata
const DATA = 0; // of a buffer

/**
 * The facts in a file of patchwork-export.
 * @param {Uint8Array} file
 * @returns {object} see docs/file_format.md
 * @throws {Error} one line, if it is something else, damaged, or cannot run in a browser.
 */
export function readMetadata(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 8 || text(file.subarray(4, 8)) !== "TFL3") throw new Error("This is not a TFLite file.");
  let facts;
  try {
    facts = find(view, file);
  } catch (error) {
    throw new Error(`This file is damaged (${error.message}).`);
  }
  if (!facts) throw new Error("There is no Patchwork metadata in this file; export it by patchwork-export.");
  check(facts);
  return facts;
}

function check(facts) {
  if (facts.patchwork !== VERSION)
    throw new Error(`The metadata of this file has version ${facts.patchwork}, this page reads ${VERSION}; export it anew.`);
  if (facts.states.some((state) => state.dtype !== "float32"))
    throw new Error("LiteRT.js has no 8-bit memory; export this system with --quantize=float16 instead of int8.");
  if (Object.keys(facts.predictions).length)
    throw new Error("This file outputs all anchors; export it without --nosuppression.");
  if (facts.stream.flip || facts.stream.delay)
    throw new Error("This page does not run systems with flip or delay.");
}

function find(view, file) {
  const model = indirect(view, 0);
  for (const entry of tables(view, model, METADATA)) {
    const name = field(view, entry, NAME), buffer = field(view, entry, BUFFER);
    if (!name || text(bytes(view, file, name)) !== ENTRY) continue;
    const table = tables(view, model, BUFFERS)[buffer ? view.getUint32(buffer, true) : 0];
    return JSON.parse(text(bytes(view, file, field(view, table, DATA))));
  }
  return null;
}

// Places in a FlatBuffer: https://flatbuffers.dev/internals. 0 is a field that is not there.
function indirect(view, place) {
  return place + view.getUint32(place, true);
}

function field(view, table, number) {
  const fields = table - view.getInt32(table, true);
  const entry = 4 + 2 * number;
  const offset = entry < view.getUint16(fields, true) ? view.getUint16(fields + entry, true) : 0;
  return offset && table + offset;
}

function tables(view, table, number) {
  const place = field(view, table, number);
  if (!place) return [];
  const vector = indirect(view, place);
  return Array.from({ length: view.getUint32(vector, true) }, (_, i) => indirect(view, vector + 4 + 4 * i));
}

function bytes(view, file, place) {
  const vector = indirect(view, place), length = view.getUint32(vector, true);
  if (vector + 4 + length > file.length) throw new RangeError("it is cut off");
  return file.subarray(vector + 4, vector + 4 + length);
}

function text(part) {
  return new TextDecoder().decode(part);
}
