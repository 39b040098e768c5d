// People from elsewhere: the zip that the export makes, or a folder with one of pictures for each person.

import { el } from "../lib/dom.js";
import { count } from "../lib/words.js";
import { unzip } from "../lib/zip.js";
import { choose, isPicture } from "./choose.js";
import { enrolments } from "./enrolments.js";
import { fit } from "./picture_input.js";
import { Work } from "./work.js";

export function importing() {
  const work = new Work();
  const told = el("div", { class: "stack" });
  const tell = (text) => told.append(el("p", { class: "notice warn", role: "alert" }, text));

  /** Pictures are added in the background, as all are, without a look at whom else they are like: they were named already. */
  async function take(find) {
    told.replaceChildren();
    const people = await work.run("Reading…", find);
    if (!people) return;
    if (!people.size) {
      tell("Nobody was found in it: there must be a folder for each person, with pictures of them.");
      return;
    }
    const whom = count(people.size, "person", "people");
    const line = el("p", { class: "hint" }, `${whom} ${people.size === 1 ? "is" : "are"} being added.`);
    const left = new Set(people.keys());
    const ended = ({ detail: subject }) => {
      if (!left.delete(subject) || left.size) return;
      line.textContent = `${whom} read from it.`;
      enrolments.removeEventListener("end", ended);
    };
    enrolments.addEventListener("end", ended);
    told.append(line);
    for (const [subject, files] of people) {
      const fitting = (await Promise.all(files.map((file) => fit(file, tell)))).filter(Boolean);
      enrolments.add(subject, fitting, { sure: true, make: true });
    }
  }

  const from = (label, properties, read) => choose(label, properties, (files) => take(() => read(files)));
  return el(
    "details",
    {},
    el("summary", {}, "Add people from a file or a folder"),
    el("p", { class: "hint" }, "A zip that Export made, or a folder with a folder of pictures for each person, called by the person's name."),
    el("div", { class: "row" }, from("Choose a zip", { accept: ".zip,application/zip" }, ([archive]) => ofZip(archive)), from("Choose a folder", { webkitdirectory: true }, ofFolder)),
    work.element,
    told,
  );
}

/** Person -> files. */
async function ofZip(archive) {
  const files = await unzip(archive);
  const listed = files.get("people.json");
  if (!listed) return byFolder([...files].map(([path, blob]) => [path, new File([blob], path.split("/").at(-1))]));
  const people = new Map();
  for (const { subject, examples } of JSON.parse(await listed.text()).people) {
    const pictures = examples.filter(({ file }) => files.has(file)).map(({ file }) => new File([files.get(file)], file.split("/").at(-1)));
    people.set(subject, [...(people.get(subject) ?? []), ...pictures]);
  }
  return people;
}

const ofFolder = async (files) => byFolder(files.map((file) => [file.webkitRelativePath, file]));

/** By the name of the folder that a picture lies in. */
function byFolder(files) {
  const people = new Map();
  for (const [path, file] of files) {
    const folder = path.split("/").at(-2);
    if (!folder || !isPicture(path)) continue;
    people.set(folder, [...(people.get(folder) ?? []), file]);
  }
  return people;
}
