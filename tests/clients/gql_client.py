# gql, as a script would use it: saves, reads back, and understands a refusal.
import json
import os

from gql import Client, gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.requests import RequestsHTTPTransport

given = json.loads(os.environ["INPUT"])
client = Client(transport=RequestsHTTPTransport(
    os.environ["GRAPHQL_URL"],
    headers={"SPACE_GUID": os.environ["SPACE_GUID"], "Authorization": "Bearer " + os.environ["TOKEN"]},
), fetch_schema_from_transport=True)
SAVE = """mutation save($input: SaveIPackInstanceOauthConnectorDetailsInput!) {
    saveIPackInstanceOauthConnectorDetails(input: $input) { id processId revision } }"""
FIND = """query find($input: IPackInstanceOAuthConnectorDetailsInput!) {
    IPackInstanceOAuthConnectorDetails(input: $input) { id revision } }"""
KEY = ["integrationPackInstanceId", "processId", "envId", "connectionId", "catalogGuid"]


def execute(document, variables):
    query = gql(document)
    query.variable_values = variables
    return client.execute(query)


saved = execute(SAVE, {"input": given})
found = execute(FIND, {"input": {name: given[name] for name in KEY}})
try:
    execute(SAVE, {"input": {**given, "envId": " "}})
    refused = {}
except TransportQueryError as error:
    refused = error.errors[0]["extensions"]
print(json.dumps({
    "saved": saved["saveIPackInstanceOauthConnectorDetails"],
    "found": found["IPackInstanceOAuthConnectorDetails"],
    "refused": refused,
}))
