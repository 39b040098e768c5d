// Pictures on their way to the people whom they show. They go on whatever is looked at meanwhile; what was left out and
// why stays until it is read.

import { call } from "../lib/api.js";
import { announce, el } from "../lib/dom.js";
import { explain } from "../lib/errors.js";
import { ALIKE } from "../lib/likeness.js";
import { session } from "../lib/session.js";
import { count, similarity } from "../lib/words.js";
import { Work } from "./work.js";

const BASE = "/api/v1/recognition";
/** How long a list of people is believed before a picture is added to one of them. */
const LOOK_MILLISECONDS = 2000;

class Enrolments extends EventTarget {
  #jobs = [];
  #running = false;
  #work = new Work();
  #left = el("div", { class: "stack" });
  #seen = { at: -Infinity, subjects: [] };
  element = el("div", { class: "tray", hidden: true, role: "region", "aria-label": "Pictures that are added" }, this.#work.element, this.#left);

  constructor() {
    super();
    // What is under way belongs to the key that began it.
    session.addEventListener("change", () => this.#drop());
    addEventListener("beforeunload", (event) => this.#running && event.preventDefault());
  }

  /** Adds files to a person. sure: without a look at whom they are like; make: the person, who is not there. Tells "end"
   *  with the person. */
  add(subject, files, { sure = false, make = false } = {}) {
    this.#jobs.push({ subject, waiting: [...files], total: files.length, sure, make, added: 0, refused: [], alike: [] });
    this.element.hidden = false;
    return this.#running ? undefined : this.#run();
  }

  async #run() {
    this.#running = true;
    const done = await this.#work.run("Adding pictures…", async (signal, progress) => {
      while (this.#jobs.length) {
        const [job] = this.#jobs;
        await this.#finish(job, signal, progress);
        this.#jobs.shift();
        this.#end(job);
      }
      return true;
    }, () => this.#run());
    this.#running = false;
    if (!done && !this.#work.failed) this.#drop(); // Stopped: what was added stays.
    this.#tidy();
  }

  async #finish(job, signal, progress) {
    const { subject, waiting, total } = job;
    if (job.make && !(await this.#isThere(subject, signal))) {
      await this.#ask({ method: "POST", path: `${BASE}/subjects`, json: { subject }, signal });
    }
    while (waiting.length) {
      const [file] = waiting;
      progress(`Adding ${file.name} to ${subject}`, (total - waiting.length) / total);
      if (!(await this.#isThere(subject, signal))) {
        job.gone = [...waiting];
        return;
      }
      try {
        const other = job.sure ? null : await this.#other(subject, file, signal);
        if (other) job.alike.push([file, other]);
        else {
          await this.#ask({ method: "POST", path: `${BASE}/faces`, query: { subject }, form: [["file", file]], signal });
          job.added += 1;
        }
      } catch (error) {
        if (error.name === "AbortError" || error.wrongKey || error.status === 0) throw error;
        job.refused.push([file, error]);
      }
      waiting.shift();
    }
  }

  /** Adding a picture to somebody who is not there would make them again. */
  async #isThere(subject, signal) {
    if (performance.now() - this.#seen.at > LOOK_MILLISECONDS || !this.#seen.subjects.has(subject)) {
      const { subjects } = await this.#ask({ path: `${BASE}/subjects`, signal, quiet: true });
      this.#seen = { at: performance.now(), subjects: new Set(subjects) };
    }
    return this.#seen.subjects.has(subject);
  }

  /** Whom else the picture shows, as far as is known; null where it shows the person, or nobody who is known. */
  async #other(subject, file, signal) {
    const query = { limit: 2, prediction_count: 2 };
    const { result } = await this.#ask({ method: "POST", path: `${BASE}/recognize`, query, form: [["file", file]], signal, quiet: true });
    const [best] = result.length === 1 ? result[0].subjects : [];
    return best && best.subject !== subject && best.similarity >= ALIKE ? best : null;
  }

  #ask(request) {
    return call({ api: "compreface", ...request });
  }

  #end(job) {
    const { subject, added, total, refused, alike, gone } = job;
    announce(`${count(added, "picture")} added to ${subject}.`);
    this.dispatchEvent(new CustomEvent("end", { detail: subject }));
    if (gone) {
      this.#tell(
        "warn",
        [el("p", {}, el("b", {}, `${subject} is not there any more: ${count(gone.length, "picture was", "pictures were")} not added.`))],
        [[`Make ${subject} again and add them`, () => this.add(subject, gone, { make: true })]],
      );
    }
    if (refused.length) {
      const lines = refused.map(([file, error]) => el("p", {}, `${file.name}: ${explain(error).what}`));
      const names = refused.map(([{ name }]) => name).join(", ");
      this.#tell("bad", [...lines, el("p", {}, `${added} of ${total} pictures were added; refused: ${names}.`)], []);
    }
    for (const [file, { subject: other, similarity: likeness }] of alike) {
      this.#tell(
        "warn",
        [el("p", {}, el("b", {}, `${file.name} looks like ${other} (${similarity(likeness)}), not like ${subject}.`))],
        [
          [`Add it to ${subject} all the same`, () => this.add(subject, [file], { sure: true })],
          [`Add it to ${other}`, () => this.add(other, [file], { sure: true })],
        ],
      );
    }
  }

  #tell(kind, lines, choices) {
    const close = () => {
      notice.remove();
      this.#tidy();
    };
    const button = (text, act) => el("button", { type: "button", class: "small", onclick: () => { close(); act?.(); } }, text);
    const notice = el(
      "div",
      { class: `notice ${kind}`, role: "alert" },
      ...lines,
      el("div", { class: "row" }, choices.map(([text, act]) => button(text, act)), button(choices.length ? "Leave out" : "Close")),
    );
    this.#left.append(notice);
  }

  #drop() {
    this.#jobs = [];
    this.#seen.at = -Infinity;
    this.#work.stop();
    if (!session.key) this.#left.replaceChildren();
    this.#tidy();
  }

  #tidy() {
    this.element.hidden = !this.#running && !this.#left.childElementCount && !this.#work.element.childElementCount;
  }
}

export const enrolments = new Enrolments();
