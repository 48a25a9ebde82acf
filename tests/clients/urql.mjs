// urql, as a page would use it: saves, reads back, and understands a refusal.
import { Client, fetchExchange } from "@urql/core";

const { GRAPHQL_URL, SPACE_GUID, TOKEN, INPUT } = process.env;
const input = JSON.parse(INPUT);
const client = new Client({
  url: GRAPHQL_URL,
  exchanges: [fetchExchange],
  preferGetMethod: true,
  fetchOptions: { headers: { SPACE_GUID, Authorization: `Bearer ${TOKEN}` } },
});
const SAVE = `
  mutation save($input: SaveIPackInstanceOauthConnectorDetailsInput!) {
    saveIPackInstanceOauthConnectorDetails(input: $input) { id processId revision }
  }`;
const FIND = `
  query find($input: IPackInstanceOAuthConnectorDetailsInput!) {
    IPackInstanceOAuthConnectorDetails(input: $input) { id revision }
  }`;
const { integrationPackInstanceId, processId, envId, connectionId, catalogGuid } = input;
const key = { integrationPackInstanceId, processId, envId, connectionId, catalogGuid };

const saved = await client.mutation(SAVE, { input }).toPromise();
const found = await client.query(FIND, { input: key }).toPromise();
const refused = await client.mutation(SAVE, { input: { ...input, envId: " " } }).toPromise();
console.log(JSON.stringify({
  saved: saved.data.saveIPackInstanceOauthConnectorDetails,
  found: found.data.IPackInstanceOAuthConnectorDetails,
  refused: refused.error.graphQLErrors[0].extensions,
}));
