// The bar at the bottom: the last call as a line of curl, and what was answered.

import { calls } from "../lib/api.js";
import { announce, el } from "../lib/dom.js";
import { bytes, milliseconds } from "../lib/words.js";

/** Of an answer, the characters that are shown; all of them are copied. */
const SHOWN = 20_000;

/** An answer as text: JSON is indented, what is no text is told. */
async function textOf(blob) {
  if (!blob) return "";
  if (!/json|^text\//.test(blob.type)) return `${blob.type || "no type"}, ${bytes(blob.size)}`;
  const text = await blob.text();
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

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
    const name = button.textContent;
    if (name === "Copied") return;
    await copy(text());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = name; }, 1500);
  });
  return button;
}

export function requestBar(footer) {
  let last = null;
  const facts = el("span", { class: "facts" });
  const line = el("pre", { tabIndex: 0, role: "region", "aria-label": "The last call as a line of curl" });
  const copyLine = copyButton(() => last.curl);
  copyLine.setAttribute("aria-label", "Copy the curl line, with the key");
  const answer = el("pre", { tabIndex: 0, class: "answer", role: "region", "aria-label": "The answer to the last call" });
  let answered = "";
  const copyAnswer = copyButton(() => answered);
  copyAnswer.setAttribute("aria-label", "Copy the answer");
  copyAnswer.classList.add("answer");
  copyAnswer.textContent = "Copy answer";
  const draw = async () => {
    if (!footer.classList.contains("open")) return;
    const { answer: blob } = last;
    answered = await textOf(blob);
    if (blob === last.answer) answer.textContent = answered.length > SHOWN ? `${answered.slice(0, SHOWN)}…` : answered;
  };
  const more = el("button", { type: "button", class: "small", "aria-expanded": "false" }, "curl");
  more.addEventListener("click", () => {
    const open = footer.classList.toggle("open");
    more.setAttribute("aria-expanded", String(open));
    draw();
  });
  footer.append(facts, line, more, copyLine, answer, copyAnswer);
  calls.addEventListener("call", ({ detail }) => {
    if (!detail || detail.quiet) return;
    last = detail;
    footer.hidden = false;
    facts.replaceChildren(el("b", {}, `${detail.status || "no answer"}`), ` in ${milliseconds(detail.milliseconds)}`);
    line.textContent = detail.shown;
    draw();
  });
}
