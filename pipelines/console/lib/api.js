// Calls of the public routes. Every call is remembered, with the line that repeats it.

import { curlLine, masked } from "./curl.js";
import { ApiError } from "./errors.js";
import { session } from "./session.js";

const MAX_CALLS = 500;

/** What all paths of this server begin with: a proxy may show it below its own root. */
export const ROOT = new URL(import.meta.url).pathname.split("/console/assets/")[0];

const AUTHORIZATION = {
  compreface: (key) => ({ "x-api-key": key }),
  trueface: (key) => ({ "x-api-key": key }),
  admin: (key) => ({ "x-api-key": key }),
  facecheck: (key) => ({ Authorization: key }),
  aifaceswap: (key) => ({ Authorization: `Bearer ${key}` }),
  checkface: () => ({}),
};

/** Calls of this page since it was loaded, the newest first. Tells "call" after each. */
class Calls extends EventTarget {
  list = [];

  add(call) {
    // What was answered is kept of the newest alone: answers may be large.
    const told = this.list.find(({ answer }) => answer);
    if (told && call.answer) told.answer = null;
    // Of a question that is asked again and again, how far a film is for instance, the newest answer is enough.
    const [last] = this.list;
    if (call.quiet && last?.quiet && last.method === call.method && last.path === call.path) this.list.shift();
    this.list.unshift(call);
    this.list.length = Math.min(this.list.length, MAX_CALLS);
    this.dispatchEvent(new CustomEvent("call", { detail: call }));
  }

  clear() {
    this.list = [];
    this.dispatchEvent(new CustomEvent("call", { detail: null }));
  }
}

export const calls = new Calls();

/** One call. Resolves to the answer, read as `as`: "json", "text" or "blob"; rejects with `ApiError`, or with
 *  AbortError.
 *
 *  api: whose authorization and error form; query: an object, of which null and "" are left out; form (pairs) or json:
 *  the body; key: instead of the session's; quiet: not for the bar at the bottom.
 */
export async function call({ api, method = "GET", path, query = {}, form, json, as = "json", signal, key, quiet, saveTo }) {
  const parameters = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const search = new URLSearchParams(parameters.map(([name, value]) => [name, String(value)])).toString();
  const url = new URL(`${ROOT}${path}${search ? `?${search}` : ""}`, location.origin).href;
  const secret = key ?? session.key;
  const headers = secret ? AUTHORIZATION[api](secret) : {};
  const request = { method, url, headers, form, json, saveTo };

  const options = { method, headers: { ...headers }, signal, cache: as === "blob" ? "default" : "no-store", redirect: "error" };
  if (form) {
    options.body = new FormData();
    for (const [name, value] of form) options.body.append(name, value);
  } else if (json !== undefined) {
    options.body = JSON.stringify(json);
    options.headers["Content-Type"] = "application/json";
  }

  const started = performance.now();
  let status = 0;
  let size = 0;
  let answered = null;
  try {
    const answer = await fetch(url, options);
    ({ status } = answer);
    const blob = await answer.blob();
    ({ size } = blob);
    answered = quiet ? null : blob;
    return await read(api, answer, blob, as);
  } catch (error) {
    if (error instanceof ApiError || error.name === "AbortError") throw error;
    throw new ApiError({ api, status: 0, message: "the server did not answer" });
  } finally {
    // A call that was given up and never answered tells nothing.
    if (!(signal?.aborted && status === 0)) {
      calls.add({
        when: new Date(),
        method,
        path: new URL(url).pathname,
        status,
        size,
        milliseconds: performance.now() - started,
        quiet: Boolean(quiet),
        answer: answered,
        shown: curlLine(request, secret, masked(secret)),
        curl: curlLine(request),
      });
    }
  }
}

async function read(api, answer, blob, as) {
  let document = null;
  if (as === "json" || !answer.ok) {
    try {
      document = JSON.parse(await blob.text());
    } catch {
      if (answer.ok && as === "json") throw new ApiError({ api, status: 502, message: "the answer is not JSON" });
    }
  }
  const retryAfter = Number(answer.headers.get("Retry-After")) || null;
  if (!answer.ok) throw ApiError.of(api, answer.status, document, retryAfter);
  // FaceCheck and aifaceswap may say in the body what went wrong.
  if (document && api === "facecheck" && document.error) throw ApiError.of(api, answer.status, document, retryAfter);
  if (document && api === "aifaceswap" && document.code >= 400) throw ApiError.of(api, document.code, document, retryAfter);
  if (as === "json") return document;
  return as === "text" ? blob.text() : blob;
}
