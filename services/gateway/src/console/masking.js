// What the browser may keep of what is typed: what the service would keep of it.
//
// The rules are those of the service (`proto/src/mask.rs`), so that a draft that is sent after a
// refresh is the same command as before. The names and the mask come from there.

import { settings } from "./settings.js";

const { mask, secretNames, shortestSearched } = settings;
const USER_INFO = /(:\/\/[^\s/\\?#:@]*:)([^\s/\\?#]+)(?=@)/g;
const PARAMETER = /([?&;#])([^?&;#=\s]+)=([^?&;#\s]+)/g;

export function namesASecret(name) {
  return secretNames.includes(name.toLowerCase().replace(/[^\p{L}\p{N}]/gu, ""));
}

/** Values of the form without any secret in them. */
export function masked(values, secret) {
  const sought = new TextEncoder().encode(secret).length >= shortestSearched
    && secret !== values.clientId ? secret : null;
  const rows = params => params.map(row => ({ ...row, value: maskedValue(row, sought) }));
  return {
    ...values,
    baseURL: withoutUrlSecrets(values.baseURL),
    companyId: withoutUrlSecrets(values.companyId),
    detailsClientId: withoutUrlSecrets(values.detailsClientId),
    authParams: rows(values.authParams),
    accessTokenParams: rows(values.accessTokenParams),
  };
}

function maskedValue({ name, value, json }, sought) {
  if (json || value === "") return value;
  if (namesASecret(name)) return mask;
  const text = withoutUrlSecrets(value);
  return sought ? text.replaceAll(sought, mask) : text;
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
