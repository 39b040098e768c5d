// The subjects of a key and the pictures they are known by.

import { call } from "../lib/api.js";
import { announce, confirm, el, field, pageHead } from "../lib/dom.js";
import { count } from "../lib/words.js";
import { PictureInput } from "../parts/picture_input.js";
import { Thumbnails } from "../parts/thumbnails.js";
import { Work } from "../parts/work.js";

const BASE = "/api/v1/recognition";
const PAGE_SIZE = 12;

/** The path of one subject. Throws for "." and "..": a browser takes them for folders, and what is left of the path is
 *  that of all subjects. */
function subjectPath(subject) {
  if (subject === "." || subject === "..") throw new RangeError(`a path cannot end with the name "${subject}"`);
  return `${BASE}/subjects/${encodeURIComponent(subject)}`;
}

export function people() {
  const state = { subjects: [], subject: null, page: 0 };
  const listWork = new Work();
  const work = new Work();
  const list = el("ul", { class: "subjects", "aria-label": "Subjects" });
  const total = el("p", { class: "hint" });
  const detail = el("div", { class: "card" }, el("p", { class: "empty" }, "Choose a person to see the examples."));
  let filter;
  let name;
  const ask = (request) => call({ api: "compreface", ...request });

  const filterField = field("Find", (ties) => (filter = el("input", { type: "search", autocomplete: "off", oninput: () => drawList(), ...ties })));
  const adding = el(
    "form",
    { class: "fields", onsubmit: add },
    field("New person", (ties) => (name = el("input", { type: "text", autocomplete: "off", maxLength: 255, required: true, ...ties }))),
    el("button", { type: "submit", class: "primary" }, "Add"),
  );

  async function load(select = state.subject) {
    const answer = await listWork.run("Loading people…", (signal) => ask({ path: `${BASE}/subjects`, signal }), () => load(select));
    if (!answer) return;
    state.subjects = answer.subjects.toSorted((a, b) => a.localeCompare(b));
    state.subject = state.subjects.includes(select) ? select : null;
    drawList();
    await drawDetail();
  }

  function drawList() {
    const wanted = filter.value.trim().toLowerCase();
    const shown = state.subjects.filter((subject) => subject.toLowerCase().includes(wanted));
    total.textContent = wanted ? `${shown.length} of ${count(state.subjects.length, "person", "people")}` : count(state.subjects.length, "person", "people");
    list.replaceChildren(
      ...shown.map((subject) =>
        el("li", {}, el("button", { type: "button", "aria-current": subject === state.subject ? "true" : null, onclick: () => pick(subject) }, subject)),
      ),
    );
  }

  function pick(subject) {
    Object.assign(state, { subject, page: 0 });
    drawList();
    return drawDetail();
  }

  async function add(event) {
    event.preventDefault();
    const subject = name.value.trim();
    if (!subject) return name.focus();
    const made = await listWork.run("Adding…", (signal) => ask({ method: "POST", path: `${BASE}/subjects`, json: { subject }, signal }));
    if (!made) return undefined;
    name.value = "";
    filter.value = "";
    announce(`${subject} added.`);
    return load(subject);
  }

  async function rename(event, input) {
    event.preventDefault();
    const from = state.subject;
    const to = input.value.trim();
    if (!to || to === from) return;
    const exists = state.subjects.includes(to);
    if (exists && !(await confirm("Merge two people?", `${to} is there already. All examples of ${from} would become examples of ${to}, and ${from} would be gone. This cannot be undone.`, "Merge"))) return;
    const done = await work.run(exists ? "Merging…" : "Renaming…", (signal) => ask({ method: "PUT", path: subjectPath(from), json: { subject: to }, signal }));
    if (!done) return;
    announce(exists ? `${from} merged into ${to}.` : `${from} is now ${to}.`);
    await load(to);
  }

  async function remove() {
    const { subject } = state;
    if (!subject) return; // Without one the route deletes everybody.
    if (!(await confirm(`Delete ${subject}?`, "All examples and their pictures go too. This cannot be undone.", "Delete"))) return;
    // By a parameter, not by a path: whatever the name is, nobody else is deleted.
    if (!(await work.run("Deleting…", (signal) => ask({ method: "DELETE", path: `${BASE}/faces`, query: { subject }, signal })))) return;
    announce(`${subject} deleted.`);
    await load(null);
  }

  let subjectShown = null;
  let pictures = null;
  let grid = null;
  let thumbnails = null;
  let input = null;

  async function drawDetail() {
    const { subject } = state;
    if (subject === null) {
      subjectShown = null;
      const text = state.subjects.length ? "Choose a person to see the examples." : "Nobody is known yet. Add a person, then pictures of them.";
      detail.replaceChildren(el("p", { class: "empty" }, text));
      return;
    }
    if (subject !== subjectShown) {
      subjectShown = subject;
      work.clear();
      thumbnails?.stop();
      thumbnails = new Thumbnails();
      grid = el("div");
      pictures = new PictureInput("Add pictures of this person", { max: 50, shown: false, compact: true, hint: "One face in each.", onchange: () => pictures.pictures.length && enrol() });
      const form = el(
        "form",
        { class: "row", onsubmit: (event) => rename(event, input) },
        field("Name", (ties) => (input = el("input", { type: "text", value: subject, maxLength: 255, required: true, ...ties }))),
        el("button", { type: "submit" }, "Rename"),
        el("span", { class: "spring" }),
        el("button", { type: "button", class: "danger", onclick: remove }, "Delete person"),
      );
      form.style.alignItems = "end";
      detail.replaceChildren(el("div", { class: "stack" }, el("h2", {}, subject), form, el("div", {}, pictures.element, work.element), grid));
    }
    await drawExamples();
  }

  async function drawExamples() {
    const { subject, page } = state;
    const answer = await work.run("Loading examples…", (signal) => ask({ path: `${BASE}/faces`, query: { subject, page, size: PAGE_SIZE }, signal }), drawExamples);
    if (!answer || subject !== state.subject) return;
    if (!answer.faces.length && page > 0) {
      state.page = page - 1;
      await drawExamples();
      return;
    }
    const figures = answer.faces.map(({ image_id: id }, index) => figure(id, page * PAGE_SIZE + index + 1));
    grid.replaceChildren(
      el("h3", {}, count(answer.total_elements, "example")),
      figures.length ? el("div", { class: "examples" }, figures) : el("p", { class: "empty" }, "No example yet: add a picture."),
      answer.total_pages > 1 ? pager(answer) : "",
    );
  }

  function pager({ page_number: page, total_pages: pages }) {
    const turn = (by) => () => { state.page = page + by; drawExamples(); };
    return el(
      "nav",
      { class: "pager", "aria-label": "Pages of examples" },
      el("button", { type: "button", disabled: page === 0, onclick: turn(-1) }, "Earlier"),
      el("span", {}, `Page ${page + 1} of ${pages}`),
      el("button", { type: "button", disabled: page + 1 >= pages, onclick: turn(1) }, "Later"),
    );
  }

  function figure(id, number) {
    const drop = async () => {
      if (!(await confirm("Delete this example?", "The picture goes too. This cannot be undone.", "Delete"))) return;
      if (!(await work.run("Deleting…", (signal) => ask({ method: "DELETE", path: `${BASE}/faces/${id}`, signal })))) return;
      announce("Example deleted.");
      // The last example of a person takes the person along.
      await load();
    };
    return el(
      "figure",
      { class: "thumb" },
      thumbnails.show(`${BASE}/faces/${id}/img`, `Example ${number} of ${state.subject}`),
      el("button", { type: "button", class: "cross", "aria-label": `Delete example ${number}`, onclick: drop }, "×"),
    );
  }

  /** Every picture on its own: one that is refused does not keep the others out. */
  async function enrol() {
    const { subject } = state;
    const waiting = [...pictures.files];
    const chosen = pictures;
    const done = await work.run("Adding pictures…", async (signal, progress) => {
      const total = waiting.length;
      const refused = [];
      let added = 0;
      while (waiting.length) {
        const file = waiting[0];
        progress(`Adding ${file.name}`, (total - waiting.length) / total);
        try {
          await ask({ method: "POST", path: `${BASE}/faces`, query: { subject }, form: [["file", file]], signal });
          added += 1;
        } catch (error) {
          if (error.name === "AbortError" || error.wrongKey || error.status === 0) throw error;
          refused.push([file, error]);
        }
        waiting.shift();
      }
      return { added, refused };
    });
    chosen.pictures = [];
    if (!done) return;
    announce(`${count(done.added, "picture")} added.`);
    state.page = 0;
    await load(subject);
    if (done.refused.length) {
      const [file, error] = done.refused[0];
      error.message = `${file.name}: ${error.message}`;
      work.fail(error);
      const names = done.refused.map(([{ name: fileName }]) => fileName).join(", ");
      work.element.firstChild.append(el("p", {}, `${done.added} of ${done.added + done.refused.length} pictures were added; refused: ${names}.`));
    }
  }

  const element = el(
    "section",
    {},
    pageHead("People", "Whom Recognise knows: subjects, and the pictures they are known by. They belong to this key."),
    el("div", { class: "people" }, el("div", { class: "card fields" }, adding, filterField, total, list, listWork.element), detail),
  );
  return { element, onshow: () => load() };
}
