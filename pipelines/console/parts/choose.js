// A button that asks for files or a folder, and which of these are pictures.

import { el, freshId } from "../lib/dom.js";

const PICTURE = /\.(jpe?g|png|webp|heic|heif|avif|bmp|gif|tiff?)$/i;

/** Whether a file of a folder is a picture that somebody put there: none of a hidden folder, such as thumbnails are in. */
export function isPicture(path) {
  return PICTURE.test(path) && !path.split("/").some((part) => part.startsWith("."));
}

/** properties: of the input; take(files): what is done with those that are chosen. */
export function choose(label, properties, take) {
  const id = freshId("choose");
  const input = el("input", { type: "file", id, class: "sr", onchange: () => { take([...input.files]); input.value = ""; }, ...properties });
  return el("span", {}, input, el("label", { htmlFor: id, class: "button small" }, label));
}
