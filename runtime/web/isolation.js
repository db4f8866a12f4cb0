// A service worker for hosts that send no headers of their own: it isolates the page, which threads of WebAssembly take,
// and binds its workers to its own address, as the page itself is.
"use strict";

const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  event.respondWith(isolated(event.request));
});

async function isolated(request) {
  const response = await fetch(request);
  if (response.status !== 200) return response; // a part of a video, or an error
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  if (request.destination === "worker") headers.set("Content-Security-Policy", POLICY);
  return new Response(response.body, { status: response.status, headers });
}
