// The page's side of a worker.

/** A worker with LiteRT.js in it. Every method of runtime.js is one of `call`. */
export class Engine {
  #worker = new Worker("worker.js");
  #calls = new Map();
  #next = 0;
  #failure = null;

  constructor() {
    this.#worker.onmessage = ({ data: { id, result, error } }) => {
      const call = this.#calls.get(id);
      this.#calls.delete(id);
      if (error === undefined) call?.resolve(result);
      else call?.reject(new Error(error));
    };
    this.#worker.onerror = (event) => this.#fail(new Error(`The worker failed: ${event.message ?? "it did not load"}.`));
  }

  /** Calls a function of runtime.js. @throws {Error} whose message is one line for the user */
  call(name, values = [], transfer = []) {
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#calls.set(++this.#next, { resolve, reject });
      this.#worker.postMessage({ id: this.#next, name, values }, transfer);
    });
  }

  /** Ends the worker, whatever it is doing; calls fail from now on. */
  end() {
    this.#worker.terminate();
    this.#fail(new Error("It was ended."));
  }

  #fail(error) {
    this.#failure ??= error;
    for (const { reject } of this.#calls.values()) reject(error);
    this.#calls.clear();
  }
}

/**
 * Opens a system in an engine, and holds it against its golden vectors.
 * @param {Engine} engine that was started
 * @param {Entry} entry of the library
 * @returns {Promise<object>} facts, loadMs, firstMs, bytes (the file), and proof: {worst}, the largest difference, null
 *   without golden vectors; or {failure}, one line
 */
export async function openModel(engine, entry) {
  const bytes = await entry.file();
  const opened = await engine.call("open", [entry.name, bytes]);
  const proof = { worst: null };
  if (entry.text) {
    const text = await entry.text();
    await engine.call("take", [text, await entry.frames()]);
    try {
      proof.worst = await engine.call("check", [entry.name, text]);
    } catch (error) {
      proof.failure = error.message;
    }
  }
  return { ...opened, bytes, proof };
}
