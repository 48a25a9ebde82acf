// The session: the token, and the selected Space.
//
// The token is in the tab's session storage: a reload keeps it, and closing the tab removes it. Its claims
// are read without a check of the signature, only to list the Spaces. The gateway verifies the token.

import { settings } from "./settings.js";

const TOKEN = "connector-details:token";
const SPACE = "connector-details:space";

/** Events: `changed` for another user or Space, `renewed` for a new token, `expired` if a token is needed. */
export const session = Object.assign(new EventTarget(), {
  token: null,
  subject: null,
  spaces: [],
  space: null,

  /** Removes the token of a link (`#token=`) from the address and returns it, or null. */
  takeLinked() {
    const linked = new URLSearchParams(location.hash.slice(1)).get("token");
    if (linked) {
      // A token must not stay in the address or in the browser's history.
      history.replaceState(null, "", location.pathname);
    }
    return linked;
  },

  /** Uses the token in the session storage. */
  resume() {
    return this.accept(sessionStorage.getItem(TOKEN) ?? "");
  },

  /**
   * The identity of a token, if it differs from the session in its user or lacks the session's Space;
   * otherwise null. Links can come from an attacker: without a confirmation, the user could enter a
   * secret in a Space of the attacker.
   */
  other(token) {
    const mine = this.subject === null ? identityOf(sessionStorage.getItem(TOKEN) ?? "") : this;
    const theirs = identityOf(token);
    if (!mine || !theirs) return null;
    const space = this.space ?? sessionStorage.getItem(SPACE) ?? mine.spaces[0];
    return mine.subject === theirs.subject && theirs.spaces.includes(space) ? null : theirs;
  },

  /** Uses a token. Returns whether it names a Space. */
  accept(token) {
    const identity = identityOf(token);
    if (!identity) return false;
    const { subject, spaces } = identity;
    const before = [this.space, this.subject];
    const wanted = this.space ?? sessionStorage.getItem(SPACE);
    this.token = token.trim();
    this.subject = subject;
    this.spaces = spaces;
    this.space = spaces.includes(wanted) ? wanted : spaces[0];
    sessionStorage.setItem(TOKEN, this.token);
    sessionStorage.setItem(SPACE, this.space);
    this.dispatchEvent(new Event("renewed"));
    const isOther = before[0] !== this.space || before[1] !== this.subject;
    if (isOther) this.dispatchEvent(new Event("changed"));
    return true;
  },

  choose(space) {
    this.space = space;
    sessionStorage.setItem(SPACE, space);
    this.dispatchEvent(new Event("changed"));
  },

  /** The gateway has rejected the token. */
  expire() {
    if (!this.token) return;
    this.token = null;
    sessionStorage.removeItem(TOKEN);
    this.dispatchEvent(new Event("expired"));
  },

  signOut() {
    sessionStorage.removeItem(TOKEN);
    sessionStorage.removeItem(SPACE);
    location.assign(location.pathname);
  },

  /** Resolves when there is a token. */
  ready() {
    if (this.token) return Promise.resolve();
    return new Promise(resolve => this.addEventListener("renewed", resolve, { once: true }));
  },

  headers() {
    return {
      Authorization: `Bearer ${this.token}`,
      SPACE_GUID: bytes(this.space),
      "Content-Type": "application/json",
    };
  },
});

/** The subject and the Spaces of a token; null if it names no Space. */
function identityOf(token) {
  const claims = claimsOf(token.trim());
  const spaces = spacesOf(claims);
  return spaces.length === 0 ? null : { subject: String(claims.sub), spaces };
}

/** The Spaces in the claim, which may be a list or a single string. */
function spacesOf(claims) {
  return [claims?.[settings.spacesClaim] ?? []].flat().filter(space => typeof space === "string");
}

function claimsOf(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const text = Uint8Array.from(atob(payload), letter => letter.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(text));
  } catch {
    return null;
  }
}

/** The UTF-8 bytes of a text as characters, because `fetch` accepts header values in Latin-1 only. */
function bytes(text) {
  return String.fromCharCode(...new TextEncoder().encode(text));
}
