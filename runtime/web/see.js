// The tab in which the detector is seen at work: one panel, or two side by side, each with a worker of its own.

import { Engine, openModel } from "./engine.js";

const OWN = { model: "the file's own", raster: "raster", random: "random" };
const PACES = { 1: "every frame", 4: "every 4th frame", 16: "every 16th frame" };
const STALEST = 8; // frames; older cells are drawn alike
const RECENT = 30; // frames of which the median is shown
const MOST_SHOWN = 8;
const WINDOW_COLOUR = "#ffdc28";
const MASK_INK = [255, 60, 60, 130]; // RGBA
const CLASS_ALPHA = 128; // of what the outline of a class is around
const CAMERA_ERRORS = {
  NotAllowedError: "The camera was not allowed; allow it in the browser's settings of this page.",
  NotFoundError: "There is no camera; take a video file or the sample clip.",
  NotReadableError: "The camera is in use by another program.",
};

/** A canvas on which one system's answers are drawn. */
class Panel {
  constructor(root, view) {
    this.root = root;
    this.view = view;
    this.canvas = root.querySelector("canvas");
    this.context = this.canvas.getContext("2d");
    this.system = root.querySelector(".system");
    this.policy = root.querySelector(".policy");
    this.system.onchange = () => {
      view.complain(null);
      this.open(this.system.value).catch(view.complain);
    };
    this.policy.onchange = () => this.restart();
    this.busy = true;
    this.version = 0; // of what is played and by whom: answers to an earlier one are not drawn
    this.openings = 0;
    this.opening = Promise.resolve();
  }

  /** Lists the systems that there are. */
  list() {
    const chosen = this.system.value;
    this.system.replaceChildren(...[...this.view.library.entries.keys()].map((name) => new Option(name)));
    if (chosen) this.system.value = chosen;
  }

  /** Opens a system of the library. The one before goes on until it is there. */
  open(name) {
    this.opening = this.#open(name, ++this.openings);
    return this.opening;
  }

  async #open(name, number) {
    this.system.value = name;
    const engine = new Engine();
    try {
      await engine.call("start", [1, true]);
      const { facts, proof } = await openModel(engine, this.view.library.entries.get(name));
      if (number !== this.openings) return engine.end(); // another one was chosen meanwhile
      this.engine?.end();
      Object.assign(this, { engine, facts, name });
      this.#tell(proof);
      this.#listPolicies();
      this.restart();
      this.view.changed();
    } catch (error) {
      engine.end();
      if (number !== this.openings) return;
      if (this.name) this.system.value = this.name;
      throw new Error(`${name}: ${error.message}`);
    }
  }

  // Whether answers are right stays to be read as long as they are shown.
  #tell({ worst, failure }) {
    const proof = this.root.querySelector(".proof");
    proof.classList.toggle("alert", Boolean(failure));
    proof.textContent = failure ?? (worst === null ? "There are no golden vectors to prove its answers by."
      : `On golden frames it answers as elsewhere, to ${worst.toExponential(0)}.`);
    this.view.say(`${this.name} is ready.`);
  }

  /** The next frame is the first of a video. */
  restart() {
    this.answer = null;
    this.count = 0;
    this.times = [];
    this.answered = [];
    this.busy = false;
    this.version++;
    this.engine?.call("reset", [this.name, this.view.start()]).catch(() => {}); // it may have been ended
  }

  /** Whether there is a policy of that name. */
  knows(name) {
    return [...this.policy.options].some(({ value }) => value === name);
  }

  end() {
    this.openings++;
    this.version++;
    this.engine?.end();
    this.root.remove();
  }

  /** Takes frame `number` of a video, unless the one before is not answered yet. */
  async offer(video, number) {
    if (this.busy || !this.engine || number === this.seen) return;
    this.busy = true;
    this.seen = number;
    const { version, engine } = this;
    try {
      let image = await createImageBitmap(video);
      if (version !== this.version) return image.close(); // of the video before
      if (this.count % this.#pace() === 0) {
        const answer = await engine.call("push", [this.name, image, this.#window()], [image]);
        image = answer.image;
        if (version === this.version) this.#note(answer);
      }
      if (version !== this.version) return image.close();
      this.count++;
      this.#draw(image);
      image.close();
    } catch (error) {
      if (version === this.version) this.view.complain(error);
    } finally {
      if (version === this.version) this.busy = false;
      this.view.offer(); // another one may have come meanwhile
    }
  }

  get #isPatchwork() {
    return this.facts.grid.cells > this.facts.grid.window_cells;
  }

  #listPolicies() {
    const choices = this.#isPatchwork ? OWN : PACES, chosen = this.policy.value;
    this.policy.replaceChildren(...Object.entries(choices).map(([value, text]) => new Option(text, value)));
    this.policy.value = chosen in choices ? chosen : Object.keys(choices)[0];
  }

  #pace() {
    return this.#isPatchwork ? 1 : Number(this.policy.value);
  }

  // The window of a blind policy.
  #window() {
    if (!this.#isPatchwork || this.policy.value === "model") return null;
    const { cells, window_cells: window } = this.facts.grid, last = cells - window;
    if (this.policy.value === "random") return [0, 0].map(() => Math.floor(Math.random() * (last + 1)));
    const side = Math.ceil(cells / window), turn = this.count % side ** 2;
    return [Math.floor(turn / side), turn % side].map((step) => Math.min(step * window, last));
  }

  #note(answer) {
    const { cells, window_cells: window } = this.facts.grid;
    if (!this.answer) this.ages = new Array(cells * cells).fill(STALEST); // a sweep has not seen all
    this.answer = answer;
    this.times.push(answer.runMs);
    if (this.times.length > RECENT) this.times.shift();
    this.ages = this.ages.map((age, cell) => {
      if (!answer.window) return 0;
      const row = Math.floor(cell / cells) - answer.window[0], column = (cell % cells) - answer.window[1];
      return row >= 0 && row < window && column >= 0 && column < window ? 0 : age + 1;
    });
  }

  #draw(image) {
    const { canvas, context } = this;
    if (canvas.width !== image.width || canvas.height !== image.height)
      Object.assign(canvas, { width: image.width, height: image.height });
    context.drawImage(image, 0, 0);
    if (this.#isPatchwork) this.#shade();
    if (this.answer.classes) this.#drawClasses();
    else if (this.answer.mask) this.#drawMask();
    const least = this.view.least();
    const boxes = (this.answer.boxes ?? []).filter(({ score }) => score >= least);
    for (const found of [...boxes].reverse()) this.#drawBox(found);
    const shares = (this.answer.regions ?? []).map(({ number, share }) => `${this.#label(number)} ${(100 * share).toFixed(1)} %`);
    this.#write([...boxes.map(({ label, score }) => `${this.#label(label)} ${score.toFixed(2)}`), ...shares]);
  }

  #shade() {
    const { cells, window_cells: window } = this.facts.grid, { canvas, context, answer } = this;
    const height = canvas.height / cells, width = canvas.width / cells;
    this.ages.forEach((age, cell) => {
      context.fillStyle = `rgb(0 0 0 / ${(0.6 * Math.min(age, STALEST)) / STALEST})`;
      context.fillRect((cell % cells) * width, Math.floor(cell / cells) * height, width, height);
    });
    if (!answer.window) return;
    const [row, column] = answer.window, line = this.#line() + 1;
    context.strokeStyle = WINDOW_COLOUR;
    context.lineWidth = line;
    context.strokeRect(column * width + line / 2, row * height + line / 2, window * width - line, window * height - line);
  }

  #drawBox({ box: [ymin, xmin, ymax, xmax], score, label }) {
    const { canvas, context } = this, colour = `hsl(${(label * 137.5) % 360} 90% 60%)`;
    const x = xmin * canvas.width, y = ymin * canvas.height;
    context.strokeStyle = colour;
    context.lineWidth = this.#line();
    context.strokeRect(x, y, (xmax - xmin) * canvas.width, (ymax - ymin) * canvas.height);
    this.#drawText(`${this.#label(label)} ${score.toFixed(2)}`, colour, () => [x, y]);
  }

  // Black on a colour. `place`: of a width and height to the left and the bottom.
  #drawText(text, colour, place) {
    const { canvas, context } = this, size = 8 * this.#line(), height = 1.3 * size;
    context.font = `600 ${size}px system-ui, sans-serif`;
    const width = context.measureText(text).width + size / 2, [left, bottom] = place(width, height);
    const x = Math.max(0, Math.min(left, canvas.width - width)), y = Math.max(bottom, height);
    context.fillStyle = colour;
    context.fillRect(x, y - height, width, height);
    context.fillStyle = "#000";
    context.fillText(text, x + size / 4, y - size / 3);
  }

  #drawMask() {
    const { mask } = this.answer;
    this.#tint((at) => mask[at] > 0.5 && MASK_INK);
  }

  #drawClasses() {
    const { classes, regions } = this.answer, { canvas, facts } = this, pitch = facts.input.image_size[1];
    const colours = facts.labels.map((_, number) => classColour(number, facts.labels.length));
    const inks = colours.map((colour) => [CLASS_ALPHA, 255].map((alpha) => [...colour, alpha]));
    this.#tint((at) => {
      const value = classes[at];
      return value && inks[value - 1][Number([at - 1, at + 1, at - pitch, at + pitch].some((next) => classes[next] !== value))];
    });
    for (const { number, y, x } of regions)
      this.#drawText(this.#label(number), `rgb(${colours[number]})`, (width, height) => [
        x * canvas.width - width / 2, y * canvas.height + height / 2,
      ]);
  }

  // Colours the frame: `inkAt` gives RGBA, or nothing, for a place in the mask.
  #tint(inkAt) {
    const { top, left, height, width } = this.answer.place, pitch = this.facts.input.image_size[1];
    const shape = new OffscreenCanvas(width, height), pixels = new ImageData(width, height);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const ink = inkAt((top + y) * pitch + left + x);
        if (ink) pixels.data.set(ink, 4 * (y * width + x));
      }
    shape.getContext("2d").putImageData(pixels, 0, 0);
    this.context.drawImage(shape, 0, 0, this.canvas.width, this.canvas.height);
  }

  #write(found) {
    const now = performance.now(), sorted = [...this.times].sort((a, b) => a - b);
    this.answered = [...this.answered.filter((time) => now - time < 1000), now];
    const { window, prepareMs, memoryMb } = this.answer;
    const looked = !this.#isPatchwork ? "" : window ? `, window ${window.join(", ")}` : ", whole frame";
    const numbers = this.root.querySelector(".numbers"), strong = document.createElement("strong");
    strong.textContent = `${sorted[sorted.length >> 1].toFixed(1)} ms`;
    numbers.replaceChildren(strong, ` and ${prepareMs.toFixed(1)} ms to scale, ${this.answered.length} frames per second` +
      `${looked}, ${memoryMb.toFixed(0)} MB`);
    this.root.querySelector(".found").replaceChildren(...found.slice(0, MOST_SHOWN).map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      return item;
    }));
  }

  #label(label) {
    return this.facts.labels[label] ?? `class ${label}`;
  }

  #line() {
    return Math.max(2, Math.round(Math.min(this.canvas.width, this.canvas.height) / 200));
  }
}

/** The colour of one of `count` classes, as patchwork_tf/drawing.py has it: of all hues, [red, green, blue]. */
function classColour(number, count) {
  return [5, 3, 1].map((shift) => {
    const hue = (shift + (6 * number) / count) % 6;
    return Math.floor(255 * (1 - 0.65 * Math.max(0, Math.min(hue, 4 - hue, 1))));
  });
}

/** The tab. */
export class See {
  panels = [];

  /**
   * @param {Library} library
   * @param {function(string): void} say
   * @param {function(?Error): void} complain shows an error; null: none any more
   * @param {function(): void} changed is told when `settings` did
   */
  constructor(library, say, complain, changed) {
    Object.assign(this, { library, say, complain, changed });
    this.video = document.getElementById("video");
    this.facing = "environment";
    this.number = 0; // of the newest frame
    this.playing = 0; // counts what was played
    this.held = false;
    this.#addPanel();
    this.#wire();
  }

  /** Opens a system of the library, by default the first, in the first panel. */
  async show(name = this.library.entries.keys().next().value) {
    for (const panel of this.panels) panel.list();
    await this.panels[0].open(name);
  }

  /** Does as an address says; by default it opens the first system. */
  async open(link) {
    const areKnown = (names) => names.length <= 2 && names.every((name) => this.library.entries.has(name));
    const [first, second] = link.take("system", areKnown);
    await this.show(first);
    if (second) await this.#setBoth(true, second);
    const policies = link.take("policy", (names) => names.every((name, i) => this.panels[i]?.knows(name)));
    policies.forEach((name, i) => (this.panels[i].policy.value = name));
    if (link.take("play", ([what]) => what === "sample").length) await this.#playSample();
  }

  /** What is not as usual, for an address. What was dropped is in none. */
  settings() {
    const { panels, library, playsSample } = this, [usual] = library.entries.keys();
    const system = panels.map(({ name }) => name), policy = panels.map((panel) => panel.policy.value);
    const settings = playsSample ? { play: ["sample"] } : {};
    if (!system.every((name) => library.entries.has(name) && !library.dropped.has(name))) return settings;
    if (system.join() !== usual) Object.assign(settings, { system });
    if (panels.some((panel) => panel.policy.selectedIndex)) Object.assign(settings, { policy });
    return settings;
  }

  /** Keeps quiet until it is let go: nothing plays, nothing runs. */
  async hold(held) {
    this.held = held;
    if (!held) return;
    this.video.pause();
    await Promise.allSettled(this.panels.map((panel) => panel.opening));
  }

  start() {
    return document.getElementById("start").value;
  }

  least() {
    return Number(document.getElementById("least").value);
  }

  /** Plays a video file. */
  async play(file) {
    await this.#show({ src: URL.createObjectURL(file), what: file.name });
  }

  async #playSample() {
    const file = await this.library.sample();
    await this.#show({ src: URL.createObjectURL(file), what: file.name, isSample: true });
  }

  #wire() {
    const on = (id, event, act) => document.getElementById(id).addEventListener(event, (...given) => {
      Promise.resolve(act(...given)).catch(this.complain);
    });
    on("camera", "click", () => this.#openCamera());
    on("turn", "click", () => this.#openCamera(this.facing === "environment" ? "user" : "environment"));
    on("sample", "click", () => this.#playSample());
    on("video-file", "change", ({ target }) => {
      const [file] = target.files;
      target.value = ""; // so that the same file may be chosen again
      return file && this.play(file);
    });
    on("pause", "click", () => (this.video.paused ? this.video.play() : this.video.pause()));
    on("both", "change", ({ target }) => this.#setBoth(target.checked));
    on("start", "change", () => this.panels.forEach((panel) => panel.facts && panel.restart()));
    on("least", "input", ({ target }) => {
      document.getElementById("least-shown").textContent = Number(target.value).toFixed(2);
    });
    const pause = document.getElementById("pause");
    for (const event of ["play", "pause"])
      on("video", event, () => {
        pause.disabled = false;
        if (this.held) this.video.pause();
        pause.textContent = this.video.paused ? "Go on" : "Pause";
      });
    // A jump in time is another scene, also from the end to the beginning.
    on("video", "seeking", () => this.panels.forEach((panel) => panel.facts && panel.restart()));
    this.#follow();
  }

  #addPanel() {
    const root = document.getElementById("panel").content.cloneNode(true).firstElementChild;
    document.getElementById("panels").append(root);
    const panel = new Panel(root, this);
    panel.list();
    this.panels.push(panel);
    return panel;
  }

  async #setBoth(both, name) {
    document.getElementById("both").checked = both;
    document.getElementById("panels").classList.toggle("two", both);
    if (!both) {
      this.panels.splice(1).forEach((panel) => panel.end());
      return this.changed();
    }
    const entries = [...this.library.entries.values()], [first] = this.panels;
    if (!entries.length) throw new Error("There are no models yet.");
    const others = entries.filter(({ name }) => name !== first.name);
    const alike = others.filter(({ reference }) => reference === first.facts?.reference);
    const other = alike.find(({ system, reference }) => system === reference) ?? alike[0] ?? others[0] ?? entries[0];
    await this.#addPanel().open(name ?? other.name);
  }

  async #openCamera(facing = this.facing) {
    if (!navigator.mediaDevices) throw new Error("A browser gives cameras only to pages by https or from localhost.");
    this.#stopCamera(); // phones open one at a time
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: facing, width: { ideal: 1280 } } });
      this.facing = facing;
    } catch (error) {
      throw new Error(CAMERA_ERRORS[error.name] ?? `The camera cannot be opened (${error.message}).`);
    }
    const [track] = stream.getVideoTracks();
    track.onended = () => this.complain(new Error("The camera was taken away; open it again."));
    await this.#show({ srcObject: stream, what: track.label || "the camera" });
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
    document.getElementById("turn").hidden = cameras.length < 2;
  }

  #stopCamera() {
    for (const track of this.video.srcObject?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
  }

  async #show({ src, srcObject, what, isSample = false }) {
    if (this.held) throw new Error("Something is being measured; cancel that first.");
    const turn = ++this.playing;
    this.complain(null);
    this.#stopCamera();
    if (this.video.src) URL.revokeObjectURL(this.video.src);
    this.video.removeAttribute("src");
    this.video.srcObject = srcObject ?? null;
    this.playsSample = isSample;
    this.changed();
    if (src) this.video.src = src;
    try {
      await this.video.play();
    } catch (error) {
      if (turn !== this.playing || error.name === "AbortError") return; // something else was played, or it was paused
      throw new Error(error.name === "NotAllowedError" ? `${what}: this browser waits for you to press Go on.`
        : `${what}: this browser cannot play it.`);
    }
    if (turn !== this.playing) return;
    if (!this.video.videoWidth) throw new Error(`${what}: there are no pictures in it.`);
    this.panels.forEach((panel) => panel.facts && panel.restart());
    this.say(`Playing ${what}, ${this.video.videoWidth} x ${this.video.videoHeight}.`);
  }

  /** Offers the newest frame to all panels. */
  offer() {
    const { HAVE_CURRENT_DATA } = HTMLMediaElement, { video } = this;
    if (this.held || video.paused || video.readyState < HAVE_CURRENT_DATA) return;
    for (const panel of this.panels) panel.offer(video, this.number);
  }

  // Counts frames as they come.
  #follow() {
    const { video } = this;
    const next = (act) => (video.requestVideoFrameCallback ? video.requestVideoFrameCallback(act) : requestAnimationFrame(act));
    let time;
    const seen = () => {
      if (video.currentTime !== time) this.number++;
      time = video.currentTime;
      this.offer();
      next(seen);
    };
    next(seen);
  }
}
