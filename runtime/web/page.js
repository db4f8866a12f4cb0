// The page: what it needs, its two tabs, its messages, and what is dropped on it.

import { Link } from "./link.js";
import { Library } from "./library.js";
import { Measure } from "./measure.js";
import { See } from "./see.js";

// A module that is valid only where WebAssembly has SIMD: (func (v128.const 0) (drop)).
const SIMD = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 9, 1, 7, 0, 65, 0, 253, 15, 26, 11);
const PATIENCE = 3000; // milliseconds that the page waits for its service worker

const status = document.getElementById("status"), alert = document.getElementById("alert");

function say(text) {
  status.textContent = text;
}

function complain(error) {
  alert.hidden = !error;
  alert.textContent = error?.message ?? "";
  if (error) console.error(error);
}

function missing() {
  if (typeof WebAssembly === "undefined") return "WebAssembly";
  if (!WebAssembly.validate(SIMD)) return "SIMD in WebAssembly";
  for (const name of ["OffscreenCanvas", "DecompressionStream"]) if (!(name in self)) return name;
  return null;
}

function wireTabs(changed) {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const choose = (chosen) => {
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", tab === chosen);
      tab.tabIndex = tab === chosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
    }
    if (chosen.id === "tab-measure") document.getElementById("video").pause(); // nobody sees it there
    changed();
  };
  for (const tab of tabs) {
    tab.onclick = () => choose(tab);
    tab.onkeydown = ({ key }) => {
      if (key !== "ArrowLeft" && key !== "ArrowRight") return;
      const other = tabs[(tabs.indexOf(tab) + 1) % tabs.length];
      other.focus();
      choose(other);
    };
  }
}

function wireDrops(take) {
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  for (const event of ["dragleave", "drop"])
    addEventListener(event, () => document.body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    take([...event.dataTransfer.files]).catch(complain);
  });
  const chooser = document.getElementById("model-file");
  chooser.onchange = () => take([...chooser.files]).catch(complain).finally(() => (chooser.value = ""));
}

/**
 * Waits for the service worker, which keeps all that the page loads, for when there is no network. What the page asks
 * for while a new one takes over may be lost, so nothing is asked for before. On a host without headers the page is
 * isolated when it comes from there.
 */
async function keep() {
  const workers = navigator.serviceWorker; // of pages by https or from localhost
  if (!workers) return;
  const registration = await workers.register("../offline.js"), { active } = registration;
  const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE));
  const settled = async () => {
    if (active) await registration.update().catch(() => {}); // without a network there is no newer one
    const next = registration.installing ?? registration.waiting ?? registration.active;
    while (["installing", "installed", "activating"].includes(next?.state))
      await new Promise((resolve) => next.addEventListener("statechange", resolve, { once: true }));
  };
  await Promise.race([settled(), patience]);
  if (active || !workers.controller || self.crossOriginIsolated) return;
  location.reload();
  await new Promise(() => {}); // it ends here
}

async function main() {
  let changed = () => {}; // while all is being set
  wireTabs(() => changed());
  const lacking = missing();
  if (lacking) throw new Error(`This browser has no ${lacking}. Take a newer one: Chrome 97, Firefox 114, Safari 16.4 or later.`);
  const library = new Library(say), see = new See(library, say, complain, () => changed());
  const measure = new Measure(library, see, say, complain), link = new Link();
  wireDrops(async (files) => {
    if (!files.length) return;
    complain(null);
    const video = files.find((file) => file.type.startsWith("video/"));
    if (video) return see.play(video);
    const name = await library.add(files);
    measure.list();
    await see.show(name);
  });
  await keep().catch(() => {}); // it works without
  await library.load();
  measure.list();
  measure.open(link);
  const [tab] = link.take("tab", ([name]) => name === "measure");
  const failure = await see.open(link).then(() => null, (error) => error);
  if (failure) say("");
  if (tab) document.getElementById("tab-measure").click();
  changed = () => {
    const isMeasure = document.getElementById("see").hidden;
    link.write({ ...(isMeasure && { tab: ["measure"] }), ...see.settings(), ...measure.settings() });
  };
  document.addEventListener("change", () => changed());
  if (!failure) changed();
  if (failure ?? link.complaint()) complain(failure ?? link.complaint());
}

main().catch((error) => {
  say("");
  complain(error);
});
