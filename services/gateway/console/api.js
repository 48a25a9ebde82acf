// The client of the gateway's GraphQL API.

import { session } from "./session.js";

const ENDPOINT = new URL("../graphql", import.meta.url);
const STREAM = new URL("../graphql/stream", import.meta.url);
/** The gateway answers within 10 s. */
const DEADLINE_MS = 15_000;
/** The gateway sends a comment every 15 s on a stream without events. */
const SILENCE_MS = 40_000;
const PAGE = 20;

const IDS = "integrationPackInstanceId processId envId connectionId";
const RECORD = `id ${IDS} isTokenGenerated oauthConnectorDetails clientId revision updatedAt updatedBy`;
const RECORDS = `edges { node { ${RECORD} } } pageInfo { hasNextPage endCursor }`;

/** The errors of a response. */
export class ApiError extends Error {
  constructor(errors) {
    super(errors.map(error => error.message).join(" "));
    this.errors = errors;
    this.extensions = errors[0].extensions ?? {};
    this.code = this.extensions.code;
  }
}

/** No answer was received. It is not known whether the request took effect. */
export class NoAnswer extends Error {
  constructor() {
    super("No answer from the server.");
  }
}

async function request(query, variables, idempotencyKey) {
  const headers = session.headers();
  if (idempotencyKey) headers["Idempotency-Key"] = idempotencyKey;
  let status, answer;
  try {
    const body = JSON.stringify({ query, variables });
    const signal = AbortSignal.timeout(DEADLINE_MS);
    const response = await fetch(ENDPOINT, { method: "POST", headers, body, signal });
    status = response.status;
    answer = await response.json();
  } catch {
    throw new NoAnswer();
  }
  if (status === 401) session.expire();
  if (answer.errors?.length) throw new ApiError(answer.errors);
  return answer.data;
}

/** The record with these ids, or null. */
export async function find(ids) {
  const query = `query find($input: IPackInstanceOAuthConnectorDetailsInput!) {
    record: IPackInstanceOAuthConnectorDetails(input: $input) { ${RECORD} } }`;
  return (await request(query, { input: { ...ids, catalogGuid: session.space } })).record;
}

/** A page of the Space's records. */
export async function page(filter, after) {
  const query = `query page($filter: ConnectorDetailsFilter, $first: Int, $after: String) {
    page: connectorDetails(filter: $filter, first: $first, after: $after) { ${RECORDS} } }`;
  return records((await request(query, { filter, after, first: PAGE })).page);
}

/** The first records that have this value in one of their ids. */
export async function byId(id, filter) {
  const names = IDS.split(" ");
  const fields = names.map(name =>
    `${name}: connectorDetails(filter: $${name}, first: 5) { edges { node { ${RECORD} } } }`);
  const variableTypes = names.map(name => `$${name}: ConnectorDetailsFilter`);
  const query = `query byId(${variableTypes}) { ${fields.join(" ")} }`;
  const variables = Object.fromEntries(names.map(name => [name, { ...filter, [name]: id }]));
  return Object.values(await request(query, variables)).flatMap(page => records(page).nodes);
}

/** A page of a record's history, newest first. */
export async function history(id, after) {
  const query = `query history($id: ID!, $after: String) {
    page: connectorDetailsHistory(id: $id, first: 10, after: $after) {
      edges { node { revision kind updatedAt updatedBy source changedFields } }
      pageInfo { hasNextPage endCursor } } }`;
  return records((await request(query, { id, after })).page);
}

function records({ edges, pageInfo }) {
  return {
    nodes: edges.map(edge => edge.node),
    next: pageInfo?.hasNextPage ? pageInfo.endCursor : null,
  };
}

const MUTATIONS = {
  save: `mutation save($input: SaveIPackInstanceOauthConnectorDetailsInput!, $revision: Int) {
    record: saveIPackInstanceOauthConnectorDetails(input: $input, expectedRevision: $revision)
    { ${RECORD} } }`,
  delete: `mutation delete($input: IPackInstanceOAuthConnectorDetailsInput!, $revision: Int) {
    record: deleteIPackInstanceOauthConnectorDetails(input: $input, expectedRevision: $revision)
    { ${RECORD} } }`,
};

/** Sends a command without a retry: `{ kind, key, input, revision }`. */
export async function send({ kind, key, input, revision }) {
  const variables = { input: { ...input, catalogGuid: session.space }, revision };
  return (await request(MUTATIONS[kind], variables, key)).record;
}

/** The status of a command. */
export async function commandState(id) {
  const query = `query state($id: ID!) {
    state: saveCommand(id: $id) { status code message currentRevision record { ${RECORD} } } }`;
  return (await request(query, { id })).state;
}

/**
 * Subscribes to the changes in the Space until `signal` is aborted. `connected` is called at the start of
 * each connection. The caller must then read earlier changes itself.
 */
export async function listen(signal, { connected, changed, lost }) {
  for (let failures = 0; !signal.aborted; failures += 1) {
    await session.ready();
    try {
      for await (const answer of stream(signal, () => { failures = 0; connected(); })) {
        if (answer.errors) throw new ApiError(answer.errors);
        changed(answer.data.connectorDetailsChanged);
      }
    } catch (error) {
      if (error.code === "UNAUTHENTICATED") session.expire();
    }
    if (signal.aborted) return;
    lost();
    await pause(Math.min(500 * 2 ** failures, 10_000));
  }
}

async function* stream(signal, connected) {
  const query = `subscription { connectorDetailsChanged { kind record { ${RECORD} } } }`;
  const silence = new AbortController();
  let alarm;
  const restartTimer = () => {
    clearTimeout(alarm);
    alarm = setTimeout(() => silence.abort(), SILENCE_MS);
  };
  restartTimer();
  try {
    const response = await fetch(STREAM, {
      method: "POST",
      headers: { ...session.headers(), Accept: "text/event-stream" },
      body: JSON.stringify({ query }),
      signal: AbortSignal.any([signal, silence.signal]),
    });
    if (!response.ok) throw new ApiError((await response.json()).errors);
    connected();
    let rest = "";
    for await (const text of texts(response.body)) {
      restartTimer();
      const events = (rest + text).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const data = event.split("\n").find(line => line.startsWith("data:"))?.slice(5).trim();
        if (data) yield JSON.parse(data);
      }
    }
  } finally {
    clearTimeout(alarm);
    silence.abort();
  }
}

async function* texts(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

export function pause(milliseconds) {
  return new Promise(resolve => setTimeout(resolve, milliseconds));
}
