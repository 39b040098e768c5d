// Pictures: decoded off the page's thread, shown small, sent as they are where the server takes them.

const SHOWN_SIDE = 1400;

/** Whether it may be a film: every mp4 is one, a gif or a webp may be. */
export const mayBeFilm = ({ type }) => type.startsWith("video/") || type === "image/gif" || type === "image/webp";

/** The first frame of a film. */
async function firstFrame(file) {
  const film = document.createElement("video");
  Object.assign(film, { muted: true, preload: "auto", src: URL.createObjectURL(file) });
  try {
    await new Promise((resolve, reject) => Object.assign(film, { onloadeddata: resolve, onerror: reject }));
    return await createImageBitmap(film);
  } finally {
    URL.revokeObjectURL(film.src);
  }
}

/** A file with what is needed to show it, of a film its first frame. width, height: upright, in pixels; bitmap: at most
 *  SHOWN_SIDE; all null where the browser cannot decode it (tiff): the server can. */
export async function loadPicture(file, side = SHOWN_SIDE) {
  let full;
  try {
    full = await (file.type.startsWith("video/") ? firstFrame(file) : createImageBitmap(file, { imageOrientation: "from-image" }));
  } catch {
    return { file, width: null, height: null, bitmap: null };
  }
  const { width, height } = full;
  const scale = side / Math.max(width, height);
  if (scale >= 1) return { file, width, height, bitmap: full };
  const options = { resizeWidth: Math.round(width * scale), resizeHeight: Math.round(height * scale), resizeQuality: "high" };
  const bitmap = await createImageBitmap(full, options);
  full.close();
  return { file, width, height, bitmap };
}

/** A JPEG of the picture that has at most so many bytes and pixels; null where the browser cannot decode it. */
export async function shrunk(file, { max_bytes: most, max_pixels: pixels }) {
  let full;
  try {
    full = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return null;
  }
  let scale = Math.min(1, Math.sqrt(pixels / (full.width * full.height)));
  try {
    for (;;) {
      const canvas = new OffscreenCanvas(Math.max(1, Math.floor(full.width * scale)), Math.max(1, Math.floor(full.height * scale)));
      const pen = canvas.getContext("2d");
      pen.imageSmoothingQuality = "high";
      pen.drawImage(full, 0, 0, canvas.width, canvas.height);
      const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
      if (blob.size <= most) return new File([blob], file.name.replace(/\.\w+$/, "") + ".jpg", { type: "image/jpeg" });
      scale *= Math.min(0.9, Math.sqrt(most / blob.size));
    }
  } finally {
    full.close();
  }
}

/** A canvas with the bitmap on it. */
export function drawn(bitmap, label) {
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  return canvas;
}

/** A box of a picture with a margin around it (1: as wide as the box is), in full size, as a JPEG of this name. */
export async function cropped(picture, [x1, y1, x2, y2], margin, name) {
  const full = await createImageBitmap(picture.file, { imageOrientation: "from-image" });
  const wider = margin * Math.max(x2 - x1, y2 - y1);
  const left = Math.max(0, Math.floor(x1 - wider));
  const top = Math.max(0, Math.floor(y1 - wider));
  const canvas = new OffscreenCanvas(Math.min(full.width, Math.ceil(x2 + wider)) - left, Math.min(full.height, Math.ceil(y2 + wider)) - top);
  canvas.getContext("2d").drawImage(full, -left, -top);
  full.close();
  return new File([await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 })], name, { type: "image/jpeg" });
}

/** A square canvas with a box of the picture, a little wider than the box. */
export function cut(picture, [x1, y1, x2, y2], label, side = 96) {
  if (!picture.bitmap) return null;
  const scale = picture.bitmap.width / picture.width;
  const half = (Math.max(x2 - x1, y2 - y1) / 2) * 1.25 * scale;
  const x = ((x1 + x2) / 2) * scale - half;
  const y = ((y1 + y2) / 2) * scale - half;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  canvas.getContext("2d").drawImage(picture.bitmap, x, y, 2 * half, 2 * half, 0, 0, side, side);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", label);
  return canvas;
}
