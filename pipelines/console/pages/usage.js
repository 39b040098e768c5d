// What this key has, and what this page has asked for.

import { call, calls } from "../lib/api.js";
import { masked } from "../lib/curl.js";
import { el, pageHead } from "../lib/dom.js";
import { server, session } from "../lib/session.js";
import { bytes, listed, milliseconds } from "../lib/words.js";
import { daily } from "../parts/daily.js";
import { copyButton } from "../parts/request_bar.js";
import { Work } from "../parts/work.js";

const SHOWN = 100;

export function usage() {
  const work = new Work();
  const days = daily("/admin/key/usage");
  const figures = el("div", { class: "figures" });
  const paid = el("p", { class: "hint" }, "Searches and swaps are paid from the same credits; a point of a swap is one credit. A swap that fails gives its points back.");
  const summary = el("p", { class: "muted" });
  const rows = el("tbody");
  const figure = (value, name) => el("div", { class: "figure" }, el("b", {}, typeof value === "number" ? value.toLocaleString("en") : value), el("span", {}, name));

  async function load() {
    const opens = new Set(session.scopes);
    const found = await work.run("Counting…", async (signal) => {
      const parts = [];
      if (opens.has("recognition") && server.serves("compreface")) {
        const ask = (request) => call({ api: "compreface", signal, quiet: true, ...request });
        const [{ subjects }, { total_elements: examples }] = await Promise.all([
          ask({ path: "/api/v1/recognition/subjects" }),
          ask({ path: "/api/v1/recognition/faces", query: { size: 1 } }),
        ]);
        parts.push([subjects.length, "people"], [examples, "examples"]);
      }
      if (opens.has("trueface") && server.serves("trueface")) {
        const { data } = await call({ api: "trueface", path: "/v1/collection", signal, quiet: true });
        parts.push([data.length, "collections"]);
      }
      if (opens.has("facecheck") && server.serves("facecheck")) {
        const { faces } = await call({ api: "facecheck", method: "POST", path: "/api/info", signal, quiet: true });
        parts.push([faces ?? 0, "faces in the index"]);
      }
      const { credits } = await call({ api: "admin", path: "/admin/key", signal, quiet: true });
      parts.push([credits ?? "no limit", "credits"]);
      if (session.points) parts.push([session.points, "points paid by this page"]);
      return parts;
    }, load);
    if (!found) return;
    figures.replaceChildren(...found.map(([value, name]) => figure(value, name)));
  }

  function drawCalls() {
    const { list } = calls;
    const times = list.map((one) => one.milliseconds).toSorted((a, b) => a - b);
    const failed = list.filter(({ status }) => status === 0 || status >= 400).length;
    summary.textContent = list.length
      ? `${list.length} calls since this page was loaded, ${failed} refused or failed; half of them took less than ${milliseconds(times[Math.floor(times.length / 2)])}.`
      : "No calls since this page was loaded.";
    rows.replaceChildren(...list.slice(0, SHOWN).map(row));
  }

  const row = (one) =>
    el(
      "tr",
      {},
      el("td", { class: "number" }, one.when.toLocaleTimeString()),
      el("td", { class: "path" }, el("code", {}, `${one.method} ${one.path}`)),
      el("td", {}, el("span", { class: `badge ${one.status >= 200 && one.status < 400 ? "good" : "bad"}` }, one.status || "none")),
      el("td", { class: "number" }, milliseconds(one.milliseconds)),
      el("td", { class: "number" }, bytes(one.size)),
      el("td", {}, named(copyButton(() => one.curl), one)),
    );

  const element = el(
    "section",
    {},
    pageHead("Usage", `What this key has used. It is for ${listed(session.scopes)}.`),
    el("div", { class: "card" }, el("h2", {}, "This key, ", el("code", {}, masked(session.key))), figures, paid, work.element),
    days.element,
    el(
      "div",
      { class: "card" },
      el("div", { class: "row" }, el("h2", { id: "calls" }, "Calls of this page"), el("span", { class: "spring" }), el("button", { type: "button", class: "small", onclick: () => calls.clear() }, "Clear")),
      summary,
      el(
        "div",
        { class: "scroll", tabIndex: 0, role: "region", "aria-labelledby": "calls" },
        el(
          "table",
          {},
          el("thead", {}, el("tr", {}, el("th", { scope: "col", class: "number" }, "When"), ["Call", "Answer"].map((name) => el("th", { scope: "col" }, name)), ["Took", "Size"].map((name) => el("th", { scope: "col", class: "number" }, name)), el("th", { scope: "col" }, "curl"))),
          rows,
        ),
      ),
    ),
    server.serves("checkface") ? el("p", { class: "hint" }, "Faces need no key and cost nothing.") : "",
  );
  calls.addEventListener("call", () => element.isConnected && !element.hidden && drawCalls());
  return { element, onshow: () => { drawCalls(); load(); days.load(); } };
}

function named(button, { method, path }) {
  button.setAttribute("aria-label", `Copy the curl line of ${method} ${path}`);
  return button;
}
