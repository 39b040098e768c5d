// Keys, for who may make them.

import { call } from "../lib/api.js";
import { announce, checkbox, confirm, el, field, pageHead } from "../lib/dom.js";
import { daily } from "../parts/daily.js";
import { copyButton } from "../parts/request_bar.js";
import { Work } from "../parts/work.js";

const BASE = "/admin/keys";
const SCOPES = ["recognition", "detection", "verification", "trueface", "facecheck", "aifaceswap", "admin"];

export function keys() {
  const work = new Work();
  const rows = el("tbody");
  const fresh = el("div");
  const inputs = {};
  const text = (name, label, options) => field(label, (ties) => (inputs[name] = el("input", { type: "text", autocomplete: "off", maxLength: 255, ...ties })), options);
  const scopes = SCOPES.map((scope) => [scope, checkbox(scope, { checked: scope !== "admin" })]);
  const ask = (request) => call({ api: "admin", ...request });
  let names = new Map();
  // The key that has just been made: it is shown.
  let shown = null;
  const used = daily("/admin/usage", () => names);

  async function load() {
    const answer = await work.run("Loading keys…", (signal) => ask({ path: BASE, signal, quiet: true }), load);
    if (!answer) return;
    rows.replaceChildren(...answer.keys.map(row));
    names = new Map(answer.keys.map(({ id, name }) => [id, name]));
    await used.load();
  }

  function row(key) {
    const { id, name, prefix, tenant, gallery, credits, created, revoked } = key;
    const act = (label, run) => el("button", { type: "button", class: "small", "aria-label": `${label} ${name}`, onclick: run }, label);
    return el(
      "tr",
      {},
      el("td", { "data-label": "Name" }, name),
      el("td", { "data-label": "Key" }, el("code", {}, `${prefix}-…`)),
      el("td", { "data-label": "For" }, key.scopes.join(", ")),
      el("td", { "data-label": "Tenant, gallery" }, `${tenant}, ${gallery}`),
      el("td", { "data-label": "Credits", class: "number" }, credits === null ? "no limit" : credits.toLocaleString("en")),
      el("td", { "data-label": "Made" }, new Date(created).toLocaleDateString()),
      el("td", {}, revoked ? el("span", { class: "badge bad" }, "revoked") : el("div", { class: "row" }, act("Top up", () => topUp(id, name)), act("Revoke", () => revoke(id, name)))),
    );
  }

  async function make(event) {
    event.preventDefault();
    const { name, tenant, gallery, credits } = inputs;
    const json = { name: name.value.trim(), scopes: scopes.filter(([, { control }]) => control.checked).map(([scope]) => scope) };
    if (tenant.value.trim()) json.tenant = tenant.value.trim();
    if (gallery.value.trim()) json.gallery = gallery.value.trim();
    if (credits.value) json.credits = Number(credits.value);
    // Quiet: the answer holds the key.
    const made = await work.run("Making the key…", (signal) => ask({ method: "POST", path: BASE, json, signal, quiet: true }));
    if (!made) return;
    for (const input of Object.values(inputs)) input.value = "";
    const close = () => fresh.replaceChildren();
    shown = made.id;
    fresh.replaceChildren(
      el(
        "div",
        { class: "notice good", role: "status" },
        el("p", {}, el("b", {}, `The key ${made.name}`), ": copy it now, it is not shown again."),
        el("p", {}, el("code", {}, made.key)),
        el("div", { class: "row" }, copyButton(() => made.key), el("button", { type: "button", class: "small", onclick: close }, "I have it")),
      ),
    );
    announce(`The key ${made.name} is made.`);
    await load();
  }

  async function revoke(id, name) {
    if (!(await confirm(`Revoke ${name}?`, "Whoever uses it is refused from now on. What was stored with it stays. This cannot be undone.", "Revoke"))) return;
    if (!(await work.run("Revoking…", (signal) => ask({ method: "POST", path: `${BASE}/${id}/revoke`, signal })))) return;
    if (shown === id) fresh.replaceChildren();
    await load();
  }

  function topUp(id, name) {
    let amount;
    const dialog = el(
      "dialog",
      { "aria-label": `Top up ${name}`, onclose: () => dialog.remove() },
      el(
        "form",
        {
          class: "fields",
          onsubmit: async (event) => {
            event.preventDefault();
            dialog.close();
            if (await work.run("Adding credits…", (signal) => ask({ method: "POST", path: `${BASE}/${id}/credits`, json: { credits: Number(amount.value) }, signal }))) await load();
          },
        },
        field(`Credits for ${name}`, (ties) => (amount = el("input", { type: "number", min: 1, required: true, value: 100, ...ties })), { hint: "A key without limit gets one." }),
        el("div", { class: "row end" }, el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), el("button", { type: "submit", class: "primary" }, "Add")),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  }

  const form = el(
    "form",
    { class: "card stack", onsubmit: make },
    el("h2", {}, "A new key"),
    el(
      "div",
      { class: "grid-fields" },
      text("name", "Name", {}),
      text("tenant", "Tenant", {}),
      text("gallery", "Gallery", {}),
      field("Credits", (ties) => (inputs.credits = el("input", { type: "number", min: 0, ...ties }))),
    ),
    el("p", { class: "hint" }, "Keys of one tenant share enrolments, collections, searches and tasks, and a gallery where they name the same. Without a tenant a key is alone; without credits it has no limit."),
    el("fieldset", {}, el("legend", {}, "What it is for"), el("div", { class: "checks" }, scopes.map(([, { element }]) => element))),
    el("div", { class: "row" }, el("button", { type: "submit", class: "primary" }, "Make the key")),
    fresh,
  );
  inputs.name.required = true;
  const heads = ["Name", "Key", "For", "Tenant, gallery", "Credits", "Made", ""];
  const element = el(
    "section",
    {},
    pageHead("Keys", "Who may call what. For keys with the scope admin."),
    form,
    el(
      "div",
      { class: "card" },
      work.element,
      el("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": "Keys" }, el("table", { class: "stacked" }, el("thead", {}, el("tr", {}, heads.map((name) => el("th", { scope: "col" }, name || el("span", { class: "sr" }, "Actions"))))), rows)),
    ),
    used.element,
  );
  return { element, onshow: load };
}
