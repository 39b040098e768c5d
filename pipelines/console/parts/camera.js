// A picture from the camera of this machine.

import { el, freshId } from "../lib/dom.js";

/** Whether a page may ask for a camera: browsers allow it to https and to this machine alone. */
export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

/** Shows what the camera sees. Resolves to the picture that is taken, as a JPEG's file, or to null. Rejects where there is no
 *  camera, or it may not be used. */
export async function takePicture() {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 720 } } });
  const heading = freshId("dialog");
  const video = el("video", { autoplay: true, muted: true, playsInline: true, srcObject: stream, "aria-label": "What the camera sees" });
  let file = null;
  const take = async () => {
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
    file = new File([blob], `camera ${new Date().toLocaleTimeString("en-GB").replaceAll(":", "-")}.jpg`, { type: "image/jpeg" });
    dialog.close();
  };
  const button = el("button", { type: "button", class: "primary", disabled: true, onclick: take }, "Take the picture");
  video.addEventListener("playing", () => { button.disabled = false; });
  let dialog;
  try {
    await new Promise((resolve) => {
      dialog = el(
        "dialog",
        { "aria-labelledby": heading, class: "camera", onclose: resolve },
        el("h2", { id: heading }, "Camera"),
        video,
        el("div", { class: "row end" }, el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), button),
      );
      document.body.append(dialog);
      dialog.showModal();
    });
  } finally {
    dialog.remove();
    for (const track of stream.getTracks()) track.stop();
  }
  return file;
}
