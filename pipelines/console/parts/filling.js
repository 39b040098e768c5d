// Pictures of a folder into the index that is searched, one after the other, with what became of each.

import { call } from "../lib/api.js";
import { announce, checkbox, el, field } from "../lib/dom.js";
import { explain } from "../lib/errors.js";
import { count } from "../lib/words.js";
import { choose, isPicture } from "./choose.js";
import { fit } from "./picture_input.js";
import { wait } from "./wait.js";
import { Work } from "./work.js";

const PATIENCE = 30;
const SECOND = 1000;

/** onfilled(): after a run that added anything. */
export function filling(onfilled) {
  const work = new Work();
  const outcome = el("div", { class: "stack" });
  const groups = checkbox("Pictures of one folder are of one person");
  let address;
  const base = field(
    "Where these pictures are on the web",
    (ties) => (address = el("input", { type: "url", autocomplete: "off", ...ties })),
    { hint: "Results link to this address with the file's path behind it. Without one they show the path alone." },
  );

  /** A file's path as its place, and the group of its folder. */
  function placeOf(file) {
    const path = file.webkitRelativePath || file.name;
    const root = address.value.trim();
    const url = root ? new URL(path.split("/").map(encodeURIComponent).join("/"), root.endsWith("/") ? root : `${root}/`).href : path;
    const folder = path.split("/").slice(0, -1).join("/");
    return { url, group: groups.control.checked ? folder : null };
  }

  async function send(file, query, signal) {
    for (let attempt = 1; ; attempt++) {
      try {
        return await call({ api: "admin", method: "POST", path: "/admin/index", query, form: [["file", file]], signal, quiet: true });
      } catch (error) {
        const busy = error.status === 503 || error.status === 429;
        if (!busy || attempt === PATIENCE) throw error;
        await wait((error.retryAfter ?? 1) * SECOND, signal);
      }
    }
  }

  async function fill(files) {
    if (!address.reportValidity()) return;
    const pictures = files.filter((file) => isPicture(file.webkitRelativePath || file.name));
    const done = { faces: 0, added: 0, unchanged: 0, without: 0, problems: [], left: files.length - pictures.length };
    outcome.replaceChildren();
    await work.run("Adding to the index…", async (signal, progress) => {
      for (const [index, file] of pictures.entries()) {
        progress(`${index + 1} of ${pictures.length}: ${file.name}`, index / pictures.length);
        try {
          const fitting = await fit(file, (text) => done.problems.push([file, text]));
          if (!fitting) continue;
          const answer = await send(fitting, placeOf(file), signal);
          done.faces += answer.outcome === "unchanged" ? 0 : answer.faces;
          if (answer.outcome === "unchanged") done.unchanged += 1;
          else if (answer.faces) done.added += 1;
          else done.without += 1;
        } catch (error) {
          if (error.name === "AbortError" || error.wrongKey || error.status === 0) throw error;
          done.problems.push([file, explain(error).what]);
        }
      }
    }, () => fill(files));
    // Also where it was stopped: what was added stays.
    tell(done);
    if (done.added) onfilled();
  }

  function tell({ faces, added, unchanged, without, problems, left }) {
    const parts = [
      `${count(faces, "face")} of ${count(added, "picture")} added`,
      unchanged && `${unchanged} there already`,
      without && `${without} without a face`,
      problems.length && `${problems.length} with a problem`,
      left && `${left} left out: no pictures, or hidden`,
    ].filter(Boolean).join("; ");
    outcome.replaceChildren(
      el("p", { class: `notice ${problems.length ? "warn" : "good"}`, role: "status" }, `${parts}.`),
      problems.length ? el("ul", { class: "problems" }, problems.map(([{ name, webkitRelativePath: path }, text]) => el("li", {}, el("b", {}, `${path || name}: `), text))) : "",
    );
    announce(`${parts}.`);
  }

  return el(
    "details",
    { class: "card" },
    el("summary", {}, "Add pictures to the index"),
    el(
      "div",
      { class: "stack" },
      el("p", { class: "hint" }, "Every face in them can be found from then on, by everybody who may search here. A picture that was sent before is not added twice."),
      base,
      groups.element,
      el("div", { class: "row" }, choose("Choose a folder", { webkitdirectory: true }, fill), choose("Choose pictures", { accept: "image/*", multiple: true }, fill)),
      work.element,
      outcome,
    ),
  );
}
