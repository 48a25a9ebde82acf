// The editor of the open connector. It merges the user's input with changes that were saved elsewhere.
//
// `base` has the server's values of the last merge. A field that the user has not changed since follows the
// server; a changed field keeps the user's input. So a save made elsewhere can arrive at any time.

import { NoAnswer, find, pause } from "./api.js";
import { FIELDS, empty, fieldOf, merge, otherKeys, same, valuesOf, write } from "./details.js";
import { $, element, setStatus } from "./dom.js";
import { drafts } from "./drafts.js";
import {
  build, checkTables, clearConflicts, clearErrors, fieldElement, fill, fillIds, ids as typedIds,
  showConflict, showError, values,
} from "./form.js";
import { historyView } from "./history.js";
import { idsOf, keyOf, route } from "./ids.js";
import { list } from "./list.js";
import { masked } from "./masking.js";
import { session } from "./session.js";
import { settings } from "./settings.js";
import { keyFor, submit } from "./submit.js";

const RETRY_MS = 2_000;
const form = $("editor");
const secret = $("clientSecret");
const retryNow = new EventTarget();

/** The connector's ids; null for a new one. */
let ids = null;
/** The latest known record of the server. */
let record = null;
let base = empty();
/** The command in progress. */
let sending = null;
/** The number of opened connectors. Results for an earlier one must not change the current one. */
let opened = 0;
/** The outcome of the last save, until the user types something. */
let outcome = null;

export const editor = {
  start() {
    build(onInput);
    form.addEventListener("input", event => {
      const field = event.target.closest("[data-field]");
      if (!("params" in field.dataset)) showError(field, null);
      onInput();
    });
    form.addEventListener("submit", event => {
      event.preventDefault();
      save();
    });
    document.addEventListener("keydown", event => {
      if ((event.ctrlKey || event.metaKey) && event.key === "s" && !form.hidden) {
        event.preventDefault();
        save();
      }
    });
    $("try-now").addEventListener("click", () => retryNow.dispatchEvent(new Event("now")));
    $("discard").addEventListener("click", discard);
    $("delete").addEventListener("click", remove);
  },

  /** Opens a connector, or a new one, with its draft. */
  async open(wanted) {
    const opening = begin(wanted);
    const draft = drafts.find(ids);
    if (draft) {
      ({ base, record } = draft);
      fill(draft.values);
      fillIds(draft.ids);
    }
    form.hidden = ids !== null && !draft;
    setStatus($("nothing"), form.hidden ? "Reading…" : "");
    render();
    if (ids) await read(opening);
    if (opening !== opened) return;
    $("title").focus();
    if (draft?.sending) await run(draft.sending);
  },

  close() {
    begin(null);
    form.hidden = true;
    setStatus($("nothing"), "Choose a connector, or make a new one.");
  },

  /** Applies a change that was made elsewhere. */
  changed({ kind, record: their }) {
    if (form.hidden || !ids || keyOf(their) !== keyOf(ids)) return;
    if (kind === "DELETED") {
      if (record?.id === their.id && !sending) deleted();
      return;
    }
    if (record && !isNewer(their, record)) return;
    const conflicts = follow(their);
    if (!sending) announce(their, conflicts);
  },

  /** Reads the record again, because changes may have been missed. */
  async refresh() {
    if (ids && !form.hidden && !sending) await read(opened);
  },
};

function isNewer(their, known) {
  return their.id === known.id ? their.revision > known.revision : their.updatedAt > known.updatedAt;
}

function begin(wanted) {
  opened += 1;
  ids = wanted;
  record = null;
  base = empty();
  sending = null;
  outcome = null;
  notice();
  clearErrors();
  clearConflicts();
  secret.value = "";
  fill(base);
  fillIds(ids);
  historyView.show(null);
  return opened;
}

/** Reads the record from the server, with retries. */
async function read(opening) {
  for (;;) {
    await session.ready();
    try {
      const found = await find(ids);
      if (opening === opened) arrived(found);
      return;
    } catch (error) {
      if (opening !== opened) return;
      const willChange = error instanceof NoAnswer || error.extensions.retryable || !session.token;
      setStatus($("nothing"), `${error.message} ${willChange ? "Trying again." : ""}`);
      if (!willChange) return;
    }
    await pause(RETRY_MS);
    if (opening !== opened) return;
  }
}

function arrived(found) {
  if (found && (!record || isNewer(found, record))) {
    const known = record;
    const conflicts = follow(found);
    if (known) announce(found, conflicts);
  } else if (found) {
    historyView.show(found.id);
  } else if (record) {
    deleted();
  } else if (!dirty()) {
    setStatus($("nothing"), "There is no such connector (any more).");
    return;
  }
  form.hidden = false;
  setStatus($("nothing"), "");
  render();
}

/** Merges the server's record with the input. Returns the fields that both have changed. */
function follow(their) {
  const theirs = valuesOf(their);
  const { merged, conflicts } = merge(base, values(), theirs, secret.value);
  base = theirs;
  record = their;
  fill(merged);
  clearConflicts();
  for (const field of conflicts) showConflict(field, theirs[field], onInput);
  storeDraft();
  render();
  historyView.show(record.id);
  return conflicts;
}

function announce({ updatedBy, revision }, conflicts) {
  const advice = conflicts.length > 0
    ? " What you typed is kept; beside it stands what was saved." : "";
  notice(`${updatedBy ?? "Somebody"} saved revision ${revision}.${advice}`);
}

function deleted() {
  record = null;
  base = empty();
  notice("This connector was deleted. Saving what is shown begins a new record.");
  render();
}

function onInput() {
  outcome = null;
  storeDraft();
  render();
}

/** Whether the form differs from the server's record. */
function dirty() {
  const now = values();
  const isNamed = !ids && Object.values(typedIds()).some(id => id !== "");
  return isNamed || secret.value !== "" || FIELDS.some(field => !same(now[field], base[field]));
}

/** Stores the input as a draft, without its secrets, until it is saved. */
function storeDraft() {
  const had = drafts.has(ids);
  if (dirty() || sending) {
    const draft = { ids: typedIds(), base, record, values: masked(values(), secret.value) };
    const stored = drafts.store(ids, { ...draft, sending: sending?.masked });
    if (!stored) notice("This browser does not keep what you type: save before you leave.");
  } else {
    drafts.remove(ids);
  }
  if (had !== drafts.has(ids)) list.refresh();
}

function render() {
  const isDirty = dirty();
  for (const name of Object.keys(typedIds())) $(name).readOnly = ids !== null;
  $("title").textContent = ids?.integrationPackInstanceId ?? "New connector";
  $("revision").textContent = record ? `Revision ${record.revision}` : "Nothing is stored yet.";
  secret.placeholder = record ? settings.mask : "";
  $("clientSecret-hint").textContent = record
    ? "Never kept, and never shown. Leave it empty, or type another one."
    : "Never kept: a mask is stored in its place.";
  const others = record ? otherKeys(record.oauthConnectorDetails) : [];
  $("others").hidden = others.length === 0;
  $("others").textContent = `Kept as they are: ${others.join(", ")}`;
  $("save").disabled = sending !== null;
  $("delete").hidden = !record || sending !== null;
  $("discard").hidden = !isDirty || sending !== null;
  if (!sending) progress(outcome ?? (isDirty ? "Not saved yet; kept in this browser." : ""));
}

function progress(text, kind) {
  setStatus($("state"), text);
  $("try-now").hidden = kind !== "pending";
}

async function save() {
  if (sending) return;
  const invalid = checkTables();
  if (invalid) return invalid.focus();
  const submitted = values();
  const text = record?.oauthConnectorDetails ?? "{}";
  const content = details => ({
    kind: "save",
    revision: record?.revision ?? 0,
    input: {
      ...typedIds(),
      clientId: submitted.clientId,
      clientSecret: secret.value === "" && record ? settings.mask : secret.value,
      isTokenGenerated: submitted.isTokenGenerated,
      oauthConnectorDetails: write(text, base, details),
    },
  });
  const key = keyFor(content(submitted));
  const command = details => ({ ...content(details), key });
  const plain = masked(submitted, secret.value);
  // The service masks the secrets itself, so the masked command counts as the same one. It can be stored
  // and sent again after a reload.
  const maskedSave = { command: command(plain), submitted: plain };
  if (secret.value !== "") maskedSave.command.input.clientSecret = settings.mask;
  await run({ command: command(submitted), submitted }, maskedSave);
}

/** Submits a save and shows its outcome. */
async function run({ command, submitted }, maskedSave = { command, submitted }) {
  const opening = opened;
  const draftOf = ids;
  const sent = secret.value;
  clearErrors();
  sending = { masked: maskedSave };
  storeDraft();
  render();
  try {
    const saved = await submit(command, (...status) => opening === opened && progress(...status), retryNow);
    if (opening !== opened) return updateDraft(draftOf, maskedSave.submitted);
    sending = null;
    if (secret.value === sent) secret.value = "";
    showSaved(saved, submitted);
  } catch (error) {
    if (opening !== opened) return updateDraft(draftOf, null);
    sending = null;
    await showRejected(error);
  }
  storeDraft();
  render();
}

/** Updates the draft after a save that ended while another connector was open. */
function updateDraft(draftOf, saved) {
  const draft = drafts.find(draftOf);
  if (!draft) return;
  if (saved && same(draft.values, saved)) drafts.remove(draftOf);
  else drafts.store(draftOf, { ...draft, sending: undefined });
  list.refresh();
}

function showSaved(saved, submitted) {
  if (!ids) {
    drafts.remove(null);
    ids = idsOf(saved);
    history.replaceState(null, "", route(ids));
    list.select(ids);
  }
  notice();
  list.changed({ kind: "SAVED", record: saved });
  outcome = `Saved: revision ${saved.revision}.`;
  if (record && isNewer(record, saved)) return;
  base = submitted;
  follow(saved);
}

/** Shows the errors of a rejected command next to their fields. */
async function showRejected(error) {
  if (error.code === "CONFLICT" && !ids) {
    const link = element("a", { href: route(typedIds()), textContent: "Open it" });
    notice("A connector with these ids exists already. ", link);
  } else if (error.code === "CONFLICT") {
    await read(opened);
  }
  const rest = [];
  for (const { message, extensions } of error.errors) {
    const field = fieldElement(fieldOf(extensions?.key) ?? extensions?.field);
    if (field) showError(field, message);
    else rest.push(message);
  }
  const marked = rest.length < error.errors.length ? "See the marked fields." : "";
  const result = error.isUndecided
    ? "It is not known whether this takes effect. Trying again is safe."
    : "Not saved.";
  outcome = [result, marked, ...rest].filter(Boolean).join(" ");
  form.querySelector("[aria-invalid]")?.focus();
}

function notice(...content) {
  setStatus($("notice"), ...content);
  $("notice").hidden = content.length === 0;
}

function discard() {
  secret.value = "";
  fill(base);
  fillIds(ids);
  clearConflicts();
  clearErrors();
  notice();
  onInput();
  $("title").focus();
}

async function remove() {
  const opening = opened;
  const dialog = $("confirm");
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise(resolve => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "delete" || opening !== opened || sending || !record) return;
  const deletedRecord = record;
  const content = { kind: "delete", input: ids, revision: record.revision };
  const command = { ...content, key: keyFor(content) };
  sending = {};
  render();
  try {
    await submit(command, (...status) => opening === opened && progress(...status), retryNow);
    drafts.remove(idsOf(deletedRecord));
    list.changed({ kind: "DELETED", record: deletedRecord });
    if (opening === opened) location.hash = "#/";
  } catch (error) {
    if (opening !== opened) return;
    sending = null;
    await showRejected(error);
    render();
  }
}
