// The same call as a line for a shell.

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** A line that does what the request did. `key` stands in its headers as `shown`, so that it need not be on display. */
export function curlLine(request, key = "", shown = key) {
  const words = ["curl"];
  const { method, url, headers, form, json, body, bodyName, saveTo } = request;
  if (method !== "GET") words.push("-X", method);
  words.push(quoted(url));
  for (const [name, value] of Object.entries(headers)) {
    words.push("-H", quoted(`${name}: ${key ? value.replaceAll(key, shown) : value}`));
  }
  for (const [name, value] of form ?? []) {
    words.push("-F", quoted(value instanceof Blob ? `${name}=@${value.name ?? "picture.jpg"}` : `${name}=${value}`));
  }
  if (json !== undefined) {
    const text = JSON.stringify(json);
    words.push("-H", quoted("Content-Type: application/json"), "-d", quoted(text));
  }
  if (body) words.push("--data-binary", quoted(`@${bodyName ?? body.name ?? "picture.jpg"}`));
  if (saveTo) words.push("-o", quoted(saveTo));
  return words.join(" ");
}

/** Enough of a key to know it by. */
export const masked = (key) => (key.length > 12 ? `${key.slice(0, 8)}…` : "…");
