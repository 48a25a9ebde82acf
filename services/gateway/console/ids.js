// The ids that name a connector in its Space, and its address on this page.

export const IDS = ["integrationPackInstanceId", "processId", "envId", "connectionId"];

export function idsOf(record) {
  return Object.fromEntries(IDS.map(name => [name, record[name]]));
}

/** What a connector is known by in a Map. */
export function keyOf(record) {
  return JSON.stringify(IDS.map(name => record[name]));
}

export function route(ids) {
  return `#/connector/${IDS.map(name => encodeURIComponent(ids[name])).join("/")}`;
}

/** The ids in an address, `"new"`, or null where none is meant. */
export function routed(hash) {
  if (hash === "#/new") return "new";
  const [, view, ...parts] = hash.split("/");
  if (view !== "connector" || parts.length !== IDS.length) return null;
  try {
    return Object.fromEntries(IDS.map((name, index) => [name, decodeURIComponent(parts[index])]));
  } catch {
    return null;
  }
}
