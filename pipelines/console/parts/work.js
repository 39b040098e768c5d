// One piece of work at a time: what runs, how long already, a way to stop it, and what went wrong.

import { announce, el, prose } from "../lib/dom.js";
import { explain } from "../lib/errors.js";
import { session } from "../lib/session.js";

export class Work {
  #controller = null;
  #timer = null;
  /** Whether the last run went wrong, and was not stopped. */
  failed = false;

  constructor() {
    this.element = el("div", { class: "work" });
  }

  stop() {
    this.#controller?.abort();
  }

  /** Runs `task(signal, progress)`, stopping what ran before. Resolves to its result, or to undefined where it failed or was
   *  stopped; the page keeps whatever it showed. progress(text, fraction) tells how far it is; again() is what the offer to try
   *  again does. */
  async run(title, task, again = null) {
    this.stop();
    const controller = new AbortController();
    this.#controller = controller;
    this.failed = false;
    const progress = this.#show(title, controller);
    try {
      const result = await task(controller.signal, progress);
      if (controller === this.#controller) this.clear();
      return result;
    } catch (error) {
      if (controller !== this.#controller) return undefined;
      this.clear();
      if (error.name === "AbortError") announce("Stopped.");
      else this.fail(error, again);
      return undefined;
    } finally {
      if (controller === this.#controller) this.#controller = null;
    }
  }

  clear() {
    clearInterval(this.#timer);
    this.element.replaceChildren();
  }

  fail(error, again = null) {
    const { what, todo, detail } = explain(error);
    const retry = again && el("button", { type: "button", class: "small", onclick: again }, "Try again");
    const signIn = error.wrongKey && el("a", { class: "button small", href: "#/sign-in", onclick: () => session.leave() }, "Use another key");
    clearInterval(this.#timer);
    this.failed = true;
    this.element.replaceChildren(
      el(
        "div",
        { class: "notice bad", role: "alert" },
        el("p", {}, el("b", {}, error.file && `${error.file}: `, prose(what))),
        todo && el("p", {}, prose(todo)),
        detail && el("details", {}, el("summary", {}, "What the server said"), el("code", {}, detail)),
        el("div", { class: "row" }, signIn || retry),
      ),
    );
  }

  #show(title, controller) {
    clearInterval(this.#timer);
    const started = performance.now();
    const text = el("span", {}, title);
    const bar = el("progress", { max: 1, hidden: true, "aria-label": "Progress" });
    const seconds = el("span", { class: "muted", hidden: true, "aria-hidden": "true" });
    this.#timer = setInterval(() => {
      seconds.hidden = false;
      seconds.textContent = `${Math.round((performance.now() - started) / 1000)} s`;
    }, 1000);
    seconds.style.flex = "none";
    this.element.replaceChildren(
      el(
        "div",
        { class: "running", role: "status" },
        el("i", { class: "spinner", "aria-hidden": "true" }),
        text,
        bar,
        seconds,
        el("button", { type: "button", class: "small", onclick: () => controller.abort() }, "Stop"),
      ),
    );
    return (words, fraction = null) => {
      if (words && text.textContent !== words) text.textContent = words;
      bar.hidden = fraction === null;
      if (fraction !== null) bar.value = fraction;
    };
  }
}
