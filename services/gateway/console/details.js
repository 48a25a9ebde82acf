// Converts between the text of `oauthConnectorDetails` and the values of the form.
//
// Keys that the form does not show are preserved. If no value was changed, the text stays the same byte
// for byte, so saving an unchanged record changes nothing.

import { parse } from "./json.js";
import { masked } from "./masking.js";

const TEXTS = { baseURL: "baseURL", companyId: "companyId", detailsClientId: "clientId" };
const TABLES = ["authParams", "accessTokenParams"];

/** The editable fields of the form. Each is compared and merged separately. */
export const FIELDS = ["clientId", "isTokenGenerated", ...Object.keys(TEXTS), ...TABLES];
const IN_DETAILS = [...Object.keys(TEXTS), ...TABLES];

/** The field of the form for a key of the details. */
export function fieldOf(key) {
  return IN_DETAILS.find(field => (TEXTS[field] ?? field) === key);
}

/** The values of a new connector. */
export function empty() {
  return read("{}", { clientId: "", isTokenGenerated: false });
}

/** The values of a record. */
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

/** The text with the values that were changed. */
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

/** The errors in the rows of a table that the gateway can't detect, by row. */
export function errorsOf(rows) {
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
 * Merges the user's input with a version that was saved meanwhile. A field that the user did not change
 * gets the saved value; a changed one keeps the input. `conflicts` has the fields that both changed.
 */
export function merge(base, mine, theirs, secret = "") {
  const merged = {};
  const conflicts = [];
  const maskedInput = masked(mine, secret);
  for (const field of FIELDS) {
    const untouched = same(mine[field], base[field]) || same(maskedInput[field], theirs[field]);
    merged[field] = untouched ? theirs[field] : mine[field];
    if (!untouched && !same(base[field], theirs[field])) conflicts.push(field);
  }
  return { merged, conflicts };
}
