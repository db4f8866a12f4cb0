// The models that the page knows: those that came with it, and those that were dropped on it.

import { readMetadata } from "./metadata.js";

const SAID_BYTES = 1e6; // that are loaded between two messages

/** A file of patchwork-export that an engine can open, of a system, with golden vectors where there are any. */
class Entry {
  constructor(name, system, reference, { file, text = null, frames = null }) {
    this.name = name;
    this.system = system;
    this.reference = reference; // the system that it is compared with
    this.file = file; // these return a promise of Uint8Array or text
    this.text = text;
    this.frames = frames;
  }
}

export class Library {
  entries = new Map();
  dropped = new Set(); // names of those that did not come with the page
  #fetched = new Map();

  /** @param {function(string): void} say is told what is loaded */
  constructor(say) {
    this.say = say;
  }

  /** Finds out what came with the page. */
  async load() {
    for (const { name, reference, frames } of JSON.parse(new TextDecoder().decode(await this.#fetch("models/models.json")))) {
      this.entries.set(name, new Entry(name, name, reference, {
        file: () => this.#fetch(`models/${name}.tflite`),
        text: async () => new TextDecoder().decode(await this.#fetch(`models/${name}.golden.txt`)),
        frames: () => this.#fetch(`models/${frames}`, true), // many systems have the same
      }));
    }
  }

  /** A clip for who has none. */
  async sample() {
    return new File([await this.#fetch("sample.mp4")], "the sample clip", { type: "video/mp4" });
  }

  /** Golden text and frames of the first system; all are measured on them. */
  async golden() {
    const [first] = this.entries.values();
    return [await first.text(), await first.frames()];
  }

  /**
   * Takes files that were dropped: one .tflite, and its golden vectors if there are two more.
   * @returns {Promise<string>} the name under which it is an entry now
   * @throws {Error} one line, if they are something else
   */
  async add(files) {
    const of = (suffix) => files.filter((file) => file.name.toLowerCase().endsWith(suffix));
    const [[model, another], [text], [frames]] = [".tflite", ".txt", ".rgb"].map(of);
    if (!model) throw new Error(`${files[0].name}: neither a video nor a .tflite file of patchwork-export.`);
    if (another) throw new Error(`${model.name} and ${another.name}: one model at a time.`);
    if (!text !== !frames) throw new Error("Golden vectors are two files: golden.txt and frames.rgb.");
    const bytes = (file) => async () => new Uint8Array(await file.arrayBuffer());
    const golden = text ? { text: () => text.text(), frames: bytes(frames) } : {};
    let facts;
    try {
      facts = readMetadata(await bytes(model)());
    } catch (error) {
      throw new Error(`${model.name}: ${error.message}`);
    }
    this.entries.set(model.name, new Entry(model.name, facts.system, facts.reference, { file: bytes(model), ...golden }));
    this.dropped.add(model.name);
    return model.name;
  }

  // Every file once; they are kept. A packed one is gzipped; its name does not say so, lest a host unpack it.
  #fetch(path, packed = false) {
    if (!this.#fetched.has(path)) {
      const fetched = fetchBytes(path, packed, this.say);
      fetched.catch(() => this.#fetched.delete(path)); // it may be there later
      this.#fetched.set(path, fetched);
    }
    return this.#fetched.get(path);
  }
}

async function fetchBytes(path, packed, say) {
  const response = await fetch(path).catch(() => null);
  if (!response?.ok) throw new Error(`${path} cannot be loaded (${response ? response.status : "no connection"}).`);
  let seen = 0;
  const counted = response.body.pipeThrough(new TransformStream({
    transform(chunk, controller) {
      if (Math.floor(seen / SAID_BYTES) < Math.floor((seen + chunk.length) / SAID_BYTES))
        say(`Loading ${path}: ${Math.floor((seen + chunk.length) / 1e6)} MB.`);
      seen += chunk.length;
      controller.enqueue(chunk);
    },
  }));
  const stream = packed ? counted.pipeThrough(new DecompressionStream("gzip")) : counted;
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
