// Finds secrets in a string by its syntax: in URLs, forms and connection strings.
//
// The rules and the pass from left to right are those of the service;
// `proto/src/masking/text.rs` explains them. Each position is read a limited number of times, so the time is
// linear in the length of the text.

import { isMask, namesASecret } from "./names.js";

const SPACE = /[ \t\n\f\r]/;
const EDGE = /[ \t\n\f\r"'<>]/;
const SEPARATOR = /[?#&;]/;
const WORD_START = /[({[,:/]/;
const NAME = /[A-Za-z0-9 \t\n\f\r_\-.%[\]]/;
const SCHEME = /^[A-Za-z][A-Za-z0-9+\-.\t\n\r]*$/;
const WEB = ["http", "https", "ws", "wss", "ftp"];
const CLOSES = { '"': '"', "'": "'", "{": "}" };

/** The ranges of the secrets in a text, in order and without overlaps. */
export function secretsIn(text) {
  return /[=@]/.test(text) ? new Scanner(text).run() : [];
}

/** The percent-decoded text. Invalid UTF-8 becomes U+FFFD. */
function percentDecoded(text) {
  if (!text.includes("%")) return text;
  const raw = new TextEncoder().encode(text);
  const bytes = [];
  for (let at = 0; at < raw.length; at += 1) {
    const digits = raw[at] === 0x25 ? String.fromCharCode(...raw.slice(at + 1, at + 3)) : "";
    const isEscape = /^[0-9A-Fa-f]{2}$/.test(digits);
    bytes.push(isEscape ? parseInt(digits, 16) : raw[at]);
    if (isEscape) at += 2;
  }
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(new Uint8Array(bytes));
}

class Scanner {
  #text;
  #form = "text";
  #at;
  // The start of the name before the next `=`: as a part of the list, and as a word of the text.
  #part = null;
  #word;
  #inUrl = false;
  #unclosed = new Set();
  #found = [];

  constructor(text) {
    this.#text = text;
    let start = 0;
    while (start < text.length && text[start] <= " ") start += 1;
    this.#at = start;
    this.#word = start;
    let pairs = start;
    while (SEPARATOR.test(text[pairs] ?? "")) pairs += 1;
    const afterScheme = this.#scheme(start);
    if (text.slice(start, start + 5).toLowerCase() === "jdbc:" || this.#beginsAPair(pairs)) {
      this.#form = "list";
      this.#part = start;
    } else if (afterScheme !== null) {
      this.#form = "url";
      this.#authority(afterScheme);
    } else if (text[start] === "/") {
      this.#form = "url";
    }
  }

  run() {
    while (this.#at < this.#text.length) {
      const char = this.#text[this.#at];
      const next = this.#at + 1;
      if (char === ":" && this.#text.startsWith("//", next)) {
        this.#authority(next);
      } else if (char === "=") {
        this.#pair();
      } else {
        if (SEPARATOR.test(char)) {
          this.#part = next;
          this.#word = next;
        } else if (EDGE.test(char)) {
          this.#inUrl = false;
          this.#word = next;
        } else if (WORD_START.test(char)) {
          this.#word = next;
        }
        this.#at = next;
      }
    }
    return this.#found;
  }

  /** The end of `scheme:`, if the text starts with one. */
  #scheme(start) {
    const colon = this.#text.indexOf(":", start);
    if (colon < 0) return null;
    const name = this.#text.slice(start, colon);
    const isWeb = WEB.includes(name.replace(/[\t\n\r]/g, "").toLowerCase());
    const isUrl = SCHEME.test(name) && (isWeb || this.#text.startsWith("://", colon));
    return isUrl ? colon + 1 : null;
  }

  /** Reads the authority of a URL whose scheme and colon end at `start`. */
  #authority(start) {
    const skipped = this.#form === "url" ? /[/\\\t\n\r]/ : /[/\\]/;
    let end = start;
    while (skipped.test(this.#text[end] ?? "")) end += 1;
    const host = end;
    let colon = null;
    let at = null;
    for (; end < this.#text.length && !this.#endsAuthority(end); end += 1) {
      if (this.#text[end] === ":") colon ??= end;
      if (this.#text[end] === "@") at = end;
    }
    this.#inUrl = true;
    this.#at = host;
    if (colon !== null && at !== null && colon < at) {
      this.#keep(colon + 1, at);
      this.#at = at;
      this.#part = null;
    }
    this.#word = this.#at;
  }

  #endsAuthority(at) {
    const char = this.#text[at];
    if (/[/\\?#]/.test(char)) return true;
    if (char === ";") return this.#form === "list" && this.#endsAPair(at);
    return this.#form !== "url" && EDGE.test(char);
  }

  /** Reads the pair whose name ends here. */
  #pair() {
    const [part, word] = [this.#part, this.#word];
    this.#part = null;
    this.#word = null;
    const byPart = this.#form !== "text" && this.#isSecret(part);
    if (!byPart && !this.#isSecret(word)) {
      this.#at += 1;
      return;
    }
    const start = byPart ? this.#pastSpaces(this.#at + 1) : this.#at + 1;
    const closing = this.#closing(start, byPart);
    if (closing !== null) {
      this.#keep(start + 1, closing);
      this.#at = closing;
      return;
    }
    const quoted = this.#text[start] in CLOSES;
    let end = start;
    while (end < this.#text.length && !this.#endsValue(end, byPart, quoted)) end += 1;
    this.#at = end;
    while (end > start && SPACE.test(this.#text[end - 1])) end -= 1;
    this.#keep(start, end);
  }

  #isSecret(start) {
    return start !== null && namesASecret(percentDecoded(this.#text.slice(start, this.#at)));
  }

  #endsValue(at, byPart, quoted) {
    const char = this.#text[at];
    if (!byPart && EDGE.test(char)) return SPACE.test(char) || !(quoted || this.#form === "list");
    if (this.#form === "url" || (this.#form === "text" && this.#inUrl)) return SEPARATOR.test(char);
    return (char === "&" || char === ";") && this.#endsAPair(at);
  }

  /** Whether another pair, or the end of the text, follows this `&` or `;`. */
  #endsAPair(at) {
    return this.#pastSpaces(at + 1) === this.#text.length || this.#beginsAPair(at + 1);
  }

  #beginsAPair(start) {
    let end = start;
    while (NAME.test(this.#text[end] ?? "")) end += 1;
    return end > start && this.#text[end] === "=";
  }

  /** The end of the quoted text that starts here, if a separator follows it. */
  #closing(start, byPart) {
    const close = CLOSES[this.#text[start]];
    const kind = `${close} ${byPart}`;
    if (!close || this.#unclosed.has(kind)) return null;
    for (let end = start + 1; end < this.#text.length; end += 1) {
      if (this.#text[end] === close && this.#isClosed(end + 1, byPart)) return end;
    }
    this.#unclosed.add(kind);
    return null;
  }

  #isClosed(after, byPart) {
    const char = this.#text[byPart ? this.#pastSpaces(after) : after];
    return char === undefined || (byPart ? /[;& \t\n\f\r]/ : /[;& \t\n\f\r,)}\]>]/).test(char);
  }

  #pastSpaces(at) {
    while (SPACE.test(this.#text[at] ?? "")) at += 1;
    return at;
  }

  /** Records a secret, unless the range is empty or a mask. */
  #keep(start, end) {
    const value = this.#text.slice(start, end);
    if (value !== "" && !(value.length <= 51 && isMask(percentDecoded(value)))) this.#found.push([start, end]);
  }
}
