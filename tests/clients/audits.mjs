// The public audits of GraphQL over HTTP, MAY included. Prints how many there are, and each that
// is not passed.
import { serverAudits } from "graphql-http";

const { GRAPHQL_URL, SPACE_GUID, TOKEN } = process.env;
const fetchFn = (url, init = {}) => {
  const headers = new Headers(init.headers);
  headers.set("SPACE_GUID", SPACE_GUID);
  headers.set("Authorization", `Bearer ${TOKEN}`);
  return fetch(url, { ...init, headers });
};
let passed = 0;
for (const audit of serverAudits({ url: GRAPHQL_URL, fetchFn })) {
  const result = await audit.fn();
  if (result.status === "ok") passed += 1;
  else console.log(audit.id, audit.name, result.status, result.reason);
}
console.log(`${passed} passed`);
