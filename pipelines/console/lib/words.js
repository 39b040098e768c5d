// Numbers and times as people read them.

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  if (count < 1024 * 1024) return `${(count / 1024).toFixed(0)} kB`;
  return `${(count / 1024 / 1024).toFixed(1)} MB`;
}

export function milliseconds(value) {
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;
}

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** "Ada, Grace and Linus". */
export const listed = (names) => new Intl.ListFormat("en-GB").format(names);

export const similarity = (value) => value.toFixed(3);

/** Whether credits are what FaceCheck says where there is no limit: the largest number of 32 bits. */
export const unlimited = (credits) => credits >= 2 ** 31 - 1;

/** Words for how far a film is, 0 to 1: how long it will take yet from the second time on. */
export function framesTold() {
  let first = null;
  return (done) => {
    first ??= { at: performance.now(), done };
    const left = done > first.done ? `, ${remaining(first.at, first.done, done)}` : "";
    return `Frame by frame: ${Math.round(done * 100)} %${left}`;
  };
}

/** How long work will take yet that has gone from `first` to `done`, fractions of it, since a moment of `performance.now`. */
export function remaining(since, first, done) {
  const seconds = ((performance.now() - since) / 1000) * ((1 - done) / (done - first));
  return seconds < 90 ? `about ${Math.ceil(seconds)} s left` : `about ${Math.round(seconds / 60)} min left`;
}
