// What keys have used, by day: a row for each, and a bar as long as its share of the busiest.

import { call } from "../lib/api.js";
import { el, field } from "../lib/dom.js";
import { Work } from "./work.js";

const PERIODS = [[7, "a week"], [30, "30 days"], [90, "90 days"], [365, "a year"]];
const COLUMNS = [["requests", "Requests"], ["pictures", "Pictures"], ["points", "Points"]];

/** path: whose usage; names(): of keys by their id, null where it is one key's alone. */
export function daily(path, names = () => null) {
  const work = new Work();
  const rows = el("tbody");
  const total = el("p", { class: "muted" });
  let found = [];
  let period;
  let whose;
  const periods = field("Of the last", (ties) => (period = el("select", { ...ties, onchange: () => load() }, PERIODS.map(([days, name]) => el("option", { value: days, selected: days === 30 }, name)))));
  const keys = field("Key", (ties) => (whose = el("select", { ...ties, onchange: () => draw() })));

  async function load() {
    const answer = await work.run("Counting…", (signal) => call({ api: "admin", path, query: { days: period.value }, signal, quiet: true }), load);
    if (!answer) return;
    found = answer.days;
    const known = names();
    if (known) {
      const chosen = whose.value;
      const used = new Set(found.map(({ key }) => String(key)));
      whose.replaceChildren(el("option", { value: "" }, "all keys"), ...[...known].filter(([id]) => used.has(String(id))).map(([id, name]) => el("option", { value: id }, name)));
      whose.value = used.has(chosen) ? chosen : "";
    }
    draw();
  }

  function draw() {
    const days = new Map();
    for (const { day, key, ...used } of found) {
      if (whose.value && String(key) !== whose.value) continue;
      const sum = days.get(day) ?? { requests: 0, pictures: 0, points: 0 };
      for (const [name] of COLUMNS) sum[name] += used[name];
      days.set(day, sum);
    }
    const most = Math.max(1, ...[...days.values()].map(({ requests }) => requests));
    const sum = (name) => [...days.values()].reduce((all, used) => all + used[name], 0).toLocaleString("en");
    total.textContent = days.size ? `In all ${sum("requests")} requests, ${sum("pictures")} pictures and ${sum("points")} points. Days are in UTC.` : "Nothing was asked for with it in this time.";
    rows.replaceChildren(...[...days].toReversed().map(([day, used]) => row(day, used, most)));
  }

  const row = (day, used, most) =>
    el(
      "tr",
      {},
      el("th", { scope: "row", "data-label": "Day" }, day),
      COLUMNS.map(([name, label]) => el("td", { "data-label": label, class: "number" }, used[name].toLocaleString("en"))),
      el("td", { class: "bar-cell" }, el("meter", { min: 0, max: most, value: used.requests, "aria-label": `Requests of ${day}` })),
    );

  const heads = ["Day", ...COLUMNS.map(([, label]) => label)];
  const element = el(
    "div",
    { class: "card stack" },
    el("h2", {}, "By day"),
    el("div", { class: "grid-fields" }, periods, names() ? keys : null),
    work.element,
    total,
    el("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": "Usage by day" }, el("table", { class: "stacked" }, el("thead", {}, el("tr", {}, heads.map((name, index) => el("th", { scope: "col", class: index ? "number" : null }, name)), el("th", { scope: "col" }, el("span", { class: "sr" }, "Share of the busiest day")))), rows)),
  );
  return { element, load };
}
