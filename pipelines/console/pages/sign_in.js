// Signing in is trying the key on every service that is served.

import { call } from "../lib/api.js";
import { announce, el, field, pageHead } from "../lib/dom.js";
import { ApiError } from "../lib/errors.js";
import { server, session } from "../lib/session.js";
import { Work } from "../parts/work.js";

// Calls that change nothing, cost nothing, and succeed with a key that is accepted.
const DOORS = [
  ["compreface", "Recognition", { path: "/api/v1/recognition/subjects" }],
  ["trueface", "Trueface", { path: "/v1/collection" }],
  ["facecheck", "Search", { path: "/api/info", method: "POST" }],
];

async function opens([api, name, request], key, signal) {
  try {
    await call({ api, key, signal, quiet: true, ...request });
    return name;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 0 || error.status >= 500 || error.status === 429) throw error;
    return null;
  }
}

export function signIn() {
  const work = new Work();
  let input;
  const entry = field(
    "API key",
    (ties) => {
      input = el("input", { type: "password", autocomplete: "off", spellcheck: false, required: true, ...ties });
      return input;
    },
    { hint: "A UUID. `prosopon serve` prints the first key once; `prosopon keys create NAME` makes more." },
  );
  const visible = el("button", { type: "button", class: "quiet small", "aria-pressed": "false" }, "Show the key");
  visible.addEventListener("click", () => {
    const show = input.type === "password";
    input.type = show ? "text" : "password";
    visible.setAttribute("aria-pressed", String(show));
  });

  async function enter(event) {
    event.preventDefault();
    const key = input.value.trim();
    if (!key) return input.focus();
    if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(key)) {
      work.fail(new Error("This is no key: keys look like 01234567-89ab-cdef-0123-456789abcdef."));
      return input.focus();
    }
    const doors = DOORS.filter(([api]) => server.serves(api));
    const found = await work.run("Trying the key…", (signal) => Promise.all(doors.map((door) => opens(door, key, signal))));
    if (!found) return undefined;
    const names = found.some(Boolean) ? found.filter(Boolean) : await othersThatOpen(key);
    if (names.length) {
      const { scopes } = await call({ api: "admin", path: "/admin/key", key, quiet: true }).catch(() => ({ scopes: [] }));
      if (scopes.includes("admin")) names.push("Administration");
    }
    if (!names.length) {
      work.fail(new Error("No service here accepts this key. Look whether it is complete and not revoked: `prosopon keys list`."));
      return input.focus();
    }
    input.value = "";
    work.clear();
    announce("Signed in.");
    return session.enter(key, names);
  }

  const element = el(
    "section",
    {},
    pageHead("Sign in", "The key stays in the tabs of this console and is forgotten when the last of them is closed."),
    el(
      "form",
      { class: "card signin fields", onsubmit: enter },
      entry,
      el("div", { class: "row" }, el("button", { class: "primary", type: "submit" }, "Sign in"), visible),
      work.element,
    ),
  );
  return { element, onshow: () => setTimeout(() => input.focus()) };
}

/** Services that have no call without a picture, or a task, refuse an empty one differently where the key is accepted. */
async function othersThatOpen(key) {
  const refusals = [
    ["compreface", "Detection", { path: "/api/v1/detection/detect", method: "POST", json: {} }, ({ code }) => code === 5],
    ["compreface", "Verification", { path: "/api/v1/verification/verify", method: "POST", json: {} }, ({ code }) => code === 5],
    ["aifaceswap", "Swap", { path: "/api/aifaceswap/v1/task/none" }, ({ status }) => status === 404],
  ];
  const asked = refusals
    .filter(([api]) => server.serves(api))
    .map(([api, name, request, accepted]) => call({ api, key, quiet: true, ...request }).then(() => name, (error) => accepted(error) && name));
  return (await Promise.all(asked)).filter(Boolean);
}
