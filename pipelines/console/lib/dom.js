// Elements without a framework.

/** An element. Of the properties, those that begin with "on" are listeners, `class` and `dataset` are what they say,
 *  those that the element has are set, and the others become attributes. Children may be null. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

let lastId = 0;
export const freshId = (prefix) => `${prefix}-${++lastId}`;

/** Said aloud by a screen reader once it has nothing else to say. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** Text in which `backticks` mark what is typed. */
export function prose(text) {
  return text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

/** A labelled control. `make` is given the properties that tie it to its label; a hint is read after the label. */
export function field(label, make, { hint = null, output = null } = {}) {
  const id = freshId("field");
  const hintId = hint ? `${id}-hint` : null;
  const control = make({ id, "aria-describedby": hintId });
  return el(
    "div",
    { class: "field" },
    el("div", { class: "label" }, el("label", { htmlFor: id }, label), output),
    control,
    hint && el("p", { class: "hint", id: hintId }, prose(hint)),
  );
}

/** A range with its value beside the label. `show` puts the value into words. */
export function slider(label, properties, { hint = null, show = (value) => value, onInput = null } = {}) {
  const output = el("output");
  let control;
  const element = field(
    label,
    (ties) => {
      control = el("input", { type: "range", ...properties, ...ties });
      // The value before min, max and step are known would be clamped to 0..100.
      control.value = properties.value;
      const tell = () => {
        output.textContent = show(Number(control.value));
        control.setAttribute("aria-valuetext", output.textContent);
      };
      control.addEventListener("input", () => {
        tell();
        onInput?.(Number(control.value));
      });
      control.tell = tell;
      tell();
      return control;
    },
    { hint, output },
  );
  return { element, control, get value() { return Number(control.value); } };
}

export function checkbox(label, properties = {}) {
  const control = el("input", { type: "checkbox", ...properties });
  return { element: el("label", { class: "check" }, control, label), control };
}

/** A heading of a page with a sentence below. */
export function pageHead(title, text) {
  return el("div", { class: "page-head" }, el("h1", {}, title), el("p", {}, text));
}

/** Asks before what cannot be undone. Resolves to whether it was confirmed. */
export function confirm(title, text, action) {
  const heading = freshId("dialog");
  return new Promise((resolve) => {
    const dialog = el(
      "dialog",
      { "aria-labelledby": heading, onclose: () => { dialog.remove(); resolve(dialog.returnValue === "yes"); } },
      el("h2", { id: heading }, title),
      el("p", {}, text),
      el(
        "div",
        { class: "row end" },
        el("button", { type: "button", onclick: () => dialog.close("no") }, "Cancel"),
        el("button", { type: "button", class: "danger", onclick: () => dialog.close("yes") }, action),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Something to look at in a window of its own, until it is closed. */
export function show(title, content) {
  const heading = freshId("dialog");
  const dialog = el(
    "dialog",
    { "aria-labelledby": heading, onclose: () => dialog.remove() },
    el("h2", { id: heading }, title),
    content,
    el("div", { class: "row end" }, el("button", { type: "button", onclick: () => dialog.close() }, "Close")),
  );
  document.body.append(dialog);
  dialog.showModal();
}

export function saveAs(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
