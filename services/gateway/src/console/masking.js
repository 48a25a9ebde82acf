// What the browser may keep of what is typed: what the service would keep of it.
//
// The rules are those of the service (`proto/src/mask.rs`), so that a draft that is sent after a
// refresh is the same command as before. The names and the mask come from there.

import { parse } from "./json.js";
import { settings } from "./settings.js";

const { mask, secretNames, shortestSearched } = settings;
const USER_INFO = /(:\/\/[^\s/\\?#:@]*:)([^\s/\\?#]+)(?=@)/g;
const PARAMETER = /([?&;#])([^?&;#=\s]+)=([^?&;#\s]+)/g;

const normalised = name => name.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");

export const namesASecret = name => secretNames.includes(normalised(name));

/** Values of the form without any secret in them. */
export function masked(values, secret) {
  const isSought = new TextEncoder().encode(secret).length >= shortestSearched
    && secret !== values.clientId && secret !== mask;
  const sought = isSought ? secret : null;
  return {
    ...values,
    baseURL: withoutUrlSecrets(values.baseURL),
    companyId: withoutUrlSecrets(values.companyId),
    detailsClientId: withoutUrlSecrets(values.detailsClientId),
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

/** What is no JSON yet may end in the middle of a secret. */
function parsed(text) {
  try {
    return parse(text);
  } catch {
    return null;
  }
}

function maskedMembers(members, sought) {
  const isPair = members.some(([name, value]) =>
    ["key", "name"].includes(normalised(name)) && typeof value === "string" && namesASecret(value));
  return members.map(([name, value]) => {
    const isSecret = namesASecret(name) || (isPair && normalised(name) === "value");
    return [name, isSecret && typeof value === "string" && value !== "" ? mask : maskedValue(value, sought)];
  });
}

function maskedValue(value, sought) {
  if (typeof value === "string") {
    const text = withoutUrlSecrets(value);
    return sought ? text.replaceAll(sought, mask) : text;
  }
  if (Array.isArray(value)) return value.map(item => maskedValue(item, sought));
  if (value === null || typeof value !== "object" || JSON.isRawJSON?.(value)) return value;
  return Object.fromEntries(maskedMembers(Object.entries(value), sought));
}

function withoutUrlSecrets(text) {
  return text
    .replace(USER_INFO, `$1${mask}`)
    .replace(PARAMETER, (whole, before, name) =>
      namesASecret(decoded(name)) ? `${before}${name}=${mask}` : whole);
}

function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
