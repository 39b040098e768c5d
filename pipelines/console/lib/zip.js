// Zip files, written of files as they are: pictures do not become smaller. PKWARE's APPNOTE.TXT, sections 4.3.7, 4.3.12 and 4.3.16.

const UTF8_NAMES = 1 << 11;
const MIDNIGHT_1980 = [0, 0x21];

const CRC = new Uint32Array(256).map((_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC[(value ^ byte) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

/** Numbers as they stand in a zip file: `[bytes, value]`, the lowest byte first. */
function record(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 4) view.setUint32(at, value, true);
    else view.setUint16(at, value, true);
    at += size;
  }
  return view.buffer;
}

/** The files of a zip, as `Map` of name to Blob. Those that are compressed are inflated. Throws `RangeError` for what is no zip. */
export async function unzip(archive) {
  const bytes = new DataView(await archive.arrayBuffer());
  const end = endOf(bytes);
  const files = new Map();
  let at = bytes.getUint32(end + 16, true);
  for (let entry = bytes.getUint16(end + 10, true); entry > 0; entry -= 1) {
    if (bytes.getUint32(at, true) !== 0x02014b50) throw new RangeError("the zip's directory is damaged");
    const method = bytes.getUint16(at + 10, true);
    const size = bytes.getUint32(at + 20, true);
    const [name, extra, comment] = [28, 30, 32].map((place) => bytes.getUint16(at + place, true));
    const local = bytes.getUint32(at + 42, true);
    const start = local + 30 + bytes.getUint16(local + 26, true) + bytes.getUint16(local + 28, true);
    const path = new TextDecoder().decode(new Uint8Array(bytes.buffer, at + 46, name));
    const packed = archive.slice(start, start + size);
    if (method !== 0 && method !== 8) throw new RangeError(`${path} is compressed in a way that browsers do not know`);
    if (!path.endsWith("/")) files.set(path, method ? await new Response(packed.stream().pipeThrough(new DecompressionStream("deflate-raw"))).blob() : packed);
    at += 46 + name + extra + comment;
  }
  return files;
}

/** Where the record at a zip's end begins: after it is a comment of 65,535 bytes at most. */
function endOf(bytes) {
  for (let at = bytes.byteLength - 22; at >= Math.max(0, bytes.byteLength - 22 - 0xffff); at -= 1) {
    if (bytes.getUint32(at, true) === 0x06054b50) return at;
  }
  throw new RangeError("the file is no zip");
}

/** files: `[name, Blob]`, at most 65,535 of them and 4 GB. */
export async function zip(files) {
  const parts = [];
  const directory = [];
  let at = 0;
  let directorySize = 0;
  for (const [name, blob] of files) {
    const bytes = new Uint8Array(await blob.arrayBuffer());
    const path = new TextEncoder().encode(name);
    const common = [[2, 20], [2, UTF8_NAMES], [2, 0], [2, MIDNIGHT_1980[0]], [2, MIDNIGHT_1980[1]], [4, crc32(bytes)], [4, bytes.length], [4, bytes.length], [2, path.length], [2, 0]];
    parts.push(record([4, 0x04034b50], ...common), path, blob);
    const entry = record([4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]);
    directory.push(entry, path);
    at += 30 + path.length + bytes.length;
    directorySize += entry.byteLength + path.length;
  }
  const end = record([4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, directorySize], [4, at], [2, 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
