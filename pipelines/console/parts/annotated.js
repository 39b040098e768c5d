// A picture with boxes on it. Each box is a button; boxes and whatever lists the faces light up together.

import { el } from "../lib/dom.js";
import { drawn } from "../lib/picture.js";

const SVG = "http://www.w3.org/2000/svg";

/** faces: `{box: [x1, y1, x2, y2], label, short, name, points}` in pixels of the upright picture; `label` is drawn, `short`
 *  where there is no room for it (default: the same), `name` said.
 *  onpick(index): a box was pressed. Returns `{element, light(index, on)}`. */
export function annotated(picture, faces, { onpick = () => {}, pressed = null } = {}) {
  const element = el("div", { class: "annotated" });
  if (!picture.bitmap) {
    element.append(el("p", { class: "empty" }, "This browser cannot show this file. The server may be able to read it."));
    return { element, light: () => {}, boxes: [] };
  }
  const { width, height } = picture;
  element.append(drawn(picture.bitmap, faces.length ? `${picture.file.name}, ${faces.length} faces` : picture.file.name), points(faces, width, height));
  const boxes = faces.map((face, index) => {
    const [x1, y1, x2, y2] = face.box;
    const tag = el("span", { dataset: { label: face.label, short: face.short ?? face.label } }, face.label);
    const box = el("button", {
      type: "button", class: "box", "aria-label": face.name ?? face.label,
      "aria-pressed": pressed ? String(pressed(index)) : null,
      onclick: () => onpick(index),
    }, tag);
    box.style.left = `${(x1 / width) * 100}%`;
    box.style.top = `${(y1 / height) * 100}%`;
    box.style.width = `${((x2 - x1) / width) * 100}%`;
    box.style.height = `${((y2 - y1) / height) * 100}%`;
    return box;
  });
  element.append(...boxes);
  new ResizeObserver(() => arrange(element, boxes)).observe(element);
  return { element, boxes, light: (index, on) => boxes[index]?.classList.toggle("strong", on) };
}

const PLACES = [[], ["below"], ["inside"], ["right"], ["right", "below"], ["right", "inside"], ["inside", "below"]];

/** Gives every label the first place where it is in the picture, on no other and on nobody else's face; the short one
 *  where there is none, which may lie on a face. */
function arrange(element, boxes) {
  const frame = element.getBoundingClientRect();
  const faces = boxes.map((box) => box.getBoundingClientRect());
  const taken = [];
  for (const [index, box] of boxes.entries()) {
    const tag = box.firstChild;
    const free = (others) => {
      const { left, top, right, bottom } = tag.getBoundingClientRect();
      const within = left >= frame.left && top >= frame.top && right <= frame.right && bottom <= frame.bottom;
      return within && !others.some((other) => left < other.right && right > other.left && top < other.bottom && bottom > other.top);
    };
    const shy = [...taken, ...faces.filter((_, other) => other !== index)];
    const fits = [["label", shy], ["short", shy], ["short", taken]].some(([kind, others]) => {
      tag.textContent = tag.dataset[kind];
      return PLACES.some((place) => {
        box.classList.remove("below", "inside", "right");
        box.classList.add(...place);
        return free(others);
      });
    });
    if (!fits) box.classList.add("inside");
    taken.push(tag.getBoundingClientRect());
  }
}

function points(faces, width, height) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-hidden", "true");
  for (const { box, points: marks = [] } of faces) {
    const radius = Math.max(1.5, (box[2] - box[0]) / (marks.length > 10 ? 90 : 45));
    for (const [x, y] of marks) {
      const circle = document.createElementNS(SVG, "circle");
      const values = { cx: x, cy: y, r: radius, "stroke-width": radius / 2 };
      for (const [name, value] of Object.entries(values)) circle.setAttribute(name, value);
      svg.append(circle);
    }
  }
  return svg;
}

/** Makes list entries and boxes light each other up, by pointer and by focus. */
export function linked(view, entries) {
  entries.forEach((entry, index) => {
    const both = (on) => {
      view.light(index, on);
      entry.classList.toggle("strong", on);
    };
    for (const target of [entry, view.boxes[index]]) {
      if (!target) continue;
      for (const [name, on] of [["pointerenter", true], ["pointerleave", false], ["focusin", true], ["focusout", false]]) {
        target.addEventListener(name, () => both(on));
      }
    }
  });
}
