// The text of `oauthConnectorDetails`, and the values of the form that stand in it.
//
// What the form does not show is kept, and a text in which nothing was changed stays byte for
// byte: saving what was read changes nothing.

import { parse } from "./json.js";
import { masked } from "./masking.js";

const TEXTS = { baseURL: "baseURL", companyId: "companyId", detailsClientId: "clientId" };
const TABLES = ["authParams", "accessTokenParams"];

/** The fields of the form that can be changed, each compared and merged by itself. */
export const FIELDS = ["clientId", "isTokenGenerated", ...Object.keys(TEXTS), ...TABLES];
const IN_DETAILS = [...Object.keys(TEXTS), ...TABLES];

/** The field of the form that holds what stands under a key of the details. */
export function fieldOf(key) {
  return IN_DETAILS.find(field => (TEXTS[field] ?? field) === key);
}

/** What the form shows where nothing was saved. */
export function empty() {
  return read("{}", { clientId: "", isTokenGenerated: false });
}

/** What the form shows of a record. */
export function valuesOf({ oauthConnectorDetails, clientId, isTokenGenerated }) {
  return read(oauthConnectorDetails, { clientId, isTokenGenerated });
}

function read(text, values) {
  const details = parse(text);
  for (const [field, key] of Object.entries(TEXTS)) values[field] = details[key] ?? "";
  for (const table of TABLES) values[table] = Object.entries(details[table] ?? {}).map(row);
  return values;
}

function row([name, value]) {
  const json = typeof value !== "string";
  return { name, value: json ? JSON.stringify(value) : value, json };
}

/** The keys of a text that the form does not show. */
export function otherKeys(text) {
  return Object.keys(parse(text)).filter(key => !fieldOf(key));
}

/** The text with other values in it, where they are others than before. */
export function write(text, before, values) {
  if (IN_DETAILS.every(field => same(before[field], values[field]))) return text;
  const details = new Map(Object.entries(parse(text)));
  for (const [field, key] of Object.entries(TEXTS)) {
    if (same(before[field], values[field])) continue;
    if (values[field] === "") details.delete(key);
    else details.set(key, values[field]);
  }
  for (const table of TABLES) {
    if (same(before[table], values[table])) continue;
    const rows = values[table].map(({ name, value, json }) => [name, json ? parse(value) : value]);
    details.set(table, Object.fromEntries(rows));
  }
  return JSON.stringify(Object.fromEntries(details));
}

/** What is wrong with the rows of a table that the gateway could not know, by row. */
export function faultsOf(rows) {
  const names = rows.map(({ name }) => name);
  return rows.map(({ name, value, json }, index) => {
    if (name === "") return "A parameter needs a name.";
    if (names.indexOf(name) < index) return "Another parameter has this name.";
    if (json && !isJson(value)) return "The value was no text before, and has to stay valid JSON.";
    return null;
  });
}

function isJson(text) {
  try {
    parse(text);
    return true;
  } catch {
    return false;
  }
}

export function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}

/**
 * What is typed, on top of what was saved meanwhile: a field that nobody touched follows what was
 * saved, one that was typed in stays. `clashes` names those that both have changed.
 */
export function merge(base, mine, theirs, secret = "") {
  const merged = {};
  const clashes = [];
  const kept = masked(mine, secret);
  for (const field of FIELDS) {
    const untouched = same(mine[field], base[field]) || same(kept[field], theirs[field]);
    merged[field] = untouched ? theirs[field] : mine[field];
    if (!untouched && !same(base[field], theirs[field])) clashes.push(field);
  }
  return { merged, clashes };
}
