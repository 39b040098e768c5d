// The same call as a line for a shell.

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** A file's name as curl's -F reads it: commas and semicolons would end it. */
function fileOf({ name = "picture.jpg" }) {
  return /[;,"\\]/.test(name) ? `"${name.replaceAll(/["\\]/g, "\\$&")}"` : name;
}

/** A line that does what the request did. `key` stands in its headers as `shown`, so that it need not be on display. */
export function curlLine(request, key = "", shown = key) {
  const words = ["curl"];
  const { method, url, headers, form, json, saveTo } = request;
  if (method !== "GET") words.push("-X", method);
  words.push(quoted(url));
  for (const [name, value] of Object.entries(headers)) {
    words.push("-H", quoted(`${name}: ${key ? value.replaceAll(key, shown) : value}`));
  }
  for (const [name, value] of form ?? []) {
    if (value instanceof Blob) words.push("-F", quoted(`${name}=@${fileOf(value)}`));
    else words.push("--form-string", quoted(`${name}=${value}`));
  }
  if (json !== undefined) {
    const text = JSON.stringify(json);
    words.push("-H", quoted("Content-Type: application/json"), "-d", quoted(text));
  }
  if (saveTo) words.push("-o", quoted(saveTo));
  return words.join(" ");
}

/** Enough of a key to know it by. */
export const masked = (key) => (key.length > 12 ? `${key.slice(0, 8)}…` : "…");
