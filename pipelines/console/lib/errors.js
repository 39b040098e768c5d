// Every API's error form, turned into what happened and what to do.

/** What an API answered that is not a result. code: of CompreFace a number, of FaceCheck a word. */
export class ApiError extends Error {
  constructor({ api, status, message, code = null, retryAfter = null }) {
    super(message);
    this.name = "ApiError";
    Object.assign(this, { api, status, code, retryAfter });
  }

  static of(api, status, document, retryAfter) {
    const message = document?.error ?? document?.message ?? document?.detail ?? `the server answered ${status}`;
    return new ApiError({ api, status, message: String(message), code: document?.code ?? null, retryAfter });
  }

  get wrongKey() {
    return this.status === 401 || this.status === 403 || (this.api === "compreface" && [10, 20].includes(this.code));
  }
}

const COMPREFACE = {
  5: ["A picture is missing or empty.", "Choose a picture and try again."],
  11: ["This example is no longer there.", "Somebody may have deleted it: load the list again."],
  21: ["Files of this kind are not accepted.", "Use a jpg, png, webp, gif, bmp, tiff or ico file."],
  28: ["No face was found in the picture.", "Try one where the face is larger, or lower the least face probability."],
  31: ["More than one face was found where exactly one is needed.", "Crop the picture to the one face, or choose another."],
  37: ["The embeddings do not fit the model in service.", null],
  41: ["The model failed on this picture.", "Try again; if it stays so, the server's log says why."],
  42: ["There is no such subject any more.", "Somebody may have renamed or deleted it: load the list again."],
  43: ["A subject of this name is there already.", "Choose another name."],
  44: ["This example is no longer there.", "Somebody may have deleted it: load the list again."],
};

/** `{what, todo, detail}`: two sentences and, where it adds to them, what the API said. */
export function explain(error) {
  if (!(error instanceof ApiError)) return { what: error.message || String(error), todo: null, detail: null };
  const { api, status, code, message, retryAfter } = error;
  const detail = `${status ? `HTTP ${status}` : "no answer"}${code !== null && code !== status ? `, code ${code}` : ""}: ${message}`;
  const said = sentence(message);
  const told = (what, todo = null) => ({ what, todo, detail: what === said ? null : detail });

  if (status === 0) return told("The server cannot be reached.", "Check that it is running, then try again. What you entered is kept.");
  if (error.wrongKey) return told("This key does not open this service.", "Sign in with a key that has the right scope: `prosopon keys` lists and makes keys.");
  if (status === 402 || /credit|points/i.test(message)) return told(said, "Add to this key's balance with `prosopon keys`.");
  if (status === 429 || status === 503) {
    if (/not available|prosopon models/i.test(message)) return told(said, null);
    return told("The server is busy.", `Try again${retryAfter ? ` in ${retryAfter} s` : " in a moment"}; nothing was changed.`);
  }
  if (status === 413) return told("This is larger than the server accepts.", "Choose a smaller picture.");
  if (api === "compreface" && COMPREFACE[code]) return told(...COMPREFACE[code]);
  if (/no face/i.test(message)) return told(said, "Try a picture where the face is larger and looks towards the camera.");
  if (status >= 500) return told("The server failed.", "Try again; if it stays so, the server's log says why.");
  return told(said);
}

function sentence(text) {
  const trimmed = text.trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}
