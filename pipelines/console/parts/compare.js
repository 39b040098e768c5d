// Two pictures of one size, one over the other, with a seam to be moved.

import { el, slider } from "../lib/dom.js";

export function compare(before, after, labels) {
  const view = el(
    "div",
    { class: "compare" },
    el("img", { src: before, alt: labels[0] }),
    el("img", { src: after, alt: labels[1], class: "after" }),
    el("div", { class: "seam", "aria-hidden": "true" }),
  );
  const seam = slider(
    "Before and after",
    { min: 0, max: 100, step: 1, value: 50 },
    { show: (value) => `${value} % before`, onInput: (value) => view.style.setProperty("--split", `${value}%`) },
  );
  return el("div", { class: "stack" }, view, seam.element);
}
