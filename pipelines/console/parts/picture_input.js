// A place to drop, choose or paste pictures.

import { announce, el, freshId } from "../lib/dom.js";
import { drawn, loadPicture, mayBeFilm, shrunk } from "../lib/picture.js";
import { server } from "../lib/session.js";
import { bytes } from "../lib/words.js";
import { hasCamera, takePicture } from "./camera.js";

const ACCEPTED = "image/*,.jpg,.jpeg,.png,.webp,.bmp,.gif,.tif,.tiff,.ico";
const FILMS = "video/mp4,.mp4";
const inputs = new Set();

/** The file as the server takes it: as it is, or a smaller copy where it is over the limit; null where it cannot be sent.
 *  tell(text): what is done about it; films: whether it may be one, which is sent as it is. */
export async function fit(file, tell, films = false) {
  const film = films && mayBeFilm(file);
  const most = film ? server.limits.film_bytes : server.limits.max_bytes;
  if (file.size === 0) tell(`${file.name} is empty.`);
  if (file.size <= most) return file.size ? file : null;
  const smaller = film ? null : await shrunk(file, server.limits);
  tell(
    smaller
      ? `${file.name} has ${bytes(file.size)} and the server accepts ${bytes(most)}: a smaller copy of ${bytes(smaller.size)} is sent.`
      : `${file.name} has ${bytes(file.size)}; the server accepts ${bytes(most)}${film ? "" : ", and this browser cannot make it smaller"}.`,
  );
  return smaller;
}

export class PictureInput {
  #adding = Promise.resolve();

  /** max: how many pictures; shown: whether the input shows what was chosen itself; camera: whether one may be taken;
   *  films: whether a film will do; tile: what stands in the place to drop instead of words; problem: where it is told what
   *  does not fit, by default below; onchange(pictures): after each change. */
  constructor(label, { max = 1, hint = null, compact = false, shown = true, camera = false, films = false, tile = null, problem = null, onchange = () => {} } = {}) {
    Object.assign(this, { max, onchange, shown, films });
    this.pictures = [];
    const id = freshId("pictures");
    const film = films ? ` Or a film (mp4, gif, webp), ${bytes(server.limits.film_bytes)} at most.` : "";
    const rules = `${max > 1 ? `Up to ${max} pictures` : "One picture"}, ${bytes(server.limits.max_bytes)} at most${max > 1 ? " each" : ""}.${film}`;
    this.input = el("input", {
      type: "file", id, accept: films ? `${ACCEPTED},${FILMS}` : ACCEPTED, multiple: max > 1, "aria-describedby": `${id}-hint`,
      onchange: () => { this.add([...this.input.files]); this.input.value = ""; },
    });
    this.drop = el(
      "div",
      { class: tile ? "drop tile" : compact ? "drop compact" : "drop" },
      el("label", { htmlFor: id, class: tile ? "sr" : null }, label),
      tile ?? el("span", { "aria-hidden": "true" }, el("strong", {}, "Choose"), ", drop or paste"),
      el("span", { class: tile ? "sr" : "hint", id: `${id}-hint` }, hint ? `${hint} ${rules}` : rules),
      this.input,
    );
    this.problem = problem ?? el("div", { class: "work" });
    this.chosen = el("div", { class: "chosen" });
    const take = camera && hasCamera() && el("button", { type: "button", class: "quiet small", onclick: () => this.#photograph() }, "Use the camera");
    this.element = el("div", { class: "picture-input" }, this.drop, take, problem ? null : this.problem, this.chosen);
    for (const name of ["dragenter", "dragover"]) this.drop.addEventListener(name, () => this.drop.classList.add("over"));
    for (const name of ["dragleave", "drop"]) this.drop.addEventListener(name, () => this.drop.classList.remove("over"));
    this.drop.addEventListener("dragover", (event) => event.preventDefault());
    this.drop.addEventListener("drop", (event) => {
      event.preventDefault();
      this.add([...event.dataTransfer.files]);
    });
    inputs.add(this);
  }

  get picture() {
    return this.pictures[0] ?? null;
  }

  get files() {
    return this.pictures.map(({ file }) => file);
  }

  /** Takes what fits and says what does not; what was chosen before stays where nothing fits. Pictures take a moment to load:
   *  those that come meanwhile wait, or the two would not count each other. */
  add(files) {
    const taken = this.#adding.then(() => this.#take(files));
    this.#adding = taken.catch(() => {});
    return taken;
  }

  async #take(files) {
    this.problem.replaceChildren();
    const fitting = [];
    for (const file of files) {
      const taken = await fit(file, (text) => this.#tell(text), this.films);
      if (taken) fitting.push(taken);
    }
    if (!fitting.length) return;
    const kept = this.max === 1 ? [] : this.pictures;
    const room = this.max - kept.length;
    if (fitting.length > room) this.#tell(room ? `Only ${this.max} pictures fit: the others were left out.` : `There are ${this.max} pictures already: remove one first.`);
    const loaded = await Promise.all(fitting.slice(0, room).map((file) => loadPicture(file)));
    if (!loaded.length) return;
    this.pictures = [...kept, ...loaded];
    this.#show();
    announce(`${loaded.map(({ file }) => file.name).join(", ")} chosen`);
    this.onchange(this.pictures);
  }

  async #photograph() {
    this.problem.replaceChildren();
    try {
      const file = await takePicture();
      if (file) await this.add([file]);
    } catch (error) {
      this.#tell(`There is no camera that this page may use (${error.message}).`);
    }
  }

  clear() {
    this.pictures = [];
    this.problem.replaceChildren();
    this.#show();
    this.onchange(this.pictures);
  }

  #tell(text) {
    this.problem.append(el("p", { class: "notice warn", role: "alert" }, text));
  }

  #show() {
    this.drop.classList.toggle("filled", this.pictures.length > 0);
    if (!this.shown) return;
    this.chosen.replaceChildren(...this.pictures.map((picture) => this.#figure(picture)));
  }

  #figure(picture) {
    const { file, bitmap } = picture;
    const remove = () => {
      this.pictures = this.pictures.filter((other) => other !== picture);
      this.#show();
      this.input.focus();
      this.onchange(this.pictures);
    };
    return el(
      "figure",
      {},
      bitmap ? drawn(bitmap, file.name) : el("div", { class: "empty" }, "no preview"),
      el("figcaption", { title: file.name }, file.name),
      el("button", { type: "button", class: "cross", "aria-label": `Remove ${file.name}`, onclick: remove }, "×"),
    );
  }
}

/** What is pasted goes to the focused input, else to the first on the page that has room, else to the first. */
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])].filter(({ type }) => type.startsWith("image/"));
  const visible = [...inputs].filter(({ element }) => element.isConnected && element.checkVisibility());
  if (!files.length || !visible.length) return;
  const focused = visible.find(({ element }) => element.contains(document.activeElement));
  const target = focused ?? visible.find((input) => input.pictures.length < input.max) ?? visible[0];
  event.preventDefault();
  target.add(files);
});

// A picture that misses its place must not replace the page.
for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
