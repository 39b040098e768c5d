// Pictures that need a key, fetched when they come into view, a few at a time, and kept small.

import { call } from "../lib/api.js";
import { el } from "../lib/dom.js";

const AT_ONCE = 4;
const SIDE = 240;

export class Thumbnails {
  #waiting = [];
  #running = 0;
  #finders = new Map();
  #controller = new AbortController();
  #observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      this.#observer.unobserve(target);
      this.#waiting.push(target);
      this.#next();
    }
  });

  /** A place for a picture. find(signal): resolves to its path, or to null where there is none, once it is in view. */
  show(find, label) {
    const place = el("div", { class: "blank", role: "img", "aria-label": label });
    this.#finders.set(place, find);
    this.#observer.observe(place);
    return place;
  }

  stop() {
    this.#controller.abort();
    this.#observer.disconnect();
  }

  async #next() {
    if (this.#running >= AT_ONCE || !this.#waiting.length) return;
    this.#running += 1;
    const place = this.#waiting.shift();
    const { signal } = this.#controller;
    try {
      const path = await this.#finders.get(place)(signal);
      if (path) {
        const bitmap = await square(await call({ api: "compreface", path, as: "blob", quiet: true, signal }));
        const canvas = el("canvas", { width: SIDE, height: SIDE, role: "img", "aria-label": place.getAttribute("aria-label") });
        canvas.getContext("2d").drawImage(bitmap, 0, 0);
        bitmap.close();
        place.replaceWith(canvas);
      }
    } catch {
      place.textContent = "no preview";
    } finally {
      this.#finders.delete(place);
      this.#running -= 1;
      this.#next();
    }
  }
}

async function square(blob) {
  const full = await createImageBitmap(blob, { imageOrientation: "from-image" });
  const side = Math.min(full.width, full.height);
  const options = { resizeWidth: SIDE, resizeHeight: SIDE, resizeQuality: "medium" };
  const small = await createImageBitmap(full, (full.width - side) / 2, (full.height - side) / 2, side, side, options);
  full.close();
  return small;
}
