// Signing in is asking what the key is for.

import { call } from "../lib/api.js";
import { announce, el, field, pageHead } from "../lib/dom.js";
import { session } from "../lib/session.js";
import { Work } from "../parts/work.js";

/** What a key is for; nothing where it is no key of this server. */
async function scopesOf(key, signal) {
  try {
    return (await call({ api: "admin", path: "/admin/key", key, signal, quiet: true })).scopes;
  } catch (error) {
    if (error.wrongKey) return [];
    throw error;
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
    const scopes = await work.run("Trying the key…", (signal) => scopesOf(key, signal));
    if (!scopes) return undefined;
    if (!scopes.length) {
      work.fail(new Error("This server does not accept this key. See whether it is complete and not revoked: `prosopon keys list`."));
      return input.focus();
    }
    input.value = "";
    work.clear();
    announce("Signed in.");
    return session.enter(key, scopes);
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
