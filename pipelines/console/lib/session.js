// Who uses the console: the key, in this tab alone, and what it opens.

const KEY = "prosopon.key";
const OPENS = "prosopon.opens";

class Session extends EventTarget {
  /** Points that swaps of this page were charged and that were not given back. */
  points = 0;

  get key() {
    return sessionStorage.getItem(KEY) ?? "";
  }

  /** Names of the services that accepted the key. */
  get opens() {
    return JSON.parse(sessionStorage.getItem(OPENS) ?? "[]");
  }

  enter(key, opens) {
    this.points = 0;
    sessionStorage.setItem(KEY, key);
    sessionStorage.setItem(OPENS, JSON.stringify(opens));
    this.dispatchEvent(new Event("change"));
  }

  leave() {
    this.points = 0;
    sessionStorage.removeItem(KEY);
    sessionStorage.removeItem(OPENS);
    this.dispatchEvent(new Event("change"));
  }
}

export const session = new Session();

/** What the server serves, from its public description; filled before the first page is shown. */
export const server = {
  apis: [],
  models: [],
  limits: { max_bytes: Infinity, max_pixels: Infinity },
  det_prob_threshold: 0.5,
  version: "",
  serves: (api) => server.apis.some(({ name }) => name === api),
  has: (role) => server.models.some((model) => model.role === role && model.loaded),
};
