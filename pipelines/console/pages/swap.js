// Faces into a picture: find them, choose others for them, wait, compare.

import { call } from "../lib/api.js";
import { announce, el, pageHead, saveAs } from "../lib/dom.js";
import { ApiError } from "../lib/errors.js";
import { cut } from "../lib/picture.js";
import { session } from "../lib/session.js";
import { count, framesTold } from "../lib/words.js";
import { annotated } from "../parts/annotated.js";
import { compare } from "../parts/compare.js";
import { PictureInput } from "../parts/picture_input.js";
import { wait } from "../parts/wait.js";
import { Work } from "../parts/work.js";

const BASE = "/api/aifaceswap/v1";
const POLL_MILLISECONDS = 800;
/** Pixels of a face that may be replaced. */
const TILE = 128;
/** So many have room to be large. */
const FEW = 9;
const EXTENSIONS = { "image/png": "png", "image/webp": "webp", "image/gif": "gif", "video/mp4": "mp4" };

export function swap() {
  const finding = new Work();
  const work = new Work();
  const state = { faces: null };
  const source = new PictureInput("The picture to change", { shown: false, films: true, onchange: () => reset() });
  const single = new PictureInput("The face to put in", { compact: true, onchange: () => enable() });
  const find = el("button", { type: "button", disabled: true, onclick: () => extract() }, "Find its faces");
  const view = el("div");
  const slots = el("div");
  const outcome = el("div");
  const button = el("button", { type: "button", class: "primary", disabled: true, onclick: () => run() }, "Swap");
  const cost = el("span", { class: "hint" });
  let inputs = [];

  const ask = async (request) => (await call({ api: "aifaceswap", ...request })).data;
  const chosen = () => inputs.map((input, index) => [index, input.picture]).filter(([, picture]) => picture);

  function reset() {
    state.faces = null;
    finding.clear();
    find.disabled = !source.picture;
    view.replaceChildren(source.picture ? annotated(source.picture, []).element : "");
    drawSlots();
  }

  function enable() {
    const several = chosen().length;
    button.disabled = !source.picture || !(state.faces ? several : single.picture);
    const film = source.picture?.file.type.startsWith("video/");
    cost.textContent = button.disabled ? "" : `Costs ${count(state.faces ? 1 + 2 * several : 2, "point")}${film ? ", and more by the film's length" : ""}.`;
  }

  async function extract() {
    const picture = source.picture;
    const answer = await finding.run("Looking for faces…", (signal) => ask({ method: "POST", path: `${BASE}/extract_face`, form: [["img", picture.file]], signal }), extract);
    session.points += answer?.points ?? 0;
    if (!answer || picture !== source.picture) return;
    state.faces = answer.faces;
    drawSlots();
    announce(`${count(answer.faces.length, "face")} found.`);
  }

  function drawSlots() {
    const { faces } = state;
    inputs = [];
    if (!faces) {
      slots.replaceChildren(el("p", { class: "muted" }, "Without looking for faces first, the biggest face is replaced."), single.element);
    } else {
      const { picture } = source;
      const problem = el("div", { class: "work" });
      // The service counts them from 0.
      inputs = faces.map((box, index) => {
        const tile = el("span", { "aria-hidden": "true" }, cut(picture, box, "", TILE) ?? "", el("b", {}, String(index + 1)));
        return new PictureInput(`For face ${index + 1}`, { tile, problem, onchange: () => enable() });
      });
      const shown = annotated(picture, faces.map((box, index) => ({ box, label: String(index + 1), name: `Face ${index + 1}: choose a new face` })), { onpick: (index) => inputs[index].input.click() });
      view.replaceChildren(shown.element);
      slots.replaceChildren(
        faces.length ? el("p", { class: "muted" }, "Press a face to choose another for it. The others stay.") : el("p", { class: "notice warn" }, "No face was found in this picture."),
        el("ul", { class: faces.length > FEW ? "slots many" : "slots" }, inputs.map((input) => el("li", {}, input.element))),
        problem,
      );
    }
    enable();
  }

  async function run() {
    const { picture } = source;
    const several = state.faces ? chosen() : null;
    const form = [["source_image", picture.file]];
    if (several) {
      for (const [, { file }] of several) form.push(["face_image", file]);
      for (const [index] of several) form.push(["index", String(index)]);
    } else {
      form.push(["face_image", single.picture.file]);
    }
    button.disabled = true;
    const blob = await work.run("Sending the pictures…", async (signal, progress) => {
      const { task_id: task, points } = await ask({ method: "POST", path: `${BASE}/${several ? "multi_faceswap" : "faceswap"}`, form, signal });
      session.points += points;
      const told = framesTold();
      for (;;) {
        const answer = await ask({ path: `${BASE}/task/${task}`, signal, quiet: true });
        if (answer.result_image) {
          progress("Fetching the result…");
          return fetchResult(answer.result_image, signal);
        }
        if (answer.status === "failed") session.points -= points;
        if (answer.finished) throw new ApiError({ api: "aifaceswap", status: 200, message: answer.message || "the swap failed; its points are given back" });
        if (answer.progress) {
          const { progress: done } = answer;
          progress(told(done), done);
        } else progress(`The task is ${answer.status}…`);
        await wait(POLL_MILLISECONDS, signal);
      }
    }, run);
    enable();
    if (!blob) return;
    const extension = EXTENSIONS[blob.type] ?? "jpg";
    const after = URL.createObjectURL(blob);
    const film = blob.type.startsWith("video/");
    const view = film
      ? el("video", { src: after, controls: true, loop: true, muted: true, autoplay: true, playsInline: true, class: "large", "aria-label": "The film after" })
      : compare(await shownSource(picture), after, ["The picture before", "The picture after"]);
    outcome.replaceChildren(
      el(
        "div",
        { class: "card stack" },
        el("h2", {}, "The result"),
        view,
        el("div", { class: "row" }, el("button", { type: "button", onclick: () => saveAs(blob, `swapped.${extension}`) }, "Download")),
      ),
    );
    outcome.scrollIntoView({ block: "nearest", behavior: "smooth" });
    announce("The result is ready.");
  }

  reset();
  const element = el(
    "section",
    {},
    pageHead("Swap", "The new face takes over pose, light and expression. The rest of the picture stays."),
    el(
      "div",
      { class: "halves" },
      el("div", { class: "card stack" }, el("h2", {}, "1. The picture"), source.element, view, el("div", { class: "row" }, find, el("span", { class: "hint" }, "Costs 2 points.")), finding.element),
      el("div", { class: "card stack" }, el("h2", {}, "2. The new face"), slots, el("div", { class: "row" }, button, cost), work.element),
    ),
    outcome,
  );
  return { element };
}

/** Results lie on this server under an address that cannot be guessed: no key goes with the request. */
async function fetchResult(address, signal) {
  const { pathname, search } = new URL(address, location.origin);
  return call({ api: "checkface", path: pathname + search, as: "blob", signal, quiet: true });
}

/** An address of the source as an upright picture that every browser shows. */
async function shownSource({ file, bitmap }) {
  if (!bitmap) return URL.createObjectURL(file);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return URL.createObjectURL(await canvas.convertToBlob({ type: "image/png" }));
}
