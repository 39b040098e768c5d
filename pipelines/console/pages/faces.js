// Any text becomes a face, two faces become a film, and a picture becomes a latent.

import { call } from "../lib/api.js";
import { announce, el, field, pageHead, saveAs, slider } from "../lib/dom.js";
import { OneAtATime } from "../lib/latest.js";
import { bytes, framesTold } from "../lib/words.js";
import { FaceEnd } from "../parts/face_end.js";
import { PictureInput } from "../parts/picture_input.js";
import { wait } from "../parts/wait.js";
import { Work } from "../parts/work.js";

const POLL_MILLISECONDS = 500;
const MORPH_STEPS = 25;
const MORPH_SIDE = 300;
const FORMATS = { mp4: "mp4, for players", webp: "webp, for pages", gif: "gif, for everywhere" };

export function faces() {
  const morph = morphing();
  const from = new FaceEnd("From", "example", () => morph.change());
  const to = new FaceEnd("To", "yeet", () => morph.change());
  morph.between(from, to);
  // The address names what is shown: it can be kept, and sent to others.
  morph.onmove = () => {
    const address = `#/faces?${new URLSearchParams({ from: from.address, to: to.address, at: morph.position })}`;
    if (!element.hidden && address !== location.hash) history.replaceState(null, "", address);
  };
  const film = filming(from, to);
  const inversion = inverting((guid, end) => ({ from, to })[end].set("guid", guid));
  const element = el(
    "section",
    {},
    pageHead("Faces", "Of people who do not exist. The same text is the same face, today and on every machine."),
    el("div", { class: "ends" }, from.element, morph.element, to.element),
    film,
    inversion,
  );
  let started = false;
  const onshow = () => {
    const named = new URLSearchParams(location.hash.split("?")[1] ?? "");
    if (started && ![...named.keys()].length) return;
    started = true;
    from.address = named.get("from");
    to.address = named.get("to");
    morph.position = named.get("at");
    from.show().then(() => to.show());
  };
  return { element, onshow };
}

function morphing() {
  const picture = el("img", { class: "face", alt: "", hidden: true });
  const problem = el("p", { class: "hint", role: "alert" });
  const rough = el("canvas", { class: "face rough", width: MORPH_SIDE, height: MORPH_SIDE, hidden: true, "aria-hidden": "true" });
  const frames = new OneAtATime();
  let ends = null;
  const position = slider(
    "Between the two",
    { min: 0, max: MORPH_STEPS - 1, step: 1, value: (MORPH_STEPS - 1) / 2 },
    { show: (value) => `${Math.round((value / (MORPH_STEPS - 1)) * 100)} %`, onInput: () => change() },
  );

  /** Both faces, one through the other, at once: the face between them takes the generator a moment. */
  function sketch() {
    const amount = position.value / (MORPH_STEPS - 1);
    const pen = rough.getContext("2d");
    for (const [end, alpha] of [[ends[0], 1], [ends[1], amount]]) {
      pen.globalAlpha = alpha;
      pen.drawImage(end.picture, 0, 0, MORPH_SIDE, MORPH_SIDE);
    }
    rough.hidden = false;
    picture.hidden = true;
  }

  function change() {
    if (ends.some((end) => end.picture.hidden)) return;
    made.onmove();
    sketch();
    // Frames that were begun are finished and kept by the server: the way back is quick.
    frames.run(async () => {
      const [from, to] = ends;
      const query = { ...from.query("from_"), ...to.query("to_"), num_frames: MORPH_STEPS, frame_num: position.value, linear: true, dim: MORPH_SIDE, format: "webp" };
      try {
        const blob = await call({ api: "checkface", path: "/api/morphframe/", query, as: "blob", saveTo: "frame.webp" });
        if (picture.src) URL.revokeObjectURL(picture.src);
        picture.src = URL.createObjectURL(blob);
        picture.alt = `The face at ${position.control.getAttribute("aria-valuetext")} of the way`;
        await picture.decode();
        picture.hidden = false;
        rough.hidden = true;
        problem.textContent = "";
      } catch (error) {
        problem.textContent = error.message;
      }
    });
  }

  const made = {
    element: el("div", { class: "card morph" }, rough, picture, position.element, problem),
    between: (...both) => (ends = both),
    change,
    onmove: () => {},
    get position() {
      return position.value;
    },
    set position(value) {
      if (value === null) return;
      position.control.value = value;
      position.control.tell();
    },
  };
  return made;
}

function filming(from, to) {
  const work = new Work();
  const number = (properties) => (ties) => el("input", { type: "number", required: true, ...properties, ...ties });
  const inputs = {};
  const made = (name, label, properties, hint) => field(label, (ties) => (inputs[name] = number(properties)(ties)), { hint });
  let format;
  const fields = el(
    "div",
    { class: "grid-fields" },
    field("Format", (ties) => (format = el("select", ties, Object.entries(FORMATS).map(([value, name]) => el("option", { value }, name))))),
    made("num_frames", "Frames", { min: 3, max: 200, value: 32 }),
    made("fps", "Frames a second", { min: 1, max: 100, value: 16 }),
    made("dim", "Pixels", { min: 10, max: 1024, value: 300 }),
  );
  const shown = el("div", { class: "film" });

  async function make(event) {
    event.preventDefault();
    const kind = format.value;
    const values = Object.fromEntries(Object.entries(inputs).map(([name, { value }]) => [name, value]));
    const query = { ...from.query("from_"), ...to.query("to_"), ...values };
    const blob = await work.run("Making the film, frame by frame…", (signal, progress) => {
      const film = call({ api: "checkface", path: `/api/${kind}/`, query, as: "blob", signal, saveTo: `film.${kind}` });
      follow(`/api/${kind}/progress/`, query, film, signal, progress);
      return film;
    }, () => form.requestSubmit());
    if (!blob) return;
    const source = URL.createObjectURL(blob);
    const label = `A film from ${from.text.value} to ${to.text.value}`;
    const view = kind === "mp4"
      ? el("video", { src: source, controls: true, loop: true, muted: true, autoplay: true, playsInline: true, "aria-label": label })
      : el("img", { src: source, alt: label });
    shown.replaceChildren(view, el("button", { type: "button", onclick: () => saveAs(blob, `film.${kind}`) }, `Download ${kind} (${bytes(blob.size)})`));
    announce("The film is ready.");
  }

  const form = el(
    "form",
    { class: "card stack", onsubmit: make },
    el("h2", {}, "A film"),
    el("p", { class: "muted" }, "From the one face to the other and back."),
    fields,
    el("div", { class: "row" }, el("button", { type: "submit", class: "primary" }, "Make the film")),
    work.element,
    shown,
  );
  return form;
}

/** Tells how far a film is until it is there. The server counts its pictures, whichever tab asked for it first. */
async function follow(path, query, film, signal, progress) {
  let ended = false;
  film.catch(() => {}).finally(() => (ended = true));
  const told = framesTold();
  try {
    for (;;) {
      await wait(POLL_MILLISECONDS, signal);
      if (ended) return;
      const { state, made, pictures } = await call({ api: "checkface", path, query, signal, quiet: true });
      if (ended) return;
      if (state === "absent") progress("The film waits for its turn…");
      if (state !== "making" || !made) continue;
      progress(told(made / pictures), made / pictures);
    }
  } catch {
    // The film itself says what went wrong.
  }
}

function inverting(use) {
  const work = new Work();
  const shown = el("div", { class: "stack" });
  const button = el("button", { type: "button", class: "primary", disabled: true, onclick: () => run() }, "Find its latent");
  const input = new PictureInput("A picture of a face", { onchange: () => (button.disabled = !input.picture), compact: true });

  async function run() {
    const { picture } = input;
    if (!picture) return;
    const guid = await work.run("Searching the generator for this face; this takes a while…", (signal) =>
      call({ api: "checkface", method: "POST", path: "/api/recoverlatent/", form: [["usrimg", picture.file]], as: "text", signal }),
      run,
    );
    if (!guid) return;
    const blob = await work.run("Drawing the face…", (signal) => call({ api: "checkface", path: "/api/face/", query: { guid: guid.trim(), dim: 512, format: "webp" }, as: "blob", signal, quiet: true }));
    if (!blob) return;
    const original = URL.createObjectURL(picture.file);
    const take = (end, text) => el("button", { type: "button", onclick: () => { use(guid.trim(), end); announce(text); scrollTo({ top: 0 }); } }, text);
    shown.replaceChildren(
      el(
        "div",
        { class: "pair" },
        el("figure", {}, el("img", { class: "face", src: original, alt: "The picture that was given" }), el("figcaption", {}, "given")),
        el("figure", {}, el("img", { class: "face", src: URL.createObjectURL(blob), alt: "The generator's face for it" }), el("figcaption", {}, "generated from its latent")),
      ),
      el("p", {}, "Its latent: ", el("code", {}, guid.trim())),
      el("div", { class: "row" }, take("from", "Use as the first face"), take("to", "Use as the second face")),
    );
    announce("The latent is found.");
  }

  return el(
    "div",
    { class: "card stack" },
    el("h2", {}, "The latent of a picture"),
    el("p", { class: "muted" }, "The generator's own version of a face, to morph with others."),
    input.element,
    el("div", { class: "row" }, button),
    work.element,
    shown,
  );
}
