// What is loaded, under which licence, where it runs.

import { el, pageHead, prose } from "../lib/dom.js";
import { server } from "../lib/session.js";
import { bytes } from "../lib/words.js";

const COMMERCIAL = new Map([[true, ["good", "commercial use allowed"]], [false, ["warn", "not for commercial use"]]]);

export function models() {
  const row = (model) => {
    const use = COMMERCIAL.get(model.commercial);
    return el(
      "tr",
      {},
      el("td", {}, el("b", {}, model.role)),
      el("td", { dataset: { label: "Model" } }, model.name, el("div", { class: "muted" }, model.summary)),
      el("td", { dataset: { label: "State" } }, model.loaded ? el("span", { class: "badge good" }, "loaded") : el("span", { class: "badge warn" }, "absent")),
      el("td", { dataset: { label: "Runs on" } }, model.loaded ? model.device : "nowhere"),
      el("td", { dataset: { label: "Licence" } }, model.licence || "not known", " ", use && el("span", { class: `badge ${use[0]}` }, use[1]), model.notice && el("div", { class: "muted" }, model.notice)),
    );
  };
  const api = ({ title, documentation, openapi, needs_key: key }) =>
    el("tr", {}, el("td", {}, el("b", {}, title)), el("td", { dataset: { label: "Calls" } }, key ? "with a key" : "open to everybody"), el("td", { dataset: { label: "To read and try" } }, el("a", { href: documentation }, `${title} documents`)), el("td", { dataset: { label: "For programs" } }, el("a", { href: openapi }, "openapi.json")));
  const head = (...names) => el("thead", {}, el("tr", {}, names.map((name) => el("th", { scope: "col" }, name))));
  const absent = server.models.some(({ loaded }) => !loaded);
  const { limits } = server;
  const element = el(
    "section",
    {},
    pageHead("Models", `What this installation${server.version ? ` of Prosopon ${server.version}` : ""} serves.`),
    el(
      "div",
      { class: "card" },
      el("h2", { id: "roles" }, "Models by role"),
      el("div", { class: "scroll", tabIndex: 0, role: "region", "aria-labelledby": "roles" }, el("table", { class: "stacked" }, head("Role", "Model", "State", "Runs on", "Licence"), el("tbody", {}, server.models.map(row)))),
      absent && el("p", { class: "hint" }, prose("`prosopon models pull` brings what is absent, where a source is known.")),
    ),
    el(
      "div",
      { class: "card" },
      el("h2", { id: "apis" }, "APIs"),
      el("div", { class: "scroll", tabIndex: 0, role: "region", "aria-labelledby": "apis" }, el("table", { class: "stacked" }, head("API", "Calls", "To read and try", "For programs"), el("tbody", {}, server.apis.map(api)))),
      el("p", { class: "hint" }, `A picture may have ${bytes(limits.max_bytes)} and ${(limits.max_pixels / 1e6).toFixed(0)} million pixels.`),
    ),
  );
  return { element };
}
