// Where everything is.

import { el, pageHead } from "../lib/dom.js";
import { server, session } from "../lib/session.js";

const WAYS = [
  ["recognise", "Recognise", "Who is in a picture, with age, gender, mask, pose and more.", "compreface"],
  ["unknown", "Unknown", "The faces of many photographs that nobody has named, each person once.", "compreface"],
  ["people", "People", "Who is known, and by which pictures.", "compreface"],
  ["verify", "Verify", "Whether two pictures show one person.", "compreface"],
  ["search", "Search", "A face among all that were indexed.", "facecheck"],
  ["faces", "Faces", "Any text becomes a face; two faces become a film.", "checkface"],
  ["swap", "Swap", "A face put into a picture.", "aifaceswap"],
];

const NUMBERS = ["no API", "one API", "two APIs", "three APIs", "four APIs", "five APIs"];

export function welcome() {
  const element = el("section");
  const onshow = () => {
    const cards = WAYS.filter(([, , , api]) => server.serves(api)).map(([path, title, text]) =>
      el("a", { class: "card way", href: `#/${path}` }, el("h2", {}, title), el("span", {}, text)),
    );
    element.replaceChildren(
      pageHead(`Faces, by ${NUMBERS[server.apis.length]} and one set of models`, "Everything here calls the public routes and shows the line of curl that does the same."),
      ...(session.key ? [] : [el("p", { class: "notice" }, "Most pages need an API key. ", el("a", { href: "#/sign-in" }, "Sign in with one"), ".")]),
      el("div", { class: "ways" }, cards),
    );
  };
  return { element, onshow };
}
