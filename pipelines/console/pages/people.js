// The subjects of a key and the pictures they are known by.

import { call } from "../lib/api.js";
import { announce, confirm, el, field, pageHead, saveAs } from "../lib/dom.js";
import { count, listed } from "../lib/words.js";
import { zip } from "../lib/zip.js";
import { enrolments } from "../parts/enrolments.js";
import { importing } from "../parts/importing.js";
import { PictureInput } from "../parts/picture_input.js";
import { Thumbnails } from "../parts/thumbnails.js";
import { Work } from "../parts/work.js";

const BASE = "/api/v1/recognition";
const PAGE_SIZE = 12;
const LIST_SIZE = 50;
const EXPORT_SIZE = 100;

/** The path of one subject. Throws for "." and "..": a browser takes them for folders, and what is left of the path is
 *  that of all subjects. */
function subjectPath(subject) {
  if (subject === "." || subject === "..") throw new RangeError(`a path cannot end with the name "${subject}"`);
  return `${BASE}/subjects/${encodeURIComponent(subject)}`;
}

const inAddress = () => new URLSearchParams(location.hash.split("?")[1] ?? "").get("person");
const addressOf = (subject) => (subject === null ? "#/people" : `#/people?${new URLSearchParams({ person: subject })}`);

export function people() {
  const state = { subjects: [], subject: null, page: 0, shown: LIST_SIZE, marked: new Set() };
  const listWork = new Work();
  const addWork = new Work();
  const work = new Work();
  const many = new Work();
  const list = el("ul", { class: "subjects", "aria-label": "Subjects" });
  const total = el("p", { class: "hint" });
  const marked = el("div", { class: "row marked", hidden: true, role: "group", "aria-label": "The people who are marked" });
  const detail = el("div", { class: "card person" }, el("p", { class: "empty" }, "Choose a person to see the examples."));
  let filter;
  let name;
  let faces = new Thumbnails();
  const ask = (request) => call({ api: "compreface", ...request });

  const filterField = field("Find", (ties) => (filter = el("input", { type: "search", autocomplete: "off", oninput: () => { state.shown = LIST_SIZE; drawList(); }, ...ties })));
  const adding = el(
    "form",
    { class: "adding", onsubmit: add },
    el(
      "div",
      { class: "row" },
      field("New person", (ties) => (name = el("input", { type: "text", autocomplete: "off", maxLength: 255, required: true, ...ties }))),
      el("button", { type: "submit", class: "primary" }, "Add"),
    ),
    addWork.element,
  );

  async function load(select = state.subject) {
    const answer = await listWork.run("Loading people…", (signal) => ask({ path: `${BASE}/subjects`, signal }), () => load(select));
    if (!answer) return;
    state.subjects = answer.subjects.toSorted((a, b) => a.localeCompare(b));
    state.marked = new Set([...state.marked].filter((subject) => state.subjects.includes(subject)));
    if (select !== state.subject) state.page = 0;
    state.subject = state.subjects.includes(select) ? select : null;
    tellAddress("replaceState");
    drawList();
    await drawDetail();
  }

  /** The address names the person: a reload, Back and a bookmark lead here. */
  function tellAddress(how) {
    if (!element.hidden && addressOf(state.subject) !== location.hash) history[how](null, "", addressOf(state.subject));
  }

  function drawList() {
    const wanted = filter.value.trim().toLowerCase();
    const found = state.subjects.filter((subject) => subject.toLowerCase().includes(wanted));
    total.textContent = wanted ? `${found.length} of ${count(state.subjects.length, "person", "people")}` : count(state.subjects.length, "person", "people");
    faces.stop();
    faces = new Thumbnails();
    list.replaceChildren(...found.slice(0, state.shown).map(row));
    if (wanted && !found.length) list.append(el("li", { class: "hint" }, `Nobody's name has "${filter.value.trim()}" in it.`));
    if (found.length > state.shown) {
      const more = () => { state.shown += LIST_SIZE; drawList(); };
      list.append(el("li", {}, el("button", { type: "button", class: "more", onclick: more }, `Show more of ${found.length}`)));
    }
    drawMarked(found);
  }

  function row(subject) {
    const number = el("span", { class: "muted" });
    const first = async (signal) => {
      const { faces: [face], total_elements: examples } = await ask({ path: `${BASE}/faces`, query: { subject, size: 1 }, quiet: true, signal });
      number.textContent = String(examples);
      number.title = count(examples, "example");
      return face ? `${BASE}/faces/${face.image_id}/img` : null;
    };
    const mark = el("input", { type: "checkbox", checked: state.marked.has(subject), "aria-label": `Mark ${subject}`, onchange: () => {
      if (mark.checked) state.marked.add(subject);
      else state.marked.delete(subject);
      drawMarked();
    } });
    return el(
      "li",
      {},
      mark,
      el(
        "button",
        { type: "button", "aria-current": subject === state.subject ? "true" : null, onclick: () => pick(subject) },
        el("span", { class: "small-face", "aria-hidden": "true" }, faces.show(first, subject)),
        el("span", { class: "name" }, subject),
        number,
      ),
    );
  }

  function drawMarked() {
    const chosen = [...state.marked];
    marked.hidden = !chosen.length;
    marked.replaceChildren(
      el("span", {}, `${chosen.length} marked`),
      el("button", { type: "button", class: "small", disabled: chosen.length < 2, onclick: () => mergeMarked(chosen) }, "Merge"),
      el("button", { type: "button", class: "small", onclick: () => exportPeople(chosen) }, "Export"),
      el("button", { type: "button", class: "small danger", onclick: () => removeMarked(chosen) }, "Delete"),
    );
  }

  async function pick(subject) {
    Object.assign(state, { subject, page: 0 });
    tellAddress("pushState");
    for (const button of list.querySelectorAll("button")) {
      const is = button.querySelector(".name")?.textContent === subject;
      if (is) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    await drawDetail();
    if (subject === state.subject) reveal();
  }

  /** On a phone the person stands below the list. */
  function reveal() {
    if (state.subject !== null && detail.offsetTop > list.offsetTop) detail.scrollIntoView({ block: "start", behavior: "smooth" });
  }

  async function add(event) {
    event.preventDefault();
    const subject = name.value.trim();
    if (!subject) return name.focus();
    const made = await addWork.run("Adding…", (signal) => ask({ method: "POST", path: `${BASE}/subjects`, json: { subject }, signal }));
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

  async function mergeMarked(chosen) {
    const [into, ...others] = chosen;
    if (!(await confirm(`Merge ${chosen.length} people?`, `All examples of ${listed(others)} would become examples of ${into}, who was marked first. ${listed(others)} would be gone. This cannot be undone.`, "Merge"))) return;
    const done = await many.run("Merging…", async (signal, progress) => {
      for (const [index, subject] of others.entries()) {
        progress(`Merging ${subject} into ${into}`, index / others.length);
        await ask({ method: "PUT", path: subjectPath(subject), json: { subject: into }, signal });
      }
      return true;
    });
    state.marked.clear();
    if (done) announce(`Merged into ${into}.`);
    if (done) await load(into);
  }

  /** By a parameter, not by a path: whatever the name is, nobody else is deleted. */
  const removeOne = (subject, signal) => ask({ method: "DELETE", path: `${BASE}/faces`, query: { subject }, signal });

  async function removeMarked(chosen) {
    const names = chosen.length > 5 ? `${chosen.slice(0, 5).join(", ")} and ${chosen.length - 5} more` : chosen.join(", ");
    if (!(await confirm(`Delete ${count(chosen.length, "person", "people")}?`, `${names}: all examples and their pictures go too. This cannot be undone.`, "Delete"))) return;
    const done = await many.run("Deleting…", async (signal, progress) => {
      for (const [index, subject] of chosen.entries()) {
        progress(`Deleting ${subject}`, index / chosen.length);
        await removeOne(subject, signal);
      }
      return true;
    });
    if (done) announce(`${count(chosen.length, "person", "people")} deleted.`);
    if (done) await load();
  }

  async function remove() {
    const { subject } = state;
    if (!subject) return; // Without one the route deletes everybody.
    if (!(await confirm(`Delete ${subject}?`, "All examples and their pictures go too. This cannot be undone.", "Delete"))) return;
    if (!(await work.run("Deleting…", (signal) => removeOne(subject, signal)))) return;
    announce(`${subject} deleted.`);
    await load(null);
  }

  /** A zip with a folder for each person, and `people.json` that says which pictures are whose. */
  async function exportPeople(chosen) {
    const archive = await many.run("Exporting…", async (signal, progress) => {
      const files = [];
      const document = [];
      for (const [index, subject] of chosen.entries()) {
        progress(`Exporting ${subject}`, index / chosen.length);
        const examples = [];
        for (let page = 0, pages = 1; page < pages; page += 1) {
          const answer = await ask({ path: `${BASE}/faces`, query: { subject, page, size: EXPORT_SIZE }, signal, quiet: true });
          pages = answer.total_pages;
          for (const { image_id: id } of answer.faces) {
            const picture = await ask({ path: `${BASE}/faces/${id}/img`, as: "blob", signal, quiet: true }).catch((error) => {
              if (error.status !== 404) throw error;
              return null; // Enrolled without its picture being kept.
            });
            const file = picture && `${folderOf(subject, index)}/${id}.${picture.type.split("/")[1]?.replace("jpeg", "jpg") ?? "bin"}`;
            examples.push({ image_id: id, file });
            if (file) files.push([file, picture]);
          }
        }
        document.push({ subject, examples });
      }
      const listed = new Blob([JSON.stringify({ people: document }, null, 2)], { type: "application/json" });
      return zip([["people.json", listed], ...files]);
    });
    if (!archive) return;
    saveAs(archive, "people.zip");
    announce(`${count(chosen.length, "person", "people")} exported.`);
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
      const text = state.subjects.length ? "Choose a person to see the examples." : "Nobody is known yet. Add a person, then pictures of them; or name the faces that Recognise finds.";
      detail.replaceChildren(el("p", { class: "empty" }, text));
      return;
    }
    if (subject !== subjectShown) {
      subjectShown = subject;
      work.clear();
      thumbnails?.stop();
      thumbnails = new Thumbnails();
      grid = el("div");
      const chosen = new PictureInput("Add pictures of this person", {
        max: 50, shown: false, compact: true, camera: true, hint: "One face in each.",
        onchange: (taken) => {
          if (!taken.length) return;
          enrolments.add(subject, chosen.files);
          chosen.pictures = [];
        },
      });
      pictures = chosen;
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
    const figures = answer.faces.map(({ image_id: id }, index) => figure(id, page * PAGE_SIZE + index + 1, answer.total_elements));
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

  function figure(id, number, examples) {
    const { subject } = state;
    const drop = async () => {
      const last = examples === 1;
      const title = last ? `Delete the last example, and ${subject}?` : "Delete this example?";
      const text = last
        ? `It is the only picture that ${subject} is known by: without it ${subject} is deleted too. This cannot be undone.`
        : "The picture goes too. This cannot be undone.";
      if (!(await confirm(title, text, "Delete"))) return;
      if (!(await work.run("Deleting…", (signal) => ask({ method: "DELETE", path: `${BASE}/faces/${id}`, signal })))) return;
      announce("Example deleted.");
      await load();
    };
    return el(
      "figure",
      { class: "thumb" },
      thumbnails.show(async () => `${BASE}/faces/${id}/img`, `Example ${number} of ${subject}`),
      el("button", { type: "button", class: "cross", "aria-label": `Delete example ${number}`, onclick: drop }, "×"),
    );
  }

  const element = el(
    "section",
    {},
    pageHead("People", "Whom Recognise knows, and by which pictures. They belong to this key."),
    el("div", { class: "people" }, el("div", { class: "card fields" }, adding, importing(), filterField, total, marked, many.element, list, listWork.element), detail),
  );
  enrolments.addEventListener("end", ({ detail: subject }) => {
    if (!element.isConnected) return;
    if (subject === state.subject) state.page = 0;
    load();
  });
  return { element, onshow: () => load(inAddress()).then(reveal) };
}

/** A name that any file system takes; the number keeps two apart that become one. */
function folderOf(subject, index) {
  return `${index + 1}-${subject.replaceAll(/[^\p{L}\p{N} _-]/gu, "_").slice(0, 80)}`;
}
