// Drafts: unsaved input in the browser's local storage, per user and Space. Secrets are masked before (see
// masking.js).

import { session } from "./session.js";

const PREFIX = "connector-details:draft:";

/** The storage key of the draft of a connector; `null` stands for the new connector. */
function storageKey(ids) {
  return PREFIX + JSON.stringify([session.space, session.subject, ids]);
}

export const drafts = {
  find(ids) {
    try {
      return JSON.parse(localStorage.getItem(storageKey(ids)));
    } catch {
      return null;
    }
  },

  /** Stores a draft. Returns whether the browser allowed it. */
  store(ids, draft) {
    try {
      localStorage.setItem(storageKey(ids), JSON.stringify(draft));
      return true;
    } catch {
      return false;
    }
  },

  remove(ids) {
    localStorage.removeItem(storageKey(ids));
  },

  has(ids) {
    return localStorage.getItem(storageKey(ids)) !== null;
  },
};
