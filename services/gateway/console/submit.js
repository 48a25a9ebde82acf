// Submits a command: sends it, retries it, and polls its status until its outcome is known.
//
// Every retry has the idempotency key of the first request, so the command takes effect at most once.

import { ApiError, NoAnswer, commandState, pause, send } from "./api.js";
import { session } from "./session.js";

const POLL_INTERVAL_MS = 2_000;
const MAX_PAUSE_MS = 15_000;

/** The codes of commands that the worker has parked. */
const PARKED = ["INTERNAL_SERVER_ERROR", "EXPIRED"];

/** A retry must not be sent in the name of another user, or in another Space. */
const ABANDONED = { message: "Somebody else has signed in, or another Space is shown.", extensions: {} };

/** A random idempotency key. (`crypto.randomUUID` exists only on https and localhost.) */
export function newKey() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, byte => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Sends a command until its outcome is known, and returns the record. `progress` is called with a text
 * for the user. The event `now` of `retryNow` ends a pause.
 *
 * Throws an ApiError if a retry can't succeed, or if the user or the Space has changed.
 */
export async function submit(command, progress, retryNow) {
  const { space, subject } = session;
  for (let attempt = 0; ; attempt += 1) {
    if (!session.token) progress("Waiting for a new token.");
    await session.ready();
    if (session.space !== space || session.subject !== subject) throw new ApiError([ABANDONED]);
    progress(attempt === 0 ? "Sending…" : "Trying again…");
    try {
      return await send(command);
    } catch (error) {
      if (error.code === "SAVE_PENDING") {
        progress(error.message, "pending");
        return await pollStatus(error.extensions.commandId, progress, retryNow);
      }
      if (error.code === "UNAUTHENTICATED" && !session.token) continue;
      if (!(error instanceof NoAnswer) && !error.extensions?.retryable) throw error;
      // The worker keeps a copy of each such command for an operator. Only the user may cause another one.
      if (PARKED.includes(error.code) && error.extensions.commandId) throw error;
      const wait = error.extensions?.retryAfterMs
        ?? Math.min(1_000 * 2 ** attempt, MAX_PAUSE_MS);
      const seconds = Math.ceil(wait / 1_000);
      progress(`${error.message} Repeating is safe; trying again in ${seconds} s.`, "pending");
      await pauseUntilRetry(wait, retryNow);
    }
  }
}

/** Polls the status of a command that the broker has, until its outcome is known. */
async function pollStatus(commandId, progress, retryNow) {
  for (;;) {
    await pauseUntilRetry(POLL_INTERVAL_MS, retryNow);
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
      throw new ApiError([{ message, extensions: { code, currentRevision } }]);
    }
    progress("Accepted, and waiting to be decided. Nothing has to be done.", "pending");
  }
}

/** Ends after a pause, or at once when the user wants to retry now. */
function pauseUntilRetry(milliseconds, retryNow) {
  const requested = new Promise(resolve => retryNow.addEventListener("now", resolve, { once: true }));
  return Promise.race([pause(milliseconds), requested]);
}
