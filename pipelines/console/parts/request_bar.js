// The bar at the bottom: the last call as a line of curl.

import { calls } from "../lib/api.js";
import { announce, el } from "../lib/dom.js";
import { milliseconds } from "../lib/words.js";

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https, browsers allow only what the user has selected.
    const area = el("textarea", { value: text, class: "sr", "aria-hidden": "true" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  announce("Copied.");
}

export function copyButton(text) {
  const button = el("button", { type: "button", class: "small" }, "Copy");
  button.addEventListener("click", async () => {
    await copy(text());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}

export function requestBar(footer) {
  let last = null;
  const facts = el("span", { class: "facts" });
  const line = el("pre", { tabIndex: 0, role: "region", "aria-label": "The last call as a line of curl" });
  const copyLine = copyButton(() => last.curl);
  copyLine.setAttribute("aria-label", "Copy the curl line, with the key");
  const more = el("button", { type: "button", class: "small", "aria-expanded": "false" }, "curl");
  more.addEventListener("click", () => {
    const open = footer.classList.toggle("open");
    more.setAttribute("aria-expanded", String(open));
  });
  footer.append(facts, line, more, copyLine);
  calls.addEventListener("call", ({ detail }) => {
    if (!detail || detail.quiet) return;
    last = detail;
    footer.hidden = false;
    facts.replaceChildren(el("b", {}, `${detail.status || "no answer"}`), ` in ${milliseconds(detail.milliseconds)}`);
    line.textContent = detail.shown;
  });
}
