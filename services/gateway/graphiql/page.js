// `filledIn` stands before this: the headers of the developer's token, and the published sample.
const headers = JSON.stringify(filledIn.headers, null, 2);
ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {
    // These, too: the schema is asked for before the editor has its headers.
    fetcher: GraphiQL.createFetcher({ url: "/graphql", headers: filledIn.headers }),
    defaultQuery: filledIn.query,
    headers, // not `defaultHeaders`: a token that the browser kept from yesterday has expired
  }),
);
