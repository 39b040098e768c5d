// What the plugins say about one face.

import { el } from "../lib/dom.js";
import { milliseconds } from "../lib/words.js";

/** What the server says that a picture's faces took: in CompreFace's answer every face has the time of the whole picture. */
export function timeOf(face) {
  const times = Object.values(face?.execution_time ?? {});
  return times.length ? milliseconds(times.reduce((sum, cost) => sum + cost, 0)) : null;
}

const percent = (value) => `${Math.round(value * 100)} %`;
const MASKS = { without_mask: "none", mask_worn_correctly: "worn correctly", mask_worn_incorrectly: "worn incorrectly" };

export function faceFacts(face) {
  const rows = [["Face", percent(face.box.probability)]];
  if (face.age) rows.push(["Age", `${face.age.low} to ${face.age.high} (${percent(face.age.probability)})`]);
  if (face.gender) rows.push(["Gender", `${face.gender.value} (${percent(face.gender.probability)})`]);
  if (face.mask) rows.push(["Mask", `${MASKS[face.mask.value] ?? face.mask.value} (${percent(face.mask.probability)})`]);
  if (face.liveness) rows.push(["Liveness", `${face.liveness.value} (${percent(face.liveness.probability)})`]);
  if (face.quality !== undefined) rows.push(["Quality", percent(face.quality)]);
  if (face.pose) {
    const { pitch, yaw, roll } = face.pose;
    rows.push(["Pose", `pitch ${Math.round(pitch)}°, yaw ${Math.round(yaw)}°, roll ${Math.round(roll)}°`]);
  }
  return el("dl", { class: "facts-list" }, rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}
