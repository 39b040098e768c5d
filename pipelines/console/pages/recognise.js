// Who is in a picture.

import { call } from "../lib/api.js";
import { announce, checkbox, el, field, pageHead, slider } from "../lib/dom.js";
import { cut } from "../lib/picture.js";
import { server } from "../lib/session.js";
import { count, similarity } from "../lib/words.js";
import { annotated, linked } from "../parts/annotated.js";
import { faceFacts } from "../parts/face_facts.js";
import { PictureInput } from "../parts/picture_input.js";
import { Work } from "../parts/work.js";

const PLUGINS = [
  ["age", "Age", "age"],
  ["gender", "Gender", "gender"],
  ["mask", "Mask", "mask"],
  ["pose", "Pose", "landmarks"],
  ["landmarks", "Landmarks", "detector"],
  ["liveness", "Liveness", "liveness"],
  ["quality", "Quality", "quality"],
];

export function recognise() {
  const work = new Work();
  const input = new PictureInput("A picture to recognise", { shown: false, onchange: () => input.picture && run() });
  const threshold = slider("Least face probability", { min: 0.05, max: 0.95, step: 0.05, value: server.det_prob_threshold }, { show: (value) => value.toFixed(2) });
  const match = slider(
    "Known from similarity",
    { min: 0, max: 1, step: 0.01, value: 0.5 },
    { show: (value) => value.toFixed(2), hint: "Below it, a face is shown as unknown.", onInput: () => last && draw(last) },
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
  const view = el("div", { class: "card" }, input.element, work.element);
  const picture = el("div", { class: "stack" });
  const found = el("div");
  view.append(picture);
  let last = null;

  async function run() {
    const chosen = input.picture;
    if (!chosen) return input.input.focus();
    const asked = plugins.filter(([, { control }]) => control.checked).map(([name]) => name);
    const query = {
      limit: limit.value, prediction_count: guesses.value || 1, det_prob_threshold: threshold.value, face_plugins: asked.join(","), status: true,
    };
    const answer = await work.run("Recognising…", (signal) =>
      call({ api: "compreface", method: "POST", path: "/api/v1/recognition/recognize", query, form: [["file", chosen.file]], signal }),
      run,
    );
    if (!answer) return undefined;
    last = { chosen, result: answer.result, versions: answer.plugins_versions };
    draw(last);
    return announce(`${count(answer.result.length, "face")} found.`);
  }

  function draw({ chosen, result }) {
    const named = result.map((face, index) => ({ ...face, index, ...nameOf(face, match.value) }));
    const faces = named.map(({ box, landmarks, name, index }) => ({
      box: [box.x_min, box.y_min, box.x_max, box.y_max], points: landmarks, label: `${index + 1} ${name}`, name: `Face ${index + 1}: ${name}`,
    }));
    const entries = named.map((face) => entry(face, chosen));
    const shown = annotated(chosen, faces, { onpick: (index) => entries[index].scrollIntoView({ block: "nearest", behavior: "smooth" }) });
    linked(shown, entries);
    const nobody = named.every(({ subjects }) => !subjects.length);
    const known = named.filter(({ known: is }) => is).length;
    picture.replaceChildren(el("div", {}, shown.element), el("p", { class: "muted" }, `${chosen.file.name}: ${count(result.length, "face")}, ${known} known.`));
    found.replaceChildren(el("div", { class: "card" }, el("h2", {}, "Faces"), known ? null : el("p", { class: "muted" }, nobody ? "There is nobody yet to compare with: add people first." : ""), el("ol", { class: "faces-found" }, entries)));
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
    el("div", { class: "columns" }, view, options),
    found,
  );
  return { element };
}

function nameOf({ subjects }, least) {
  const best = subjects[0];
  const known = Boolean(best) && best.similarity >= least;
  return { known, name: known ? best.subject : "unknown" };
}

function entry(face, chosen) {
  const { box } = face;
  const chip = cut(chosen, [box.x_min, box.y_min, box.x_max, box.y_max], `Face ${face.index + 1}`, 56);
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
    el("div", { class: "row" }, el("div", { class: "row" }, chip, el("h3", {}, `${face.index + 1}. ${face.name}`)), face.known ? el("span", { class: "badge good" }, "known") : el("span", { class: "badge plain" }, "unknown")),
    el("div", { class: "similar" }, bars),
    faceFacts(face),
  );
}
