// Who is in a picture, and who the faces are that nobody has named yet.

import { call } from "../lib/api.js";
import { announce, checkbox, el, field, freshId, pageHead, slider } from "../lib/dom.js";
import { ALIKE } from "../lib/likeness.js";
import { cut } from "../lib/picture.js";
import { server } from "../lib/session.js";
import { count, similarity } from "../lib/words.js";
import { annotated, linked } from "../parts/annotated.js";
import { enrolFace } from "../parts/enrol_face.js";
import { faceFacts, timeOf } from "../parts/face_facts.js";
import { PictureInput } from "../parts/picture_input.js";
import { Work } from "../parts/work.js";

const BASE = "/api/v1/recognition";
const PLUGINS = [
  ["age", "Age", "age"],
  ["gender", "Gender", "gender"],
  ["mask", "Mask", "mask"],
  ["pose", "Pose", "landmarks"],
  ["landmarks", "Landmarks", "detector"],
  ["liveness", "Liveness", "liveness"],
  ["quality", "Quality", "quality"],
];
/** Two people who are both near, and no further apart than that, are both named. */
const NEAR = 0.1;

export function recognise() {
  const work = new Work();
  const input = new PictureInput("A picture to recognise", { shown: false, camera: true, onchange: () => changed() });
  const threshold = slider("Least face probability", { min: 0.05, max: 0.95, step: 0.05, value: server.det_prob_threshold }, { show: (value) => value.toFixed(2) });
  const match = slider(
    "Known from similarity",
    { min: 0, max: 1, step: 0.01, value: ALIKE },
    { show: (value) => value.toFixed(2), hint: "Below it, a face is shown as unknown. One pair of strangers in a hundred reaches 0.5, one in a thousand 0.9.", onInput: () => last && draw(last) },
  );
  let limit;
  let guesses;
  const numbers = el(
    "div",
    { class: "grid-fields" },
    field("Most faces", (ties) => (limit = el("input", { type: "number", min: 0, max: 1000, value: 0, ...ties })), { hint: "0: all" }),
    field("Names per face", (ties) => (guesses = el("input", { type: "number", min: 1, max: 10, value: 3, ...ties })), { hint: "the best" }),
  );
  const plugins = PLUGINS.filter(([, , role]) => server.has(role)).map(([name, label]) => [name, checkbox(label, { checked: name !== "landmarks" })]);
  const again = el("button", { type: "button", class: "primary", onclick: () => run() }, "Recognise");
  const view = el("div", { class: "card view" }, input.element, work.element);
  const picture = el("div", { class: "stack" });
  const found = el("div");
  const known = el("datalist", { id: freshId("people") });
  view.append(picture, known);
  let last = null;

  /** What was said of the picture before is not of this one. */
  function changed() {
    last = null;
    found.replaceChildren();
    picture.replaceChildren(input.picture ? annotated(input.picture, []).element : "");
    if (input.picture) run();
  }

  async function load() {
    try {
      const { subjects } = await call({ api: "compreface", path: `${BASE}/subjects`, quiet: true });
      known.replaceChildren(...subjects.toSorted((a, b) => a.localeCompare(b)).map((value) => el("option", { value })));
    } catch {
      // Names can be typed without being offered.
    }
  }

  async function run() {
    const chosen = input.picture;
    if (!chosen) return input.input.focus();
    const asked = plugins.filter(([, { control }]) => control.checked).map(([name]) => name);
    const query = {
      limit: limit.value, prediction_count: guesses.value || 1, det_prob_threshold: threshold.value, face_plugins: asked.join(","), status: true,
    };
    const answer = await work.run("Recognising…", (signal) =>
      call({ api: "compreface", method: "POST", path: `${BASE}/recognize`, query, form: [["file", chosen.file]], signal }).catch((error) => {
        error.file = chosen.file.name;
        throw error;
      }),
      run,
    );
    if (!answer || chosen !== input.picture) return undefined;
    // Numbered as a caption under a photograph would name them.
    last = { chosen, result: answer.result.toSorted((a, b) => a.box.x_min + a.box.x_max - b.box.x_min - b.box.x_max) };
    draw(last);
    return announce(`${count(answer.result.length, "face")} found.`);
  }

  function draw({ chosen, result }) {
    const named = result.map((face, index) => ({ ...face, index, ...nameOf(face, match.value) }));
    const faces = named.map(({ box, landmarks, name, index }) => ({
      box: boxOf({ box }), points: landmarks, label: `${index + 1} ${name}`, short: String(index + 1), name: `Face ${index + 1}: ${name}`,
    }));
    const entries = named.map((face) => entry(face, chosen, naming(face, chosen, named)));
    const shown = annotated(chosen, faces, { onpick: (index) => entries[index].scrollIntoView({ block: "nearest", behavior: "smooth" }) });
    linked(shown, entries);
    const nobody = named.every(({ subjects }) => !subjects.length);
    const sure = named.filter(({ known: is }) => is).length;
    const facts = [count(result.length, "face"), `${sure} known`, timeOf(result[0])].filter(Boolean).join(", ");
    picture.replaceChildren(el("div", {}, shown.element), el("p", { class: "muted" }, `${chosen.file.name}: ${facts}.`));
    found.replaceChildren(
      el("div", { class: "card" }, el("h2", {}, "Faces"), nobody ? el("p", { class: "muted" }, "Nobody is known yet: name the faces here, or add people with their pictures.") : null, el("ol", { class: "faces-found" }, entries)),
    );
  }

  /** Says who a face is: one of the nearest, somebody else who is known, or somebody new. */
  function naming(face, chosen, all) {
    const problem = new Work();
    const name = el("input", { type: "text", autocomplete: "off", maxLength: 255, required: true, placeholder: "A name", "aria-label": `Name of face ${face.index + 1}` });
    name.setAttribute("list", known.id);
    const say = async (subject) => {
      const learned = await problem.run(`Learning ${subject}…`, (signal) => learn(subject, face, chosen, all, signal));
      if (!learned) return;
      announce(`${subject} is known by this face now.`);
      load();
      await run();
      // The next face that nobody has named; a phone's keyboard would hide it.
      if (matchMedia("(pointer: fine)").matches) found.querySelector(`li:nth-child(n + ${face.index + 2}) .naming[open] input`)?.focus();
    };
    const nearest = face.subjects.filter(({ subject }) => !(face.known && subject === face.name));
    return el(
      "details",
      { class: "naming", open: !face.known },
      el("summary", {}, face.known ? "Somebody else" : "Name this face"),
      nearest.length ? el("div", { class: "row" }, nearest.map(({ subject }) => el("button", { type: "button", class: "small", onclick: () => say(subject) }, subject))) : null,
      el(
        "form",
        { class: "row", onsubmit: (event) => { event.preventDefault(); if (name.value.trim()) say(name.value.trim()); } },
        name,
        el("button", { type: "submit", class: "small" }, "Name"),
      ),
      problem.element,
    );
  }

  /** The face alone becomes an example; the whole picture does where it shows nobody else. */
  async function learn(subject, face, chosen, all, signal) {
    const alone = all.length === 1 && limit.value === "0";
    return enrolFace(subject, chosen, boxOf(face), { alone, number: face.index + 1, threshold: threshold.value, signal });
  }

  const options = el(
    "form",
    { class: "card fields", onsubmit: (event) => { event.preventDefault(); run(); } },
    el("h2", {}, "What to look for"),
    el("fieldset", {}, el("legend", {}, "About each face"), el("div", { class: "checks" }, plugins.map(([, { element }]) => element))),
    threshold.element,
    match.element,
    numbers,
    el("div", { class: "row" }, again),
  );
  const element = el(
    "section",
    {},
    pageHead("Recognise", "Every face of a picture is compared with the people of this key."),
    el("div", { class: "columns" }, view, el("div", { class: "answer-side" }, found, options)),
  );
  return { element, onshow: load };
}

const boxOf = ({ box }) => [box.x_min, box.y_min, box.x_max, box.y_max];

/** Who a face is. Where two people are near, and hardly one nearer than the other, it is neither. */
function nameOf({ subjects }, least) {
  const [best, second] = subjects.filter((subject) => subject.similarity >= least);
  if (!best) return { known: false, state: ["plain", "unknown"], name: "unknown" };
  if (second && best.similarity - second.similarity < NEAR) {
    return { known: false, state: ["warn", "both are near"], name: `${best.subject} or ${second.subject}` };
  }
  return { known: true, state: ["good", "known"], name: best.subject };
}

function entry(face, chosen, naming) {
  const chip = cut(chosen, boxOf(face), `Face ${face.index + 1}`, 56);
  const bars = face.subjects.map((subject) => {
    const bar = el("i");
    bar.style.width = `${subject.similarity * 100}%`;
    return el(
      "div",
      {},
      el("div", { class: "row" }, el("span", {}, subject.subject), el("span", { class: "muted" }, similarity(subject.similarity))),
      el("div", { class: "meter", "aria-hidden": "true" }, bar),
    );
  });
  return el(
    "li",
    {},
    el("div", { class: "row" }, chip, el("div", {}, el("h3", {}, `${face.index + 1}. ${face.name}`), el("span", { class: `badge ${face.state[0]}` }, face.state[1]))),
    el("div", { class: "similar" }, bars),
    naming,
    faceFacts(face),
  );
}
