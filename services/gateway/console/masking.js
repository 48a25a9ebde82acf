// Masks the secrets in a draft before the browser stores it.
//
// The rules are those of the service (`proto/src/masking/`), so that a draft that is sent again after a
// reload is the same command as before. The names and the masks come from the service.

import { parse } from "./json.js";
import { isFirstHalf, isMask, isSecondHalf, namesACredential, namesASecret } from "./names.js";
import { secretsIn } from "./secrets.js";
import { settings } from "./settings.js";
import { soughtIn } from "./sought.js";

const { mask } = settings;

/** The values of the form with all secrets masked. */
export function masked(values, secret) {
  const sought = soughtIn(secret, values.clientId);
  return {
    ...values,
    baseURL: maskedText(values.baseURL, null),
    companyId: maskedText(values.companyId, null),
    detailsClientId: maskedText(values.detailsClientId, null),
    authParams: maskedRows(values.authParams, sought),
    accessTokenParams: maskedRows(values.accessTokenParams, sought),
  };
}

function maskedRows(rows, sought) {
  const shown = maskedMembers(rows.map(row => [row.name, row.json ? parsed(row.value) : row.value]), sought);
  return rows.map((row, index) => {
    const value = shown[index][1];
    return { ...row, value: row.json ? JSON.stringify(value) : value };
  });
}

/** Invalid JSON is dropped, because it may contain a part of a secret. */
function parsed(text) {
  try {
    return parse(text);
  } catch {
    return null;
  }
}

function maskedMembers(members, sought) {
  const named = members.filter(([name, value]) => typeof value === "string" && isFirstHalf(name));
  const pairOf = says => named.some(([, value]) => says(value));
  const [secretPair, credentialPair] = [pairOf(namesASecret), pairOf(namesACredential)];
  return members.map(([name, value]) => {
    const isSecret = namesASecret(name);
    const isCredential = namesACredential(name);
    const isSecond = !isSecret && !isCredential && isSecondHalf(name);
    if (isSecret || (isSecond && secretPair)) return [name, maskedWhole(value, sought)];
    return [name, maskedValue(value, sought, isCredential || (isSecond && credentialPair))];
  });
}

function maskedWhole(value, sought) {
  if (typeof value !== "string") return maskedValue(value, sought);
  return value === "" || isMask(value) ? value : mask;
}

function maskedValue(value, sought, isCredential = false) {
  if (typeof value === "string") return maskedText(value, sought, isCredential);
  if (Array.isArray(value)) return value.map(item => maskedValue(item, sought));
  if (value === null || typeof value !== "object" || JSON.isRawJSON?.(value)) return value;
  return Object.fromEntries(maskedMembers(Object.entries(value), sought));
}

function maskedText(text, sought, isCredential = false) {
  if (isMask(text)) return text;
  const shown = sought ? replaced(text, sought(text)) : text;
  return replaced(shown, (isCredential && credential(shown)) || secretsIn(shown));
}

/** The range of the credentials in the value of an `Authorization` header. */
function credential(text) {
  const scheme = /^[ \t\n\f\r]*(?:basic|bearer)[ \t\n\f\r]+/i.exec(text);
  if (!scheme) return null;
  let end = text.length;
  while (end > scheme[0].length && /[ \t\n\f\r]/.test(text[end - 1])) end -= 1;
  const value = text.slice(scheme[0].length, end);
  if (value === "") return null;
  return isMask(value) ? [] : [[scheme[0].length, end]];
}

function replaced(text, places) {
  let shown = "";
  let done = 0;
  for (const [start, end] of places) {
    shown += text.slice(done, start) + mask;
    done = end;
  }
  return shown + text.slice(done);
}
