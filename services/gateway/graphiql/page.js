// The gateway defines `filledIn` before this script: the headers with a token, and the published sample.
const headers = JSON.stringify(filledIn.headers, null, 2);
ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {
    // The fetcher needs the headers, too: the schema is requested before the editor sets its headers.
    fetcher: GraphiQL.createFetcher({ url: "/graphql", headers: filledIn.headers }),
    defaultQuery: filledIn.query,
    headers, // not `defaultHeaders`: with it, GraphiQL would use a stored token that has expired
  }),
);
