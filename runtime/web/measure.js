// The tab in which systems are measured, in turns, as patchwork-benchmark does.

import { Engine, openModel } from "./engine.js";
import { describeFile, describeMachine, makeReport } from "./report.js";
import { generator } from "./statistics.js";

const BLOCK = 32; // frames of a repeat: whole schedules, and short, so that all systems see the same moments
const WARMUP = 8; // frames of a repeat before that
const HOT = 1.15; // times slower in the end than in the beginning

/** The tab. */
export class Measure {
  /**
   * @param {Library} library
   * @param {See} see which is kept quiet meanwhile
   * @param {function(string): void} say
   * @param {function(?Error): void} complain shows an error; null: none any more
   */
  constructor(library, see, say, complain) {
    Object.assign(this, { library, see, say, complain });
    const isolated = self.crossOriginIsolated, cores = navigator.hardwareConcurrency;
    if (isolated && cores > 1) element("threads").append(new Option(`${Math.min(cores, 4)}`));
    if (!isolated && cores > 1)
      element("threads-note").textContent = "One thread is all there is: this page is not isolated. " +
        (navigator.serviceWorker ? "Load it once more to have many." : "It has to come by https or from localhost.");
    element("plan").onsubmit = (event) => {
      event.preventDefault();
      this.#run().catch(complain);
    };
    element("cancel").onclick = () => this.#cancel();
    element("save").onclick = () => this.#save();
    element("share").onclick = () => this.#share().catch(complain);
  }

  /**
   * Lists the systems that there are. Chosen are those that the first is compared with, and what was dropped; a choice
   * stays, but for another file of the same system.
   */
  list() {
    const boxes = [...document.querySelectorAll("#systems input")], known = new Map(boxes.map((box) => [box.value, box.checked]));
    const entries = [...this.library.entries.values()], newest = new Map(entries.map(({ name, system }) => [system, name]));
    const isChosen = ({ name, reference }) => known.get(name) ?? (boxes.length > 0 || reference === entries[0].reference);
    const legend = document.createElement("legend");
    legend.textContent = "Systems";
    element("systems").replaceChildren(legend, ...entries.map((entry) => {
      const { name, system } = entry;
      const label = document.createElement("label"), box = document.createElement("input");
      Object.assign(box, { type: "checkbox", name: "system", value: name, checked: isChosen(entry) && newest.get(system) === name });
      label.append(box, ` ${name}`);
      return label;
    }));
    this.usual ??= ticked().join();
  }

  /** Ticks the systems that an address names. */
  open(link) {
    const names = link.take("measure", (given) => given.every((name) => this.library.entries.has(name)));
    if (names.length) for (const box of document.querySelectorAll("#systems input")) box.checked = names.includes(box.value);
  }

  /** What is not as usual, for an address. */
  settings() {
    const measure = ticked().filter((name) => !this.library.dropped.has(name));
    return measure.length && measure.join() !== this.usual ? { measure } : {};
  }

  async #run() {
    const names = ticked();
    if (!names.length) throw new Error("Choose a system to measure.");
    this.complain(null);
    this.#setRunning(true);
    this.engine = new Engine();
    this.cancelled = false;
    try {
      await this.see.hold(true);
      const settings = { steps: Number(element("steps").value), repeats: 1, warmup: WARMUP, fps: 0, policy: "model", seed: 0 };
      const started = await this.engine.call("start", [Number(element("threads").value), element("simd").value === "relaxed"]);
      settings.threads = started.threads;
      const measured = await this.#open(names);
      const created = new Date();
      const finished = await this.#measure(measured, settings, 60e3 * Number(element("minutes").value));
      for (const [name, { repeats }] of measured) if (!repeats.length) measured.delete(name);
      if (!measured.size) return;
      const machine = await describeMachine(started);
      this.report = makeReport(measured, { created, finished, settings, machine, command: location.href });
      this.#show();
    } catch (error) {
      if (!this.cancelled) throw error;
    } finally {
      this.engine.end();
      this.see.hold(false);
      this.say("");
      this.#setRunning(false);
    }
  }

  /** Opens systems, each of which must give its golden answers. System -> facts, file, repeats (none yet). */
  async #open(names) {
    const measured = new Map();
    for (const name of names) {
      this.#say(`${name}: opening, and holding it against its golden vectors.`);
      const { facts, loadMs, firstMs, bytes, proof } = await openModel(this.engine, this.library.entries.get(name));
      if (proof.failure) throw new Error(`Not measured. ${name}: ${proof.failure}`);
      if (measured.has(facts.system)) throw new Error(`Two files of ${facts.system} are chosen; measure one of them.`);
      measured.set(facts.system, { name, facts, loadMs, firstMs, file: await describeFile(facts, bytes), repeats: [] });
    }
    await this.engine.call("take", await this.library.golden());
    return measured;
  }

  /** Rounds of all systems, each in another order, until there are enough frames. Returns whether there are. */
  async #measure(measured, { steps, seed }, most) {
    const begun = performance.now(), random = generator(seed + 1), rounds = Math.ceil(steps / BLOCK);
    let longest = 0, spent = 0; // milliseconds of rounds, without those that were waited for
    for (let round = 0; round < rounds && spent + longest < most; round++) {
      let took = 0;
      const turns = shuffled([...measured.values()], random);
      const repeats = [];
      for (const system of turns) {
        this.#progress(round * turns.length + repeats.length, rounds * turns.length, begun);
        try {
          const { seconds, ...repeat } = await this.#repeat(system, Math.min(BLOCK, steps - round * BLOCK), begun);
          repeats.push(repeat);
          took += 1e3 * seconds;
        } catch (error) {
          if (this.cancelled) return false;
          throw error;
        }
      }
      turns.forEach((system, i) => system.repeats.push(repeats[i]));
      longest = Math.max(longest, took);
      spent += took;
    }
    return [...measured.values()].every(({ repeats }) => repeats.length === rounds);
  }

  /** One repeat, once more if the tab was hidden meanwhile: browsers slow such tabs down. */
  async #repeat({ name, loadMs, firstMs }, count, begun) {
    for (;;) {
      await shown(() => this.#say("This tab is hidden, so that the browser slows it down: show it, and measuring goes on."));
      const watch = new AbortController();
      let hidden = false;
      document.addEventListener("visibilitychange", () => (hidden = true), { signal: watch.signal });
      const started = (performance.now() - begun) / 1e3;
      const { samples, kinds, memoryMb } = await this.engine.call("time", [name, count, WARMUP]);
      watch.abort();
      const seconds = (performance.now() - begun) / 1e3 - started;
      if (!hidden) return { seconds, started, samples, kinds, load_ms: loadMs, first_ms: firstMs, peak_mb: memoryMb };
    }
  }

  #cancel() {
    this.cancelled = true;
    this.engine.end();
  }

  #setRunning(running) {
    for (const field of element("plan").querySelectorAll("input, select, #begin")) field.disabled = running;
    element("cancel").disabled = !running;
    element("progress").hidden = !running;
    if (running) element("progress").removeAttribute("value");
    else this.#say("");
  }

  #progress(done, total, begun) {
    element("progress").value = done / total;
    const seconds = ((performance.now() - begun) / 1e3 / done) * (total - done);
    this.#say(`Measuring: ${Math.round((100 * done) / total)} %${done ? `, ${Math.ceil(seconds)} s to go` : ""}. Keep this tab in front.`);
  }

  #say(text) {
    element("measuring").textContent = text;
  }

  #show() {
    const { systems, machine } = this.report;
    const heads = ["system", "median, ms", "p95, ms", "p99, ms", "mean, ms", "mean / single frame", "frames"];
    const rows = Object.entries(systems).map(([name, system]) => {
      const cell = (key, digits) => {
        if (system[key] === null) return "-";
        return [system[key].toFixed(digits), system.intervals[key].map((end) => end.toFixed(digits)).join("–")];
      };
      return [name, cell("median_ms", 2), cell("p95_ms", 2), cell("p99_ms", 2), cell("mean_ms", 2), cell("ratio_mean", 3), `${system.samples.length}`];
    });
    element("results").replaceChildren(section("thead", "th", [heads]), section("tbody", "td", rows));
    element("notes").replaceChildren(...notes(this.report).map((note) => textElement("li", note)));
    element("machine").replaceChildren(...Object.entries(machine).flatMap(([key, value]) => [
      textElement("dt", key.replaceAll("_", " ")), textElement("dd", String(value)),
    ]));
    element("share").hidden = !navigator.canShare?.({ files: [this.#file(".txt", "text/plain")] });
    element("report").hidden = false;
    element("report-title").focus();
  }

  #file(suffix = "", type = "application/json") {
    const name = `patchwork-${this.report.created.slice(0, 19).replaceAll(":", "-")}.json${suffix}`;
    return new File([JSON.stringify(this.report)], name, { type });
  }

  #save() {
    const file = this.#file(), link = document.createElement("a");
    Object.assign(link, { href: URL.createObjectURL(file), download: file.name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60e3); // some browsers begin to read later
  }

  async #share() {
    try {
      // Browsers share texts, but no JSON.
      await navigator.share({ files: [this.#file(".txt", "text/plain")], title: "Latency of Patchwork" });
    } catch (error) {
      if (error.name !== "AbortError") throw error; // who changed their mind made no mistake
    }
  }
}

/** What to know before believing a report. */
function notes({ systems, finished, machine, settings }) {
  const all = Object.values(systems), fewest = Math.min(...all.map(({ samples }) => samples.length));
  const looked = all.map(({ repeats }) => repeats.flatMap(({ samples, kinds }) => samples.filter((_, i) => kinds[i] !== "skip")));
  const fastest = Math.min(...looked.flat()), drift = Math.max(...looked.map(slowing));
  const alone = all.filter((system) => system.ratio_mean === null).map(({ reference }) => reference);
  return [
    !finished && `Cut short: ${settings.steps} frames per system were asked for.`,
    fewest < 1000 && `Only ${fewest} frames: p99 rests on the slowest ${Math.ceil(fewest / 100)} of them.`,
    fastest < 10 * machine.clock_ms && `This browser's clock has steps of ${machine.clock_ms} ms: too coarse for these times.`,
    drift > HOT && `The last quarter took ${Math.round(100 * (drift - 1))} % longer than the first: the device got hot, or does other work.`,
    alone.length && `No ratios: ${[...new Set(alone)].join(", ")} was not measured.`,
  ].filter(Boolean);
}

function slowing(samples) {
  const quarter = Math.ceil(samples.length / 4), median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
  return median(samples.slice(-quarter)) / median(samples.slice(0, quarter));
}

/** Waits until this tab is shown. */
async function shown(say) {
  if (!document.hidden) return;
  say();
  await new Promise((resolve) => {
    document.addEventListener("visibilitychange", function seen() {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", seen);
      resolve();
    });
  });
}

function shuffled(items, random) {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [items[i], items[j]] = [items[j], items[i]];
  }
  return items;
}

/** Names of the systems to measure. */
function ticked() {
  return [...document.querySelectorAll("#systems input:checked")].map((box) => box.value);
}

function element(id) {
  return document.getElementById(id);
}

function textElement(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

// Rows of a table; a cell is a text, or a text and a smaller one below it.
function section(tag, cellTag, rows) {
  const made = document.createElement(tag);
  made.append(...rows.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells.map((cell, i) => {
      const [text, small] = [cell].flat(), shown = textElement(i ? cellTag : "th", text);
      if (small) shown.append(textElement("small", small));
      return shown;
    }));
    return row;
  }));
  return made;
}
