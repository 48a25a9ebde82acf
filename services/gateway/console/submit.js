// Submits a command: sends it, retries it, and polls its status until its outcome is known.
//
// Every retry has the idempotency key of the first request, so the command takes effect at most once.

import { ApiError, NoAnswer, commandState, pause, send } from "./api.js";
import { session } from "./session.js";

const POLL_INTERVAL_MS = 2_000;
const MAX_PAUSE_MS = 15_000;
/** A command that expires or is dead-lettered stays undecided forever, so polling has to end. */
const MAX_UNDECIDED_MS = 60_000;

/** A retry must not be sent in the name of another user, or in another Space. */
const ABANDONED = { message: "Somebody else has signed in, or another Space is shown.", extensions: {} };

const UNDECIDED = {
  message: "The service has accepted it, and has not decided it within a minute.",
  extensions: { code: "SAVE_PENDING" },
};

/** The last command that was given up without an outcome: its key and content. */
let undecided = null;

/**
 * The idempotency key for a command. A command with the content of the undecided one gets the same key,
 * so it takes effect once.
 */
export function keyFor(command) {
  return undecided?.content === contentOf(command) ? undecided.key : newKey();
}

function contentOf({ kind, revision, input }) {
  return JSON.stringify([session.space, session.subject, kind, revision, input]);
}

/** A random idempotency key. (`crypto.randomUUID` exists only on https and localhost.) */
function newKey() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, byte => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Sends a command until its outcome is known, and returns the record. `progress` is called with a text
 * for the user. The event `now` of `retryNow` ends a pause.
 *
 * Throws an ApiError if a retry can't succeed, or if the user or the Space has changed. The error has
 * `isUndecided` if the command may still take effect.
 */
export async function submit(command, progress, retryNow) {
  const { space, subject } = session;
  const checkSession = () => {
    if (session.space !== space || session.subject !== subject) throw new ApiError([ABANDONED]);
  };
  undecided = null;
  for (let attempt = 0; ; attempt += 1) {
    if (!session.token) progress("Waiting for a new token.");
    await session.ready();
    checkSession();
    progress(attempt === 0 ? "Sending…" : "Trying again…");
    try {
      return await send(command);
    } catch (error) {
      if (error.code === "SAVE_PENDING") {
        progress(error.message, "pending");
        return await pollStatus(command, error.extensions.commandId, checkSession, progress, retryNow);
      }
      if (error.code === "UNAUTHENTICATED" && !session.token) continue;
      if (!isTransient(error)) throw error;
      // The worker keeps a copy of each expired command for an operator. Only the user may cause another one.
      if (error.code === "EXPIRED") throw error;
      const wait = error.extensions?.retryAfterMs
        ?? Math.min(1_000 * 2 ** attempt, MAX_PAUSE_MS);
      const seconds = Math.ceil(wait / 1_000);
      progress(`${error.message} Repeating is safe; trying again in ${seconds} s.`, "pending");
      await pauseUntilRetry(wait, retryNow);
    }
  }
}

/** Whether the same request may succeed later. */
function isTransient(error) {
  return error instanceof NoAnswer || error.extensions?.retryable === true;
}

/** Polls the status of a command that the broker has, until its outcome is known or unlikely to come. */
async function pollStatus(command, commandId, checkSession, progress, retryNow) {
  let undecidedSince = null;
  for (;;) {
    await pauseUntilRetry(POLL_INTERVAL_MS, retryNow);
    await session.ready();
    checkSession();
    let state;
    try {
      state = await commandState(commandId);
    } catch (error) {
      if (error.code !== "UNAUTHENTICATED" && !isTransient(error)) throw giveUp(command, error);
      undecidedSince = null;
      continue;
    }
    if (state.status === "APPLIED") return state.record;
    if (state.status === "REFUSED") {
      const { code, message, currentRevision } = state;
      throw new ApiError([{ message, extensions: { code, currentRevision } }]);
    }
    undecidedSince ??= Date.now();
    if (Date.now() - undecidedSince >= MAX_UNDECIDED_MS) throw giveUp(command, new ApiError([UNDECIDED]));
    progress("Accepted, and waiting to be decided. Nothing has to be done.", "pending");
  }
}

/** Remembers the command for `keyFor`, and marks the error. */
function giveUp(command, error) {
  undecided = { key: command.key, content: contentOf(command) };
  return Object.assign(error, { isUndecided: true });
}

/** Ends after a pause, or at once when the user wants to retry now. */
async function pauseUntilRetry(milliseconds, retryNow) {
  const ended = new AbortController();
  const requested = new Promise(resolve => {
    retryNow.addEventListener("now", resolve, { once: true, signal: ended.signal });
  });
  await Promise.race([pause(milliseconds), requested]);
  ended.abort();
}
