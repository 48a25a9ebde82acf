// The history of the open connector: who changed which fields, and when.

import { history as readHistory } from "./api.js";
import { $, element, time } from "./dom.js";

let id = null;
let next = null;
/** The number of the last read. The results of earlier reads are ignored. */
let lastRead = 0;

export const historyView = {
  start() {
    $("older").addEventListener("click", async () => {
      const last = $("changes").lastElementChild;
      await load(false);
      last.nextElementSibling?.focus();
    });
  },

  /** Shows the history of a record; `null` hides it. */
  async show(recordId) {
    id = recordId;
    $("history").hidden = id === null;
    if (id === null) $("changes").replaceChildren();
    else await load(true);
  },
};

async function load(fromNewest) {
  const thisRead = ++lastRead;
  let page;
  try {
    page = await readHistory(id, fromNewest ? null : next);
  } catch (error) {
    page = { failure: error.message, next: null };
  }
  if (thisRead !== lastRead) return;
  const items = page.failure ? [element("li", { textContent: page.failure })] : page.nodes.map(item);
  if (fromNewest) $("changes").replaceChildren(...items);
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
