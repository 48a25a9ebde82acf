// Apollo Client, as a page would use it: saves, reads back, and understands a refusal.
import { ApolloClient, HttpLink, InMemoryCache, gql } from "@apollo/client/core/index.js";

const { GRAPHQL_URL, SPACE_GUID, TOKEN, INPUT } = process.env;
const input = JSON.parse(INPUT);
const client = new ApolloClient({
  cache: new InMemoryCache(),
  link: new HttpLink({
    uri: GRAPHQL_URL,
    headers: { SPACE_GUID, Authorization: `Bearer ${TOKEN}` },
  }),
});
const SAVE = gql`
  mutation save($input: SaveIPackInstanceOauthConnectorDetailsInput!) {
    saveIPackInstanceOauthConnectorDetails(input: $input) { id processId revision }
  }`;
const FIND = gql`
  query find($input: IPackInstanceOAuthConnectorDetailsInput!) {
    IPackInstanceOAuthConnectorDetails(input: $input) { id revision }
  }`;
const { integrationPackInstanceId, processId, envId, connectionId, catalogGuid } = input;
const key = { integrationPackInstanceId, processId, envId, connectionId, catalogGuid };

const saved = await client.mutate({ mutation: SAVE, variables: { input } });
const found = await client.query({ query: FIND, variables: { input: key } });
const refused = await client
  .mutate({ mutation: SAVE, variables: { input: { ...input, envId: " " } }, errorPolicy: "all" });
const error = refused.error?.errors?.[0] ?? refused.errors?.[0];
console.log(JSON.stringify({
  saved: saved.data.saveIPackInstanceOauthConnectorDetails,
  found: found.data.IPackInstanceOAuthConnectorDetails,
  refused: error.extensions,
}));
