// graphql-ws and graphql-sse, as a page would use them: both are told of the same saves.
import { createClient as createWs } from "graphql-ws";
import { createClient as createSse } from "graphql-sse";
import WebSocket from "ws";

const { GATEWAY_URL, SPACE_GUID, TOKEN, INPUT } = process.env;
const input = JSON.parse(INPUT);
const headers = { SPACE_GUID, Authorization: `Bearer ${TOKEN}` };
const query = "subscription { connectorDetailsChanged { kind record { revision } } }";
const url = `${GATEWAY_URL.replace("http", "ws")}/graphql/ws`;
const ws = createWs({ url, webSocketImpl: WebSocket, connectionParams: headers, retryAttempts: 0 });
const sse = createSse({ url: `${GATEWAY_URL}/graphql/stream`, headers, retryAttempts: 0 });

const save = () => fetch(`${GATEWAY_URL}/graphql`, {
  method: "POST",
  headers: { ...headers, "content-type": "application/json" },
  body: JSON.stringify({
    query: `mutation save($input: SaveIPackInstanceOauthConnectorDetailsInput!) {
      saveIPackInstanceOauthConnectorDetails(input: $input) { revision } }`,
    variables: { input },
  }),
});

// The kinds of two changes that are no announcements of missed ones.
async function listen(client) {
  const kinds = [];
  for await (const { data, errors } of client.iterate({ query })) {
    if (errors) throw new Error(JSON.stringify(errors));
    if (data.connectorDetailsChanged.kind === "MISSED") continue;
    kinds.push(data.connectorDetailsChanged.kind);
    if (kinds.length === 2) return kinds;
  }
  throw new Error("ended early");
}

const both = Promise.all([listen(ws), listen(sse)]);
let done = false;
both.finally(() => { done = true; });
while (!done) {
  await save();
  await new Promise(resolve => setTimeout(resolve, 200));
}
const [byWs, bySse] = await both;

const stranger = createWs({ url, webSocketImpl: WebSocket, retryAttempts: 0 });
const closed = await new Promise(resolve => {
  stranger.subscribe({ query }, { next: () => resolve(0), complete: () => resolve(0), error: () => resolve(1) });
});
const mutation = await new Promise(resolve => {
  const document = "mutation { __typename }";
  const answered = result => resolve(result.errors?.[0].extensions.code);
  ws.subscribe({ query: document }, { next: answered, complete: () => {}, error: e => resolve(e[0]?.extensions?.code ?? String(e)) });
});
console.log(JSON.stringify({ ws: byWs, sse: bySse, stranger: closed, mutation }));
process.exit(0);
