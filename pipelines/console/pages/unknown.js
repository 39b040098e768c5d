// The faces of many photographs that nobody has named yet, grouped by who they are: each person is named once.

import { call } from "../lib/api.js";
import { announce, el, freshId, pageHead } from "../lib/dom.js";
import { explain } from "../lib/errors.js";
import { ALIKE } from "../lib/likeness.js";
import { cut, loadPicture } from "../lib/picture.js";
import { count } from "../lib/words.js";
import { choose, isPicture } from "../parts/choose.js";
import { enrolFace } from "../parts/enrol_face.js";
import { fit } from "../parts/picture_input.js";
import { Work } from "../parts/work.js";

const BASE = "/api/v1/recognition";
/** How many the server groups at once. */
const MOST_FACES = 512;
/** Faces of one person that become examples; more hardly help. */
const MOST_EXAMPLES = 10;
const SHOWN = 12;
const CHIP = 72;

export function unknown() {
  const work = new Work();
  const problems = el("div", { class: "stack" });
  const found = el("div", { class: "stack" });
  const known = el("datalist", { id: freshId("people") });
  const ask = (request) => call({ api: "compreface", quiet: true, ...request });
  const tell = (text) => problems.append(el("p", { class: "notice warn", role: "alert" }, text));
  let faces = [];

  async function load() {
    const { subjects } = await ask({ path: `${BASE}/subjects` }).catch(() => ({ subjects: [] }));
    known.replaceChildren(...subjects.toSorted((a, b) => a.localeCompare(b)).map((value) => el("option", { value })));
  }

  async function look(files) {
    problems.replaceChildren();
    found.replaceChildren();
    faces = [];
    const seen = { photographs: 0, known: 0 };
    const groups = await work.run("Looking at the photographs…", async (signal, progress) => {
      const started = performance.now();
      for (const [index, file] of files.entries()) {
        const left = index ? ((performance.now() - started) / index) * (files.length - index) : 0;
        progress(`${file.name}, ${index + 1} of ${files.length}${left > 2000 ? `: about ${Math.round(left / 1000)} s left` : ""}`, index / files.length);
        if (faces.length >= MOST_FACES) {
          tell(`${MOST_FACES} unknown faces were found: name them first. ${count(files.length - index, "photograph was", "photographs were")} not looked at.`);
          break;
        }
        const taken = await fit(file, tell);
        if (!taken) continue;
        try {
          await lookAt(taken, seen, signal);
        } catch (error) {
          if (error.name === "AbortError" || error.wrongKey || error.status === 0) throw error;
          if (error.code !== 28) tell(`${file.name}: ${explain(error).what}`);
        }
      }
      return group(signal);
    }, () => look(files));
    if (groups) draw(groups, seen);
  }

  async function lookAt(file, seen, signal) {
    const query = { face_plugins: "calculator", prediction_count: 1 };
    const { result } = await ask({ method: "POST", path: `${BASE}/recognize`, query, form: [["file", file]], signal });
    seen.photographs += 1;
    const strangers = result.filter(({ subjects: [best] }) => !best || best.similarity < ALIKE);
    seen.known += result.length - strangers.length;
    if (!strangers.length) return;
    const picture = await loadPicture(file);
    strangers.forEach(({ box, embedding }, number) => {
      if (faces.length >= MOST_FACES) return;
      const place = [box.x_min, box.y_min, box.x_max, box.y_max];
      const chip = cut(picture, place, `A face in ${file.name}`, CHIP) ?? el("div", { class: "empty" }, file.name);
      // The file alone is kept: many photographs, decoded, would not fit the browser's memory.
      faces.push({ picture: { file }, box: place, number: number + 1, alone: result.length === 1, embedding, chip });
    });
    picture.bitmap?.close();
  }

  async function group(signal) {
    if (!faces.length) return [];
    const json = { embeddings: faces.map(({ embedding }) => embedding) };
    const { groups } = await ask({ method: "POST", path: `${BASE}/embeddings/group`, json, signal });
    return groups.map((places) => places.map((place) => faces[place]));
  }

  function draw(groups, { photographs, known: sure }) {
    const facts = `${count(photographs, "photograph")} with faces: ${count(sure, "face")} of people who are known, ${count(faces.length, "face")} of ${count(groups.length, "person", "people")} who ${groups.length === 1 ? "is" : "are"} not.`;
    found.replaceChildren(el("p", { class: "muted", role: "status" }, facts), ...groups.map(card));
    announce(facts);
  }

  function card(members, index) {
    const problem = new Work();
    const title = `Person ${index + 1}`;
    const name = el("input", { type: "text", autocomplete: "off", maxLength: 255, required: true, placeholder: "A name", "aria-label": `Name of person ${index + 1}` });
    name.setAttribute("list", known.id);
    const without = new Set();
    const chips = members.slice(0, SHOWN).map((face) => {
      const leave = el("button", {
        type: "button", class: "chip", "aria-pressed": "true", title: "Press to leave this face out",
        onclick: () => {
          if (!without.delete(face)) without.add(face);
          leave.setAttribute("aria-pressed", String(!without.has(face)));
        },
      }, face.chip);
      return leave;
    });
    const say = async (event) => {
      event.preventDefault();
      const subject = name.value.trim();
      const chosen = members.filter((face) => !without.has(face)).slice(0, MOST_EXAMPLES);
      if (!subject || !chosen.length) return;
      const done = await problem.run(`Learning ${subject}…`, async (signal, progress) => {
        const refused = [];
        for (const [place, { picture, box, alone, number }] of chosen.entries()) {
          progress(`Learning ${subject}: face ${place + 1} of ${chosen.length}`, place / chosen.length);
          await enrolFace(subject, picture, box, { alone, number, signal }).catch((error) => {
            if (error.name === "AbortError" || error.wrongKey || error.status === 0) throw error;
            refused.push([picture.file.name, error]);
          });
        }
        if (refused.length === chosen.length) throw refused[0][1];
        return { learned: chosen.length - refused.length, refused };
      });
      if (!done) return;
      const text = `${subject} is known by ${count(done.learned, "face")} now.`;
      const refusals = done.refused.map(([file, error]) => el("p", {}, `${file}: ${explain(error).what}`));
      element.replaceChildren(el("div", { class: "row" }, el("h2", {}, subject), el("span", { class: "badge good" }, "known")), el("p", { class: "muted" }, text), ...refusals);
      announce(text);
      load();
    };
    const more = members.length > SHOWN ? el("p", { class: "hint" }, `and ${members.length - SHOWN} more`) : null;
    const element = el(
      "section",
      { class: "card stack", "aria-label": title },
      el("h2", {}, title, " ", el("span", { class: "muted" }, count(members.length, "face"))),
      el("div", { class: "row chips" }, chips),
      more,
      el("form", { class: "row", onsubmit: say }, name, el("button", { type: "submit" }, "Name")),
      problem.element,
    );
    return element;
  }

  const take = (files) => {
    const pictures = files.filter(({ name, webkitRelativePath }) => isPicture(webkitRelativePath || name));
    if (pictures.length) look(pictures);
  };
  const element = el(
    "section",
    {},
    pageHead("Unknown", "Faces that nobody has named yet, out of many photographs, grouped by who they are: each person is named once."),
    el("div", { class: "card" }, el("div", { class: "row" }, choose("Choose photographs", { multiple: true, accept: "image/*" }, take), choose("A folder of them", { webkitdirectory: true }, take)), el("p", { class: "hint" }, "The photographs are looked at and forgotten: only the faces that you name are kept, as examples."), work.element, problems),
    known,
    found,
  );
  return { element, onshow: load };
}
