// What is typed and not saved, kept in this browser, for this person and Space alone, and never
// with a secret in it (see masking.js).

import { session } from "./session.js";

const PREFIX = "connector-details:draft:";

/** Of the connector with these ids; null: of the one that has none yet. */
function name(ids) {
  return PREFIX + JSON.stringify([session.space, session.subject, ids]);
}

export const drafts = {
  find(ids) {
    try {
      return JSON.parse(localStorage.getItem(name(ids)));
    } catch {
      return null;
    }
  },

  /** Whether the browser took it. */
  keep(ids, draft) {
    try {
      localStorage.setItem(name(ids), JSON.stringify(draft));
      return true;
    } catch {
      return false;
    }
  },

  forget(ids) {
    localStorage.removeItem(name(ids));
  },

  has(ids) {
    return localStorage.getItem(name(ids)) !== null;
  },
};
