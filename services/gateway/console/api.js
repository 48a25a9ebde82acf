// The gateway's GraphQL API, as this page asks it.

import { session } from "./session.js";

const ENDPOINT = new URL("../graphql", import.meta.url);
const STREAM = new URL("../graphql/stream", import.meta.url);
/** Longer than the gateway ever takes (10 s). */
const DEADLINE_MS = 15_000;
/** The gateway shows every 15 s that a silent stream lives. */
const SILENCE_MS = 40_000;
const PAGE = 20;

const IDS = "integrationPackInstanceId processId envId connectionId";
const RECORD = `id ${IDS} isTokenGenerated oauthConnectorDetails clientId revision updatedAt updatedBy`;
const RECORDS = `edges { node { ${RECORD} } } pageInfo { hasNextPage endCursor }`;

/** The gateway's refusal: all of its errors. */
export class Refusal extends Error {
  constructor(errors) {
    super(errors.map(error => error.message).join(" "));
    this.errors = errors;
    this.extensions = errors[0].extensions ?? {};
    this.code = this.extensions.code;
  }
}

/** No answer came: it is not known what became of the request. */
export class NoAnswer extends Error {
  constructor() {
    super("No answer from the server.");
  }
}

async function ask(query, variables, commandKey) {
  const headers = session.headers();
  if (commandKey) headers["Idempotency-Key"] = commandKey;
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
  if (answer.errors?.length) throw new Refusal(answer.errors);
  return answer.data;
}

/** The record with these ids, or null. */
export async function find(ids) {
  const query = `query find($input: IPackInstanceOAuthConnectorDetailsInput!) {
    record: IPackInstanceOAuthConnectorDetails(input: $input) { ${RECORD} } }`;
  return (await ask(query, { input: { ...ids, catalogGuid: session.space } })).record;
}

/** A page of the Space's records. */
export async function page(filter, after) {
  const query = `query page($filter: ConnectorDetailsFilter, $first: Int, $after: String) {
    page: connectorDetails(filter: $filter, first: $first, after: $after) { ${RECORDS} } }`;
  return records((await ask(query, { filter, after, first: PAGE })).page);
}

/** The first records of which one of the ids is exactly this. */
export async function byId(id, filter) {
  const names = IDS.split(" ");
  const asked = names.map(name =>
    `${name}: connectorDetails(filter: $${name}, first: 5) { edges { node { ${RECORD} } } }`);
  const declared = names.map(name => `$${name}: ConnectorDetailsFilter`);
  const query = `query byId(${declared}) { ${asked.join(" ")} }`;
  const variables = Object.fromEntries(names.map(name => [name, { ...filter, [name]: id }]));
  return Object.values(await ask(query, variables)).flatMap(found => records(found).nodes);
}

/** A page of a record's history, newest first. */
export async function history(id, after) {
  const query = `query history($id: ID!, $after: String) {
    page: connectorDetailsHistory(id: $id, first: 10, after: $after) {
      edges { node { revision kind updatedAt updatedBy source changedFields } }
      pageInfo { hasNextPage endCursor } } }`;
  return records((await ask(query, { id, after })).page);
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

/** Sends a command, once: `{ kind, key, input, revision }`. */
export async function send({ kind, key, input, revision }) {
  const variables = { input: { ...input, catalogGuid: session.space }, revision };
  return (await ask(MUTATIONS[kind], variables, key)).record;
}

/** What became of a command. */
export async function commandState(id) {
  const query = `query state($id: ID!) {
    state: saveCommand(id: $id) { status code message currentRevision record { ${RECORD} } } }`;
  return (await ask(query, { id })).state;
}

/**
 * Hears of every change in the Space until it is told to stop. `connected` is called whenever the
 * stream has begun: changes from before it are for the caller to read.
 */
export async function listen(signal, { connected, changed, lost }) {
  for (let failures = 0; !signal.aborted; failures += 1) {
    await session.ready();
    try {
      for await (const answer of stream(signal, () => { failures = 0; connected(); })) {
        if (answer.errors) throw new Refusal(answer.errors);
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
  const heard = () => {
    clearTimeout(alarm);
    alarm = setTimeout(() => silence.abort(), SILENCE_MS);
  };
  heard();
  try {
    const response = await fetch(STREAM, {
      method: "POST",
      headers: { ...session.headers(), Accept: "text/event-stream" },
      body: JSON.stringify({ query }),
      signal: AbortSignal.any([signal, silence.signal]),
    });
    if (!response.ok) throw new Refusal((await response.json()).errors);
    connected();
    let rest = "";
    for await (const text of texts(response.body)) {
      heard();
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
