// The frame: which page is shown, who is signed in, light or dark. A page is made once and kept, with all its input.

import { el } from "./lib/dom.js";
import { ROOT } from "./lib/api.js";
import { masked } from "./lib/curl.js";
import { server, session } from "./lib/session.js";
import { faces } from "./pages/faces.js";
import { keys } from "./pages/keys.js";
import { models } from "./pages/models.js";
import { people } from "./pages/people.js";
import { recognise } from "./pages/recognise.js";
import { search } from "./pages/search.js";
import { signIn } from "./pages/sign_in.js";
import { swap } from "./pages/swap.js";
import { unknown } from "./pages/unknown.js";
import { usage } from "./pages/usage.js";
import { verify } from "./pages/verify.js";
import { welcome } from "./pages/welcome.js";
import { enrolments } from "./parts/enrolments.js";
import { requestBar } from "./parts/request_bar.js";

// api: which must be served; needs: the scope that the key must have; open: whether the page is for everybody.
const PAGES = [
  { path: "", title: "Welcome", make: welcome, open: true, listed: false },
  { path: "sign-in", title: "Sign in", make: signIn, open: true, listed: false },
  { path: "recognise", title: "Recognise", make: recognise, api: "compreface" },
  { path: "unknown", title: "Unknown", make: unknown, api: "compreface" },
  { path: "people", title: "People", make: people, api: "compreface" },
  { path: "verify", title: "Verify", make: verify, api: "compreface" },
  { path: "search", title: "Search", make: search, api: "facecheck" },
  { path: "faces", title: "Faces", make: faces, api: "checkface", open: true },
  { path: "swap", title: "Swap", make: swap, api: "aifaceswap" },
  { path: "models", title: "Models", make: models, open: true, group: "Installation" },
  { path: "keys", title: "Keys", make: keys, needs: "admin", group: "Installation" },
  { path: "usage", title: "Usage", make: usage, group: "Installation" },
];

const main = document.getElementById("main");
const navigation = document.getElementById("navigation");
const shown = new Map();
let wanted = "";

const current = () => location.hash.replace(/^#\/?/, "").split("?")[0];
let lastPath = null;
const served = (page) => (!page.api || server.serves(page.api)) && (!page.needs || session.scopes.includes(page.needs));

function drawNavigation(path) {
  const link = (page) =>
    el("li", {}, el("a", { href: `#/${page.path}`, "aria-current": page.path === path ? "page" : null }, page.title));
  const group = (name, pages) => [el("h2", {}, name), el("ul", {}, pages.map(link))];
  const listed = PAGES.filter((page) => page.listed !== false && served(page));
  const documents = server.apis.map(({ title, documentation }) => el("li", {}, el("a", { href: documentation }, title)));
  navigation.replaceChildren(
    el(
      "div",
      {},
      group("Faces", listed.filter(({ group: name }) => !name)),
      group("Installation", listed.filter(({ group: name }) => name)),
      el("h2", {}, "API documents"),
      el("ul", {}, documents),
    ),
  );
}

function drawWho() {
  const leave = el("button", { type: "button", class: "quiet small", onclick: () => session.leave() }, "Sign out");
  const enter = el("a", { href: "#/sign-in", class: "button small" }, "Sign in");
  document.getElementById("who").replaceChildren(
    ...(session.key ? [el("code", { title: "The first part of the key in use" }, masked(session.key)), leave] : [enter]),
  );
}

function show(focus = true) {
  const path = current();
  let page = PAGES.find((candidate) => candidate.path === path && served(candidate)) ?? PAGES[0];
  if (!page.open && !session.key) {
    wanted = location.hash.replace(/^#\/?/, "");
    page = PAGES.find((candidate) => candidate.path === "sign-in");
  }
  for (const { element } of shown.values()) element.hidden = true;
  let view = shown.get(page.path);
  if (!view) {
    view = page.make();
    shown.set(page.path, view);
    main.append(view.element);
  }
  view.element.hidden = false;
  view.onshow?.();
  document.title = `${page.title} · Prosopon`;
  drawNavigation(page.path);
  openMenu(false);
  // Another person on the page of people is no other page.
  if (focus && page.path !== lastPath) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  lastPath = page.path;
}

function openMenu(open) {
  navigation.classList.toggle("open", open);
  document.getElementById("menu").setAttribute("aria-expanded", String(open));
}

function themeButton() {
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const tell = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Light theme" : "Dark theme");
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("prosopon.theme", document.documentElement.dataset.theme);
    } catch {
      // Storage may be forbidden: the choice lasts as long as the page.
    }
    tell();
  });
  dark.addEventListener("change", tell);
  tell();
}

function onSession() {
  // What one key was shown is not for the next.
  for (const page of PAGES.filter(({ open }) => !open)) {
    shown.get(page.path)?.element.remove();
    shown.delete(page.path);
  }
  drawWho();
  const path = current();
  if (session.key && path === "sign-in") {
    location.hash = `#/${wanted}`;
    wanted = "";
  } else {
    show();
  }
}

async function start() {
  themeButton();
  requestBar(document.getElementById("request-bar"));
  document.getElementById("menu").addEventListener("click", () => openMenu(!navigation.classList.contains("open")));
  // The link to the page that is shown already changes no address.
  navigation.addEventListener("click", ({ target }) => target.closest("a") && openMenu(false));
  try {
    const answer = await fetch(`${ROOT}/console/config.json`);
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    Object.assign(server, await answer.json());
  } catch (error) {
    const again = el("button", { type: "button", onclick: () => location.reload() }, "Try again");
    main.append(el("div", { class: "notice bad", role: "alert" }, el("p", {}, `The server cannot be reached (${error.message}).`), el("div", { class: "row" }, again)));
    return;
  }
  await session.join();
  drawWho();
  main.prepend(enrolments.element);
  session.addEventListener("change", onSession);
  addEventListener("hashchange", () => show());
  // The link is for the keyboard and must not change which page is shown.
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
  show(false);
}

start();
