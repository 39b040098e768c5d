// Whether two pictures show one person.

import { call } from "../lib/api.js";
import { announce, el, pageHead, slider } from "../lib/dom.js";
import { server } from "../lib/session.js";
import { similarity } from "../lib/words.js";
import { annotated } from "../parts/annotated.js";
import { faceFacts } from "../parts/face_facts.js";
import { PictureInput } from "../parts/picture_input.js";
import { Work } from "../parts/work.js";

export function verify() {
  const work = new Work();
  const ready = () => {
    outcome.replaceChildren();
    for (const [side, input] of [[left, one], [right, other]]) side.replaceChildren(input.picture ? annotated(input.picture, []).element : "");
    button.disabled = !(one.picture && other.picture);
    if (!button.disabled) run();
  };
  const one = new PictureInput("The person", { shown: false, camera: true, hint: "Exactly one face.", onchange: () => ready() });
  const other = new PictureInput("To compare with", { shown: false, camera: true, hint: "One face or several.", onchange: () => ready() });
  const left = el("div", { class: "stack" });
  const right = el("div", { class: "stack" });
  const same = slider(
    "One person from similarity",
    { min: 0, max: 1, step: 0.01, value: 0.5 },
    { show: (value) => value.toFixed(2), hint: "0.5 takes one pair of strangers in a hundred for one person, 0.9 one in a thousand.", onInput: () => last && draw(last) },
  );
  const button = el("button", { type: "button", class: "primary", disabled: true, onclick: () => run() }, "Compare");
  const outcome = el("div", { "aria-live": "polite" });
  let last = null;

  async function run() {
    const plugins = ["age", "gender", "mask"].filter((role) => server.has(role)).join(",");
    const form = [["source_image", one.picture.file], ["target_image", other.picture.file]];
    const answer = await work.run("Comparing…", (signal) =>
      call({ api: "compreface", method: "POST", path: "/api/v1/verification/verify", query: { face_plugins: plugins, status: true }, form, signal }),
      run,
    );
    if (!answer) return;
    last = { ...answer.result[0], pictures: [one.picture, other.picture] };
    draw(last);
    announce(`Similarity ${similarity(Math.max(...last.face_matches.map((match) => match.similarity)))}.`);
  }

  function draw({ source_image_face: source, face_matches: matches, pictures }) {
    const ordered = [...matches].sort((a, b) => b.similarity - a.similarity);
    const box = ({ box: { x_min, y_min, x_max, y_max } }) => [x_min, y_min, x_max, y_max];
    left.replaceChildren(annotated(pictures[0], [{ box: box(source), label: "the person" }]).element, faceFacts(source));
    right.replaceChildren(
      annotated(pictures[1], ordered.map((match) => ({ box: box(match), label: similarity(match.similarity) }))).element,
      faceFacts(ordered[0]),
    );
    const best = ordered[0].similarity;
    const is = best >= same.value;
    const bar = el("i");
    bar.style.width = `${best * 100}%`;
    outcome.replaceChildren(
      el(
        "div",
        { class: "card stack" },
        el("div", { class: "verdict" }, el("b", {}, similarity(best)), el("span", { class: is ? "badge good" : "badge warn" }, is ? "one person" : "different people"),
          ordered.length > 1 && el("span", { class: "muted" }, `the best of ${ordered.length} faces`)),
        el("div", { class: "meter", "aria-hidden": "true" }, bar),
      ),
    );
  }

  const element = el(
    "section",
    {},
    pageHead("Verify", "The one face of the first picture is compared with every face of the second."),
    // What was found stands above the pictures, where it is seen without scrolling.
    outcome,
    work.element,
    el("div", { class: "halves pictures" }, el("div", { class: "card" }, one.element, left), el("div", { class: "card" }, other.element, right)),
    el("div", { class: "card stack" }, same.element, el("div", { class: "row" }, button)),
  );
  return { element };
}
