// The connector that is open: what is typed, what is saved, and how the two come together.
//
// `base` is what the server had when the two were last compared. A field that was not touched since
// follows the server, one that was typed in stays; so a save made elsewhere can come at any time.

import { NoAnswer, find, pause } from "./api.js";
import { FIELDS, empty, fieldOf, merge, otherKeys, same, valuesOf, write } from "./details.js";
import { $, element, tell } from "./dom.js";
import { drafts } from "./drafts.js";
import {
  build, checkTables, clearClashes, clearFaults, fault, fill, fillIds, ids as typedIds, place,
  showClash, values,
} from "./form.js";
import { past } from "./history.js";
import { idsOf, keyOf, route } from "./ids.js";
import { list } from "./list.js";
import { masked } from "./masking.js";
import { session } from "./session.js";
import { settings } from "./settings.js";
import { decide, newKey } from "./trip.js";

const RETRY_MS = 2_000;
const form = $("editor");
const secret = $("clientSecret");
const hurry = new EventTarget();

/** The connector's ids; null for a new one. */
let ids = null;
/** As the server has it, as far as is known here. */
let record = null;
let base = empty();
/** The command that is under way. */
let sending = null;
/** Counts openings: what belongs to an earlier one must not touch this one. */
let opened = 0;
/** What the last save came to, until something is typed. */
let outcome = null;

export const editor = {
  start() {
    build(typed);
    form.addEventListener("input", event => {
      const where = event.target.closest("[data-field]");
      if (!("params" in where.dataset)) fault(where, null);
      typed();
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
    $("try-now").addEventListener("click", () => hurry.dispatchEvent(new Event("now")));
    $("discard").addEventListener("click", discard);
    $("delete").addEventListener("click", remove);
  },

  /** Shows a connector, or a new one, with what was typed before. */
  async open(wanted) {
    const opening = begin(wanted);
    const draft = drafts.find(ids);
    if (draft) {
      ({ base, record } = draft);
      fill(draft.values);
      fillIds(draft.ids);
    }
    form.hidden = ids !== null && !draft;
    tell($("nothing"), form.hidden ? "Reading…" : "");
    render();
    if (ids) await read(opening);
    if (opening !== opened) return;
    $("title").focus();
    if (draft?.sending) await run(draft.sending);
  },

  close() {
    begin(null);
    form.hidden = true;
    tell($("nothing"), "Choose a connector, or make a new one.");
  },

  /** Takes in what happened elsewhere. */
  changed({ kind, record: their }) {
    if (form.hidden || !ids || keyOf(their) !== keyOf(ids)) return;
    if (kind === "DELETED") {
      if (record?.id === their.id && !sending) deleted();
      return;
    }
    if (record && !isNewer(their, record)) return;
    const clashes = follow(their);
    if (!sending) told(their, clashes);
  },

  /** Changes may have been missed. */
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
  clearFaults();
  clearClashes();
  secret.value = "";
  fill(base);
  fillIds(ids);
  past.show(null);
  return opened;
}

/** Reads what the server has, for as long as it takes. */
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
      tell($("nothing"), `${error.message} ${willChange ? "Trying again." : ""}`);
      if (!willChange) return;
    }
    await pause(RETRY_MS);
    if (opening !== opened) return;
  }
}

function arrived(found) {
  if (found && (!record || isNewer(found, record))) {
    const known = record;
    const clashes = follow(found);
    if (known) told(found, clashes);
  } else if (found) {
    past.show(found.id);
  } else if (record) {
    deleted();
  } else if (!dirty()) {
    tell($("nothing"), "There is no such connector (any more).");
    return;
  }
  form.hidden = false;
  tell($("nothing"), "");
  render();
}

/** Puts what the server has now under what is typed. Gives the fields that both have changed. */
function follow(their) {
  const theirs = valuesOf(their);
  const { merged, clashes } = merge(base, values(), theirs, secret.value);
  base = theirs;
  record = their;
  fill(merged);
  clearClashes();
  for (const field of clashes) showClash(field, theirs[field], typed);
  keep();
  render();
  past.show(record.id);
  return clashes;
}

function told({ updatedBy, revision }, clashes) {
  const advice = clashes.length > 0
    ? " What you typed is kept; beside it stands what was saved." : "";
  notice(`${updatedBy ?? "Somebody"} saved revision ${revision}.${advice}`);
}

function deleted() {
  record = null;
  base = empty();
  notice("This connector was deleted. Saving what is shown begins a new record.");
  render();
}

function typed() {
  outcome = null;
  keep();
  render();
}

/** Whether something is shown that the server does not have. */
function dirty() {
  const now = values();
  const isNamed = !ids && Object.values(typedIds()).some(id => id !== "");
  return isNamed || secret.value !== "" || FIELDS.some(field => !same(now[field], base[field]));
}

/** Keeps what is typed, without its secrets, until it is saved. */
function keep() {
  const had = drafts.has(ids);
  if (dirty() || sending) {
    const draft = { ids: typedIds(), base, record, values: masked(values(), secret.value) };
    const kept = drafts.keep(ids, { ...draft, sending: sending?.kept });
    if (!kept) notice("This browser does not keep what you type: save before you leave.");
  } else {
    drafts.forget(ids);
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
  tell($("state"), text);
  $("try-now").hidden = kind !== "pending";
}

async function save() {
  if (sending) return;
  const wrong = checkTables();
  if (wrong) return wrong.focus();
  const submitted = values();
  const text = record?.oauthConnectorDetails ?? "{}";
  const command = details => ({
    kind: "save",
    key,
    revision: record?.revision ?? 0,
    input: {
      ...typedIds(),
      clientId: submitted.clientId,
      clientSecret: secret.value === "" && record ? settings.mask : secret.value,
      isTokenGenerated: submitted.isTokenGenerated,
      oauthConnectorDetails: write(text, base, details),
    },
  });
  const key = newKey();
  const plain = masked(submitted, secret.value);
  // The same command to the service, which masks what it is sent. So it can be kept, and sent
  // again after a refresh.
  const kept = { command: command(plain), submitted: plain };
  if (secret.value !== "") kept.command.input.clientSecret = settings.mask;
  await run({ command: command(submitted), submitted }, kept);
}

/** Takes a save to its end. */
async function run({ command, submitted }, kept = { command, submitted }) {
  const opening = opened;
  const draftOf = ids;
  const sent = secret.value;
  clearFaults();
  sending = { kept };
  keep();
  render();
  try {
    const saved = await decide(command, (...said) => opening === opened && progress(...said), hurry);
    if (opening !== opened) return left(draftOf, kept.submitted);
    sending = null;
    if (secret.value === sent) secret.value = "";
    landed(saved, submitted);
  } catch (error) {
    if (opening !== opened) return left(draftOf, null);
    sending = null;
    await refused(error);
  }
  keep();
  render();
}

/** A save came to its end while another connector was open. */
function left(draftOf, saved) {
  const draft = drafts.find(draftOf);
  if (!draft) return;
  if (saved && same(draft.values, saved)) drafts.forget(draftOf);
  else drafts.keep(draftOf, { ...draft, sending: undefined });
  list.refresh();
}

function landed(saved, submitted) {
  if (!ids) {
    drafts.forget(null);
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

/** Says why, beside the fields that have to change. */
async function refused(error) {
  if (error.code === "CONFLICT" && !ids) {
    const link = element("a", { href: route(typedIds()), textContent: "Open it" });
    notice("A connector with these ids exists already. ", link);
  } else if (error.code === "CONFLICT") {
    await read(opened);
  }
  const rest = [];
  for (const { message, extensions } of error.errors) {
    const where = place(fieldOf(extensions?.key) ?? extensions?.field);
    if (where) fault(where, message);
    else rest.push(message);
  }
  const marked = rest.length < error.errors.length ? "See the marked fields." : "";
  outcome = ["Not saved.", marked, ...rest].filter(Boolean).join(" ");
  form.querySelector("[aria-invalid]")?.focus();
}

function notice(...content) {
  tell($("notice"), ...content);
  $("notice").hidden = content.length === 0;
}

function discard() {
  secret.value = "";
  fill(base);
  fillIds(ids);
  clearClashes();
  clearFaults();
  notice();
  typed();
  $("title").focus();
}

async function remove() {
  const opening = opened;
  const dialog = $("confirm");
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise(resolve => dialog.addEventListener("close", resolve, { once: true }));
  if (dialog.returnValue !== "delete" || opening !== opened || sending || !record) return;
  const gone = record;
  const command = { kind: "delete", key: newKey(), input: ids, revision: record.revision };
  sending = {};
  render();
  try {
    await decide(command, (...said) => opening === opened && progress(...said), hurry);
    drafts.forget(idsOf(gone));
    list.changed({ kind: "DELETED", record: gone });
    if (opening === opened) location.hash = "#/";
  } catch (error) {
    if (opening !== opened) return;
    sending = null;
    await refused(error);
    render();
  }
}
