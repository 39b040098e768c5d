// Who uses the console: the key, and what it is for. Kept by each tab for itself and never on disk; a tab that is opened
// beside others asks them.

const KEY = "prosopon.key";
const SCOPES = "prosopon.scopes";

/** How long a new tab waits for another's answer. */
const ANSWER_MILLISECONDS = 250;

class Session extends EventTarget {
  #others = new BroadcastChannel("prosopon.session");

  constructor() {
    super();
    this.#others.addEventListener("message", ({ data }) => {
      if (data.asked && this.key) this.#others.postMessage({ key: this.key, scopes: this.scopes });
      else if (data.left) this.#forget();
    });
  }

  /** Signs in as another tab of this console is. */
  async join() {
    if (this.key) return;
    await new Promise((resolve) => {
      const take = ({ data }) => {
        if (!data.key) return;
        if (!this.key) this.#keep(data.key, data.scopes);
        done();
      };
      const done = () => {
        this.#others.removeEventListener("message", take);
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(done, ANSWER_MILLISECONDS);
      this.#others.addEventListener("message", take);
      this.#others.postMessage({ asked: true });
    });
  }

  /** Points that swaps of this page were charged and that were not given back. */
  points = 0;

  get key() {
    return sessionStorage.getItem(KEY) ?? "";
  }

  /** What the key is for: scopes, as `prosopon keys` names them. */
  get scopes() {
    return JSON.parse(sessionStorage.getItem(SCOPES) ?? "[]");
  }

  enter(key, scopes) {
    this.points = 0;
    this.#keep(key, scopes);
    this.dispatchEvent(new Event("change"));
  }

  /** In every tab. */
  leave() {
    this.#others.postMessage({ left: true });
    this.#forget();
  }

  #keep(key, scopes) {
    sessionStorage.setItem(KEY, key);
    sessionStorage.setItem(SCOPES, JSON.stringify(scopes));
  }

  #forget() {
    this.points = 0;
    sessionStorage.removeItem(KEY);
    sessionStorage.removeItem(SCOPES);
    this.dispatchEvent(new Event("change"));
  }
}

export const session = new Session();

/** What the server serves, from its public description; filled before the first page is shown. */
export const server = {
  apis: [],
  models: [],
  limits: { max_bytes: Infinity, max_pixels: Infinity, film_bytes: Infinity },
  det_prob_threshold: 0.5,
  version: "",
  serves: (api) => server.apis.some(({ name }) => name === api),
  has: (role) => server.models.some((model) => model.role === role && model.loaded),
};
