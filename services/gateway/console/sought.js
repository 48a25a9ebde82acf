// Finds the typed client secret in a text: literally, with other line ends, or percent-encoded.
//
// The search is that of the service (`proto/src/masking/`), linear in the length of the text for every secret
// (Knuth, Morris and Pratt).

import { isMask } from "./names.js";
import { settings } from "./settings.js";

const { mask, shortestSearched } = settings;
const bytesOf = text => new TextEncoder().encode(text);

/** Returns a function that finds the ranges of a secret in a text; null if the secret is not searched for. */
export function soughtIn(secret, clientId) {
  const text = trimmed(secret);
  if (isMask(text) || text === trimmed(clientId)) return null;
  const parts = text.split(mask).map(trimmed).map(part => [bytesOf(part).length, part]);
  const [length, longest] = parts.reduce((a, b) => (b[0] >= a[0] ? b : a));
  if (length < shortestSearched) return null;
  const tokens = tokensOf(longest, false);
  const literal = needle(tokens.map(({ byte }) => byte));
  const encoded = needle(tokens.map(folded));
  return found => {
    const walls = [];
    for (let at = found.indexOf(mask); at >= 0; at = found.indexOf(mask, at + mask.length)) {
      walls.push([at, at + mask.length]);
    }
    const places = between(walls, found, part => literal(tokensOf(part, false), token => token.byte));
    if (!/[%+]/.test(found)) return places;
    const order = ([a], [b]) => a - b;
    const more = between([...walls, ...places].sort(order), found, part => encoded(tokensOf(part, true), folded));
    return [...places, ...more].sort(order);
  };
}

/** Trims the white space that the service trims. A regular expression would need quadratic time. */
function trimmed(text) {
  const isSpace = at => /\p{White_Space}/u.test(text[at]);
  let [start, end] = [0, text.length];
  while (start < end && isSpace(start)) start += 1;
  while (end > start && isSpace(end - 1)) end -= 1;
  return text.slice(start, end);
}

/** The ranges in the gaps between walls. */
function between(walls, text, find) {
  const places = [];
  let start = 0;
  for (const [wall, after] of [...walls, [text.length, text.length]]) {
    for (const [from, to] of find(text.slice(start, wall))) places.push([start + from, start + to]);
    start = after;
  }
  return places;
}

/** In an encoded form, `+` stands for a space. */
const folded = ({ byte }) => (byte === 0x2b ? 0x20 : byte);

/** The bytes of a text and their positions: `\r\n` as `\n`, and percent-decoded if `encoded`. */
function tokensOf(text, encoded) {
  const tokens = [];
  for (let at = 0; at < text.length;) {
    const start = at;
    const digits = encoded && text[at] === "%" ? text.slice(at + 1, at + 3) : "";
    let bytes;
    if (/^[0-9A-Fa-f]{2}$/.test(digits)) {
      bytes = [parseInt(digits, 16)];
      at += 3;
    } else {
      const char = String.fromCodePoint(text.codePointAt(at));
      bytes = bytesOf(char);
      at += char.length;
    }
    const last = tokens.at(-1);
    if (bytes[0] === 0x0a && last?.byte === 0x0d) tokens[tokens.length - 1] = { byte: 0x0a, start: last.start, end: at };
    else for (const byte of bytes) tokens.push({ byte, start, end: at });
  }
  return tokens;
}

/** Returns a function that finds the ranges of these bytes among tokens; overlapping ranges are merged. */
function needle(bytes) {
  const borders = [];
  const longer = (length, byte) => {
    while (length > 0 && bytes[length] !== byte) length = borders[length - 1];
    return bytes[length] === byte ? length + 1 : length;
  };
  bytes.forEach((byte, at) => borders.push(at === 0 ? 0 : longer(borders[at - 1], byte)));
  return (tokens, read) => {
    const places = [];
    let length = 0;
    tokens.forEach((token, at) => {
      length = longer(length, read(token));
      if (length < bytes.length) return;
      const { start } = tokens[at + 1 - bytes.length];
      const last = places.at(-1);
      if (last && start < last[1]) last[1] = token.end;
      else places.push([start, token.end]);
    });
    return places;
  };
}
