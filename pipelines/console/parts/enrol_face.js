// One face of a picture becomes an example of a person.

import { call } from "../lib/api.js";
import { cropped } from "../lib/picture.js";

/** Around a face that is enrolled, in its own width: as much as the detector looks for, and less where others are close. */
const MARGINS = [0.5, 0.15];
const SEVERAL_FACES = 31;

/** picture: as of `loadPicture`; box: of the face in it. alone: the picture shows nobody else, so that it is sent as it is.
 *  number: of the face, for the file's name. */
export async function enrolFace(subject, picture, box, { alone, number, threshold = null, signal }) {
  const query = { subject, det_prob_threshold: threshold };
  const enrol = (file) => call({ api: "compreface", method: "POST", path: "/api/v1/recognition/faces", query, form: [["file", file]], signal });
  if (alone) return enrol(picture.file);
  let refused;
  for (const margin of MARGINS) {
    try {
      return await enrol(await cropped(picture, box, margin, `${number} of ${picture.file.name}.jpg`));
    } catch (error) {
      if (error.code !== SEVERAL_FACES) throw error;
      refused = error;
    }
  }
  throw refused;
}
