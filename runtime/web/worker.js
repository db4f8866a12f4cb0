// A classic worker, as LiteRT.js loads itself by importScripts; all else is modules. It answers {id, name, values} with
// {id, result} or {id, error}.
"use strict";

const runtime = import("./runtime.js");

self.onmessage = async ({ data: { id, name, values } }) => {
  try {
    const result = await (await runtime)[name](...values);
    self.postMessage({ id, result }, result?.image instanceof ImageBitmap ? [result.image] : []);
  } catch (error) {
    self.postMessage({ id, error: String(error?.message ?? error) });
  }
};
