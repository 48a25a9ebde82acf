// The Space's connectors: loaded page by page, searched, and kept up to date.

import { byId, page } from "./api.js";
import { drafts } from "./drafts.js";
import { $, element, tell, time } from "./dom.js";
import { IDS, idsOf, keyOf, route } from "./ids.js";
import { valuesOf } from "./details.js";

/** How many records a search goes through; what lies behind is found by a whole id. */
const MOST_SEARCHED = 2_000;
const TYPING_MS = 200;

let records = new Map();
let next = null;
/** How many records are to be shown at least: what was asked for outlives a beginning, unlike its answer. */
let asked = 0;
/** Counts beginnings: what was asked for before the last is dropped. */
let begun = 0;
let current = null;
let trouble = null;

const term = () => $("search").value.trim();

function filter() {
  const flag = $("flag").value;
  return flag === "" ? {} : { isTokenGenerated: flag === "true" };
}

export const list = {
  start() {
    let typing;
    $("search").addEventListener("input", () => {
      render();
      clearTimeout(typing);
      typing = setTimeout(search, TYPING_MS);
    });
    $("flag").addEventListener("change", () => {
      list.clear();
      list.reload();
    });
    $("more").addEventListener("click", () => {
      const last = $("list").lastElementChild;
      asked = records.size + 1;
      attempt(async beginning => {
        await load(beginning);
        last?.nextElementSibling?.querySelector("a").focus();
      });
    });
  },

  /** Reads again as many of the Space's records as were shown or asked for, or the first page. */
  reload() {
    begun += 1;
    return attempt(async beginning => {
      const fresh = new Map();
      let more = null;
      do {
        const { nodes, next: following } = await page(filter(), more);
        if (beginning !== begun) return;
        for (const record of nodes) fresh.set(keyOf(record), record);
        more = following;
      } while (more && fresh.size < Math.max(records.size, asked));
      records = fresh;
      next = more;
      await search();
    });
  },

  /** Forgets all, as for another Space. */
  clear() {
    records = new Map();
    next = null;
    asked = 0;
    render();
  },

  /** Takes in what happened to a record. */
  changed({ kind, record }) {
    const key = keyOf(record);
    const known = records.get(key);
    const isOld = known?.id === record.id && known.revision > record.revision;
    if (isOld) return;
    if (kind === "DELETED") {
      if (known?.id === record.id) records.delete(key);
    } else if (Object.entries(filter()).every(([field, value]) => record[field] === value)) {
      records.set(key, record);
    } else {
      records.delete(key);
    }
    render();
  },

  /** Marks the connector that is open. */
  select(ids) {
    current = ids && keyOf(ids);
    render();
  },

  /** Shows again which connectors have a draft. */
  refresh: () => render(),
};

/** Does something that asks the gateway, and shows its refusal. */
async function attempt(work) {
  const beginning = begun;
  try {
    await work(beginning);
    trouble = null;
  } catch (error) {
    trouble = error.message;
  }
  render();
}

async function load(beginning) {
  const { nodes, next: more } = await page(filter(), next);
  if (beginning !== begun) return;
  for (const record of nodes) records.set(keyOf(record), record);
  next = more;
}

/** Looks for what was typed behind the records that are loaded. */
function search() {
  const wanted = term();
  if (wanted === "") return render();
  return attempt(async beginning => {
    const isWanted = () => wanted === term() && beginning === begun;
    if (next) {
      for (const record of await byId(wanted, filter())) records.set(keyOf(record), record);
    }
    while (next && records.size < MOST_SEARCHED && isWanted()) {
      render();
      await load(beginning);
    }
  });
}

function haystack(record) {
  const { baseURL, companyId } = valuesOf(record);
  const texts = [...IDS.map(name => record[name]), record.clientId, baseURL, companyId];
  return texts.join("\n").toLowerCase();
}

function shown() {
  const wanted = term().toLowerCase();
  const all = [...records.values()].sort(byIds);
  return wanted === "" ? all : all.filter(record => haystack(record).includes(wanted));
}

function byIds(a, b) {
  const name = IDS.find(id => a[id] !== b[id]);
  return name && a[name] < b[name] ? -1 : 1;
}

function render() {
  const rows = shown();
  const focused = $("list").contains(document.activeElement) && document.activeElement.getAttribute("href");
  $("list").replaceChildren(...rows.map(item));
  if (focused) $("list").querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  $("more").hidden = !next;
  $("new").textContent = drafts.has(null) ? "New connector (begun)" : "New connector";
  tell($("found"), trouble ?? summary(rows.length));
}

function summary(count) {
  const loaded = records.size;
  const connectors = count === 1 ? "1 connector" : `${count} connectors`;
  if (term() === "") return next ? `${connectors}, and more` : connectors;
  return next ? `${connectors} among the first ${loaded}; a whole id finds all` : `${connectors} found`;
}

function item(record) {
  const ids = idsOf(record);
  const badges = [];
  if (drafts.has(ids)) badges.push(element("span", { className: "badge draft", textContent: "not saved" }));
  if (record.isTokenGenerated) badges.push(element("span", { className: "badge", textContent: "token" }));
  const link = element("a", { href: route(ids) },
    element("strong", { textContent: ids.integrationPackInstanceId }),
    element("span", { textContent: `process ${ids.processId} · environment ${ids.envId} · connection ${ids.connectionId}` }),
    element("span", { className: "hint" }, time(record.updatedAt), ` · ${record.updatedBy ?? "unknown"} `, ...badges));
  if (keyOf(record) === current) link.setAttribute("aria-current", "page");
  return element("li", {}, link);
}
