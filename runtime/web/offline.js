// A service worker. It keeps what the page has loaded, for when there is no network. And for hosts that send no
// headers of their own it isolates the page, which threads of WebAssembly take, and binds its workers to its own
// address, as the page itself is.
"use strict";

// The folder of the page that this one came with, and those of its files that it always needs: patchwork-web fills
// them in. Every page has a folder of its own: what an address gave once is right for ever, and no page has files of two.
const PAGE = "", FILES = [];
const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'";
const HERE = new URL("./", self.location).href; // the cache's name, too

self.addEventListener("install", (event) => event.waitUntil(fill()));
self.addEventListener("activate", (event) => event.waitUntil(clear()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.url.startsWith(HERE)) event.respondWith(answer(event).then((found) => isolated(found, request)));
});

async function fill() {
  self.skipWaiting();
  await (await caches.open(HERE)).addAll(FILES);
}

async function clear() {
  const cache = await caches.open(HERE);
  for (const { url } of await cache.keys()) if (!url.startsWith(HERE + PAGE)) await cache.delete(url);
  await self.clients.claim();
}

async function answer(event) {
  const { request } = event, cache = await caches.open(HERE);
  if (request.mode === "navigate") // the newest page, if there is a network; it names the folder of all else
    return fetch(request, { cache: "no-cache" }).catch(() => cache.match(`${PAGE}index.html`));
  const kept = await cache.match(request);
  if (kept) return kept;
  const response = await fetch(request);
  if (response.status === 200 && /^\w{16}\//.test(request.url.slice(HERE.length)))
    event.waitUntil(cache.put(request, response.clone()).catch(() => {})); // there may be no room
  return response;
}

function isolated(response, { destination }) {
  if (response.status !== 200 || !["document", "worker"].includes(destination)) return response;
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  if (destination === "worker") headers.set("Content-Security-Policy", POLICY);
  return new Response(response.body, { status: response.status, headers });
}
