// The settings of the page in its address, behind #: those that are not as usual. Whoever opens it has them, too.

// Of a field its name there -> its id.
const FIELDS = {
  least: "least", start: "start", frames: "steps", minutes: "minutes", threads: "threads", simd: "simd",
};

export class Link {
  #given = new URLSearchParams(location.hash.slice(1));
  #usual = {};
  #wrong = new Set(this.#given.keys()); // until somebody takes it

  /** Fills in the fields of the page. All else in the address is to be taken. */
  constructor() {
    for (const [key, id] of Object.entries(FIELDS)) {
      const field = document.getElementById(id);
      this.#usual[key] = field.value;
      this.take(key, (values) => {
        field.value = values.join(); // a list takes none but its own values, a slider moves to the nearest
        return field.value === values.join() && field.checkValidity();
      });
      if (this.#wrong.has(key)) field.value = this.#usual[key];
      field.dispatchEvent(new Event("input"));
    }
    addEventListener("hashchange", () => location.reload()); // the address of others
  }

  /** The values of a key; none if there are none, or `areRight` says no. */
  take(key, areRight) {
    if (!this.#given.has(key)) return [];
    const values = this.#given.get(key).split(",");
    if (!areRight(values)) return [];
    this.#wrong.delete(key);
    return values;
  }

  /** An error of one line, if the address had what was not taken; else null. */
  complaint() {
    const wrong = [...this.#wrong].map((key) => `${key}=${this.#given.get(key)}`.slice(0, 60)).join(", ");
    return wrong ? new Error(`This page's address asks for what cannot be had here: ${wrong}.`) : null;
  }

  /** Puts fields and other settings, lists of values by key, into the address. */
  write(settings) {
    for (const [key, id] of Object.entries(FIELDS)) {
      const { value } = document.getElementById(id);
      if (value && value !== this.#usual[key]) settings[key] = [value];
    }
    const text = ([key, values]) => `${key}=${values.map(encodeURIComponent).join(",")}`;
    const parts = Object.entries(settings).map(text), hash = parts.length ? `#${parts.join("&")}` : "";
    history.replaceState(null, "", location.pathname + location.search + hash);
  }
}
