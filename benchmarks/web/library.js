// The models that the page knows: those that came with it, and those that were dropped on it.

/** A file of patchwork-export that can be opened by an engine, with golden vectors where there are any. */
class Entry {
  constructor(name, { file, text = null, frames = null }) {
    this.name = name;
    this.file = file; // these return a promise of Uint8Array or text
    this.text = text;
    this.frames = frames;
  }
}

export class Library {
  entries = new Map();
  #fetched = new Map();

  /** @param {function(string): void} say is told what is loaded */
  constructor(say) {
    this.say = say;
  }

  /** Finds out what came with the page. */
  async load() {
    for (const name of JSON.parse(new TextDecoder().decode(await this.#fetch("models/models.json")))) {
      this.entries.set(name, new Entry(name, {
        file: () => this.#fetch(`models/${name}.tflite`),
        text: async () => new TextDecoder().decode(await this.#fetch(`models/${name}.golden.txt`)),
        frames: () => this.frames(),
      }));
    }
  }

  /** Golden frames that came with the page; others are measured on them too. */
  frames() {
    return this.#fetch("models/frames.bin", true);
  }

  /** A clip for who has none. */
  sample() {
    return this.#fetch("sample.mp4");
  }

  /** Golden text that goes with `frames`. */
  async framesText() {
    return this.entries.values().next().value.text();
  }

  /**
   * Takes files that were dropped: one .tflite, and its golden vectors if there are two more.
   * @returns {Promise<string>} the name under which it is an entry now
   */
  async add(files) {
    const of = (suffix) => files.find((file) => file.name.toLowerCase().endsWith(suffix));
    const model = of(".tflite"), text = of(".txt"), frames = of(".rgb");
    if (!model) throw new Error(`${files[0].name}: neither a video nor a .tflite file of patchwork-export.`);
    if (!text !== !frames) throw new Error("Golden vectors are two files: golden.txt and frames.rgb.");
    const bytes = (file) => async () => new Uint8Array(await file.arrayBuffer());
    const golden = text ? { text: () => text.text(), frames: bytes(frames) } : {};
    this.entries.set(model.name, new Entry(model.name, { file: bytes(model), ...golden }));
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
  const counted = response.body.pipeThrough(new TransformStream({
    seen: 0,
    transform(chunk, controller) {
      this.seen += chunk.length;
      say(`Loading ${path}: ${(this.seen / 1e6).toFixed(1)} MB.`);
      controller.enqueue(chunk);
    },
  }));
  const stream = packed ? counted.pipeThrough(new DecompressionStream("gzip")) : counted;
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
