// Who changed which field of a connector, and when.

import { history as read } from "./api.js";
import { $, element, time } from "./dom.js";

let id = null;
let next = null;
/** Counts readings: an answer to an earlier one is dropped. */
let asked = 0;

export const past = {
  start() {
    $("older").addEventListener("click", async () => {
      const last = $("changes").lastElementChild;
      await load(false);
      last.nextElementSibling?.focus();
    });
  },

  /** Shows a record's history, or none. */
  async show(recordId) {
    id = recordId;
    $("history").hidden = id === null;
    if (id === null) $("changes").replaceChildren();
    else await load(true);
  },
};

async function load(fromTheNewest) {
  const reading = ++asked;
  let page;
  try {
    page = await read(id, fromTheNewest ? null : next);
  } catch (error) {
    page = { failure: error.message, next: null };
  }
  if (reading !== asked) return;
  const items = page.failure ? [element("li", { textContent: page.failure })] : page.nodes.map(item);
  if (fromTheNewest) $("changes").replaceChildren(...items);
  else $("changes").append(...items);
  next = page.next;
  $("older").hidden = next === null;
}

function item({ revision, kind, updatedAt, updatedBy, source, changedFields }) {
  const by = [updatedBy ?? "unknown", source && source !== updatedBy ? `from ${source}` : null];
  const what = kind === "DELETED" ? "deleted" : "saved";
  return element("li", { tabIndex: -1 },
    element("strong", { textContent: `Revision ${revision}, ${what}` }),
    element("span", { className: "hint" }, time(updatedAt), ` · ${by.filter(Boolean).join(" ")}`),
    element("span", { textContent: fields(changedFields, kind) }));
}

function fields(changed, kind) {
  if (kind === "DELETED") return "";
  if (changed === null) return "What it changed is not known any more.";
  return changed.length === 0 ? "Nothing that is kept was changed." : `Changed: ${changed.join(", ")}`;
}
