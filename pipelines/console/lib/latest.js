// Work of which only the newest matters.

/** Each run gives up the one before. Resolves to undefined where that happened. */
export class Latest {
  #controller = null;

  async run(task) {
    this.#controller?.abort();
    const controller = new AbortController();
    this.#controller = controller;
    try {
      const result = await task(controller.signal);
      return controller.signal.aborted ? undefined : result;
    } catch (error) {
      if (error.name === "AbortError") return undefined;
      throw error;
    }
  }
}

/** One run at a time; what is asked for meanwhile is done next, of several the last. For what is worth finishing. */
export class OneAtATime {
  #running = false;
  #next = null;

  async run(task) {
    this.#next = task;
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#next) {
        const current = this.#next;
        this.#next = null;
        await current();
      }
    } finally {
      this.#running = false;
    }
  }
}
