// A command's way to its end: sent, repeated where that is safe, followed where it waits.
//
// Every repeat has the key of the first, so that it takes effect once however often it arrives.

import { NoAnswer, Refusal, commandState, pause, send } from "./api.js";
import { session } from "./session.js";

const FOLLOW_MS = 2_000;
const LONGEST_PAUSE_MS = 15_000;

/** What one person began is not ended in another's name, or in another Space. */
const ABANDONED = { message: "Somebody else has signed in, or another Space is shown.", extensions: {} };

/** A key that no other command has. (`crypto.randomUUID` exists on https and localhost alone.) */
export function newKey() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, byte => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Sends a command until it is decided, and gives the record. `progress` hears what is the case
 * meanwhile; `hurry` is an EventTarget whose event ends a pause.
 *
 * Throws the Refusal that will not change by repeating, or that somebody else is here now.
 */
export async function decide(command, progress, hurry) {
  const { space, subject } = session;
  for (let attempt = 0; ; attempt += 1) {
    if (!session.token) progress("Waiting for a new token.");
    await session.ready();
    if (session.space !== space || session.subject !== subject) throw new Refusal([ABANDONED]);
    progress(attempt === 0 ? "Sending…" : "Trying again…");
    try {
      return await send(command);
    } catch (error) {
      if (error.code === "SAVE_PENDING") {
        progress(error.message, "pending");
        return await follow(error.extensions.commandId, progress, hurry);
      }
      if (error.code === "UNAUTHENTICATED" && !session.token) continue;
      if (!(error instanceof NoAnswer) && !error.extensions?.retryable) throw error;
      const wait = error.extensions?.retryAfterMs
        ?? Math.min(1_000 * 2 ** attempt, LONGEST_PAUSE_MS);
      const seconds = Math.ceil(wait / 1_000);
      progress(`${error.message} Repeating is safe; trying again in ${seconds} s.`, "pending");
      await either(wait, hurry);
    }
  }
}

/** The broker has it: asks until it is decided. */
async function follow(commandId, progress, hurry) {
  for (;;) {
    await either(FOLLOW_MS, hurry);
    await session.ready();
    let state;
    try {
      state = await commandState(commandId);
    } catch {
      continue;
    }
    if (state.status === "APPLIED") return state.record;
    if (state.status === "REFUSED") {
      const { code, message, currentRevision } = state;
      throw new Refusal([{ message, extensions: { code, currentRevision } }]);
    }
    progress("Accepted, and waiting to be decided. Nothing has to be done.", "pending");
  }
}

function either(milliseconds, hurry) {
  const hurried = new Promise(resolve => hurry.addEventListener("now", resolve, { once: true }));
  return Promise.race([pause(milliseconds), hurried]);
}
