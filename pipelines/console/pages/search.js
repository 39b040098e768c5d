// A face among all that were indexed.

import { call } from "../lib/api.js";
import { announce, checkbox, el, pageHead, prose, saveAs, show } from "../lib/dom.js";
import { count, unlimited } from "../lib/words.js";
import { session } from "../lib/session.js";
import { filling } from "../parts/filling.js";
import { PictureInput } from "../parts/picture_input.js";
import { wait } from "../parts/wait.js";
import { Work } from "../parts/work.js";

const POLL_MILLISECONDS = 600;
/** The server counts the faces of its index as often as every five seconds. */
const COUNTED_MILLISECONDS = 5500;
const BANDS = [
  [90, "Certain", "good", "90 to 100"],
  [83, "Confident", "", "83 to 89"],
  [70, "Uncertain", "warn", "70 to 82"],
  [50, "Weak", "plain", "50 to 69"],
  [0, "Below 50", "plain", "hardly a likeness"],
];

export function search() {
  const work = new Work();
  const balance = el("p", { class: "hint" });
  const demo = checkbox("A demo: free, and only among the first 100,000 faces");
  const mayFill = session.scopes.includes("admin");
  const filled = () => {
    empty.hidden = true;
    setTimeout(info, COUNTED_MILLISECONDS);
  };
  const fill = mayFill ? filling(filled) : null;
  const ways = `${mayFill ? "Add pictures below, or on" : "On"} the server's machine \`prosopon ingest FOLDER\` adds every face of a folder's pictures; searches see them at once.`;
  const empty = el("p", { class: "notice", hidden: true }, prose(`No face is indexed yet, so nothing can be found. ${ways}`));
  const previews = el("div", { class: "chosen" });
  const outcome = el("div");
  const input = new PictureInput("Pictures of one person", { max: 3, hint: "Several make a better search than one.", onchange: () => changed() });
  const button = el("button", { type: "button", class: "primary", disabled: true, onclick: () => run() }, "Search");
  // The search that the pictures were uploaded to, until they change.
  let uploaded = null;

  const ask = (request) => call({ api: "facecheck", method: "POST", ...request });

  function changed() {
    button.disabled = !input.pictures.length;
    uploaded = null;
    previews.replaceChildren();
  }

  async function info() {
    try {
      const { faces, remaining_credits: credits, has_credits_to_search: enough, is_online: online } = await ask({ path: "/api/info", quiet: true });
      empty.hidden = Boolean(faces);
      if (fill && !faces) fill.open = true;
      balance.textContent = [
        `${(faces ?? 0).toLocaleString("en")} faces are indexed.`,
        enough ? (unlimited(credits) ? "This key searches without limit." : `${count(credits, "credit")} left.`) : "No credits are left for a search.",
        online ? "" : "The search engine is offline.",
      ].join(" ");
    } catch (error) {
      work.fail(error, info);
    }
  }

  async function run() {
    if (!input.pictures.length) return;
    button.disabled = true;
    const found = await work.run("Uploading…", async (signal, progress) => {
      if (!uploaded) {
        const answer = await ask({ path: "/api/upload_pic", form: input.files.map((file) => ["images", file]), signal });
        uploaded = answer.id_search;
        previews.replaceChildren(...(answer.input ?? []).map((picture, index) => preview(picture, index)));
      }
      progress("Searching…", 0);
      const json = { id_search: uploaded, with_progress: true, status_only: false, demo: demo.control.checked };
      for (;;) {
        const answer = await ask({ path: "/api/search", json, signal, quiet: json.status_only });
        if (answer.output) return answer.output;
        progress(answer.message || "Searching…", (answer.progress ?? 0) / 100);
        // From now on a call only asks how far it is.
        json.status_only = true;
        await wait(POLL_MILLISECONDS, signal);
      }
    }, run);
    button.disabled = !input.pictures.length;
    info();
    if (!found) return;
    // The next search, also of the same pictures, is a new one.
    uploaded = null;
    draw(found);
  }

  function preview({ base64 }, index) {
    return el("figure", {}, el("img", { src: base64, alt: `The face found in picture ${index + 1}`, class: "face" }), el("figcaption", {}, `probe ${index + 1}`));
  }

  function draw(output) {
    const items = output.items ?? [];
    const facts = [
      `${(output.searchedFaces ?? 0).toLocaleString("en")} faces searched`,
      output.tookSeconds === null || output.tookSeconds === undefined ? null : `in ${output.tookSeconds.toFixed(2)} s`,
      output.demo ? "(the first 100,000 only)" : null,
    ].filter(Boolean).join(" ");
    const bands = BANDS.map(([least, name, kind, range], index) => {
      const below = index ? BANDS[index - 1][0] : Infinity;
      const members = items.filter(({ score }) => score >= least && score < below);
      if (!members.length) return null;
      return el(
        "section",
        { class: "band", "aria-label": `${name}, ${range}` },
        el("div", { class: "row" }, el("span", { class: `badge ${kind}` }, name), el("span", { class: "muted" }, `${range} · ${count(members.length, "face")}`)),
        el("ul", { class: "results" }, members.map(result)),
      );
    });
    outcome.replaceChildren(
      el("div", { class: "card" }, el("div", { class: "row" }, el("h2", {}, items.length ? count(items.length, "result") : "Nothing alike was found"), el("span", { class: "spring" }), items.length ? exporting(items) : null), el("p", { class: "muted" }, `${facts}.`), ...bands.filter(Boolean)),
    );
    announce(`${count(items.length, "result")}, the best ${output.max_score ?? 0} of 100.`);
  }

  const element = el(
    "section",
    {},
    pageHead("Search", "One to three pictures of a person, among every face that was indexed."),
    empty,
    el(
      "div",
      { class: "card fields" },
      input.element,
      el("div", { class: "row" }, button, demo.element),
      balance,
      work.element,
      previews,
    ),
    outcome,
    fill,
  );
  return { element, onshow: info };
}

function exporting(items) {
  const plain = items.map(({ guid, score, group, url }) => ({ guid, score, group, url }));
  const json = () => saveAs(new Blob([JSON.stringify(plain, null, 2)], { type: "application/json" }), "results.json");
  return el("button", { type: "button", class: "small", onclick: json }, "Export as JSON");
}

function result(item, index) {
  const { score, base64, url } = item;
  const name = `Result ${index + 1}: ${score} of 100`;
  const picture = base64
    ? el("button", { type: "button", class: "open", "aria-label": `${name}: show it large`, onclick: () => show(name, large(item)) }, el("img", { src: base64, alt: name, loading: "lazy" }))
    : el("div", { class: "face" });
  return el("li", { class: "result" }, picture, el("div", {}, el("b", {}, String(score)), place(url)));
}

function large({ base64, url, group }) {
  return el(
    "div",
    { class: "stack" },
    el("img", { src: base64, alt: "", class: "large" }),
    el("p", {}, place(url, url)),
    el("p", { class: "muted" }, `Group ${group} of the index. Results of one group come from one place, such as an album.`),
  );
}

function place(url, shown = null) {
  const web = /^https?:\/\//i.test(url ?? "");
  return web
    ? el("a", { href: url, target: "_blank", rel: "noopener noreferrer", title: url }, shown ?? new URL(url).host)
    : el("span", { class: "where", title: url ?? "" }, url ?? "");
}
