// Who is here: the token, and which of its Spaces is looked at.
//
// The token lives in this tab's session storage, so that a refresh keeps it and closing the tab
// forgets it. What stands in it is read to know the Spaces; whether it is true, the gateway says.

import { settings } from "./settings.js";

const TOKEN = "connector-details:token";
const SPACE = "connector-details:space";

/** Tells `changed` when somebody else or another Space is in use, `expired` when a token is needed. */
export const session = Object.assign(new EventTarget(), {
  token: null,
  subject: null,
  spaces: [],
  space: null,

  /** The token of a link (`#token=`), or null. */
  takeLinked() {
    const linked = new URLSearchParams(location.hash.slice(1)).get("token");
    if (linked) {
      // A token must not stay in the address, or in the history of the browser.
      history.replaceState(null, "", location.pathname);
    }
    return linked;
  },

  /** Takes the token that this tab had. */
  resume() {
    return this.accept(sessionStorage.getItem(TOKEN) ?? "");
  },

  /**
   * Whom a token is for, where it would put somebody else, or another Space, in the place of the
   * session that this tab has; else null. A link is somebody else's word: without being asked,
   * whoever follows it could type a secret into a Space of the link's author.
   */
  other(token) {
    const mine = this.subject === null ? identityOf(sessionStorage.getItem(TOKEN) ?? "") : this;
    const theirs = identityOf(token);
    if (!mine || !theirs) return null;
    const space = this.space ?? sessionStorage.getItem(SPACE) ?? mine.spaces[0];
    return mine.subject === theirs.subject && theirs.spaces.includes(space) ? null : theirs;
  },

  /** Whether a text is a token that names a Space, and is in use now. */
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

  /** The gateway does not take the token (any more). */
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

/** Whom a token is for, and its Spaces; null where it names none. */
function identityOf(token) {
  const claims = claimsOf(token.trim());
  const spaces = spacesOf(claims);
  return spaces.length === 0 ? null : { subject: String(claims.sub), spaces };
}

/** The claim may be a list, or a string where there is but one Space. */
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

/** A header holds bytes; `fetch` takes them as letters. */
function bytes(text) {
  return String.fromCharCode(...new TextEncoder().encode(text));
}
