// One face of the generator: named by text, by seed or by a registered latent.

import { call } from "../lib/api.js";
import { el, field } from "../lib/dom.js";
import { Latest } from "../lib/latest.js";

const SIDE = 300;
const TYPING_MILLISECONDS = 350;
const KINDS = [["value", "Text"], ["seed", "Seed"], ["guid", "Latent (guid)"]];

export class FaceEnd {
  /** onchange(): the face is another one. */
  constructor(title, text, onchange) {
    this.onchange = onchange;
    this.picture = el("img", { class: "face", alt: "", hidden: true });
    this.problem = el("p", { class: "hint", role: "alert" });
    this.latest = new Latest();
    let timer = null;
    const soon = () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.show(), TYPING_MILLISECONDS);
    };
    const kind = field("Named by", (ties) => (this.kind = el("select", { onchange: () => this.show(), ...ties }, KINDS.map(([value, name]) => el("option", { value }, name)))));
    const words = field(title, (ties) => (this.text = el("input", { type: "text", value: text, autocomplete: "off", spellcheck: false, oninput: soon, ...ties })));
    const any = el("button", { type: "button", class: "small", onclick: () => this.set("seed", String(Math.floor(Math.random() * 1e8))) }, "Anybody");
    this.element = el("div", { class: "card" }, this.picture, words, el("div", { class: "row" }, kind, any), this.problem);
    this.element.querySelector(".row").style.alignItems = "end";
  }

  set(kind, text) {
    this.kind.value = kind;
    this.text.value = text;
    return this.show();
  }

  /** The parameters that name this face, each with the prefix. */
  query(prefix = "") {
    return { [prefix + this.kind.value]: this.text.value };
  }

  /** The same as one word, for the address of the page. */
  get address() {
    return `${this.kind.value}:${this.text.value}`;
  }

  set address(word) {
    const [, kind, text] = /^(value|seed|guid):(.*)$/s.exec(word ?? "") ?? [];
    if (!kind) return;
    this.kind.value = kind;
    this.text.value = text;
  }

  async show() {
    const query = { ...this.query(), dim: SIDE, format: "webp" };
    const found = await this.latest.run(async (signal) => {
      try {
        const blob = await call({ api: "checkface", path: "/api/face/", query, as: "blob", signal, saveTo: "face.webp" });
        return { blob };
      } catch (error) {
        if (error.name === "AbortError") throw error;
        return { error };
      }
    });
    if (!found) return;
    this.problem.textContent = found.error?.message ?? "";
    if (found.error) return;
    if (this.picture.src) URL.revokeObjectURL(this.picture.src);
    this.picture.src = URL.createObjectURL(found.blob);
    this.picture.alt = `The face of ${this.kind.value} ${this.text.value || "(nothing)"}`;
    this.picture.hidden = false;
    this.onchange();
  }
}
