// The ids that identify a connector in its Space, and the connector's URL fragment.

export const IDS = ["integrationPackInstanceId", "processId", "envId", "connectionId"];

export function idsOf(record) {
  return Object.fromEntries(IDS.map(name => [name, record[name]]));
}

/** The key of a connector in a Map. */
export function keyOf(record) {
  return JSON.stringify(IDS.map(name => record[name]));
}

export function route(ids) {
  return `#/connector/${IDS.map(name => encodeURIComponent(ids[name])).join("/")}`;
}

/** The ids in a URL fragment, `"new"` for a new connector, or null. */
export function parseRoute(hash) {
  if (hash === "#/new") return "new";
  const [, view, ...parts] = hash.split("/");
  if (view !== "connector" || parts.length !== IDS.length) return null;
  try {
    return Object.fromEntries(IDS.map((name, index) => [name, decodeURIComponent(parts[index])]));
  } catch {
    return null;
  }
}
