// The list of the Space's connectors: loads pages, searches them and applies changes.

import { byId, page } from "./api.js";
import { drafts } from "./drafts.js";
import { $, element, setStatus, time } from "./dom.js";
import { IDS, idsOf, keyOf, route } from "./ids.js";
import { valuesOf } from "./details.js";

/** The maximum number of records that a search loads. Further records are found by a complete id only. */
const MAX_SEARCHED = 2_000;
const TYPING_MS = 200;

let records = new Map();
let next = null;
/** The number of records that the user has requested. A reload loads at least as many. */
let requested = 0;
/** The number of the last reload. The results of requests before it are ignored. */
let generation = 0;
let current = null;
let error = null;

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
      requested = records.size + 1;
      attempt(async started => {
        await load(started);
        last?.nextElementSibling?.querySelector("a").focus();
      });
    });
  },

  /** Reads as many of the Space's records again as are shown or requested, at least the first page. */
  reload() {
    generation += 1;
    return attempt(async started => {
      const fresh = new Map();
      let more = null;
      do {
        const { nodes, next: following } = await page(filter(), more);
        if (started !== generation) return;
        for (const record of nodes) fresh.set(keyOf(record), record);
        more = following;
      } while (more && fresh.size < Math.max(records.size, requested));
      records = fresh;
      next = more;
      await search();
    });
  },

  /** Removes all records, for a change of the Space or the filter. */
  clear() {
    records = new Map();
    next = null;
    requested = 0;
    render();
  },

  /** Applies a change of a record. */
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

  /** Marks the open connector. */
  select(ids) {
    current = ids && keyOf(ids);
    render();
  },

  /** Updates the marks of connectors with a draft. */
  refresh: () => render(),
};

/** Runs requests to the gateway, and shows their error. */
async function attempt(work) {
  try {
    await work(generation);
    error = null;
  } catch (caught) {
    error = caught.message;
  }
  render();
}

async function load(started) {
  const { nodes, next: more } = await page(filter(), next);
  if (started !== generation) return;
  for (const record of nodes) records.set(keyOf(record), record);
  next = more;
}

/** Searches for the typed text in records that are not loaded yet. */
function search() {
  const wanted = term();
  if (wanted === "") return render();
  return attempt(async started => {
    const isCurrent = () => wanted === term() && started === generation;
    if (next) {
      for (const record of await byId(wanted, filter())) records.set(keyOf(record), record);
    }
    while (next && records.size < MAX_SEARCHED && isCurrent()) {
      render();
      await load(started);
    }
  });
}

function searchText(record) {
  const { baseURL, companyId } = valuesOf(record);
  const texts = [...IDS.map(name => record[name]), record.clientId, baseURL, companyId];
  return texts.join("\n").toLowerCase();
}

function shown() {
  const wanted = term().toLowerCase();
  const all = [...records.values()].sort(byIds);
  return wanted === "" ? all : all.filter(record => searchText(record).includes(wanted));
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
  setStatus($("found"), error ?? summary(rows.length));
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
