//! Pages of records, and of a record's history.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{
    api::{Answer, Api, SPACE, key, sample, sample_with},
    stack::Stack,
};

const PAGE: &str = "query page($filter: ConnectorDetailsFilter, $first: Int, $after: String) {
    connectorDetails(filter: $filter, first: $first, after: $after) {
        edges { cursor node { id processId envId connectionId isTokenGenerated clientId } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
}";
const HISTORY: &str = "query history($id: ID!, $first: Int, $after: String) {
    connectorDetailsHistory(id: $id, first: $first, after: $after) {
        edges { cursor node { revision kind updatedAt updatedBy source changedFields } }
        pageInfo { hasNextPage endCursor }
    }
}";
const DELETE: &str = "mutation delete($input: IPackInstanceOAuthConnectorDetailsInput!) {
    deleteIPackInstanceOauthConnectorDetails(input: $input) { id }
}";

pub async fn page(api: &Api, filter: Value, first: i32, after: &Value) -> anyhow::Result<Value> {
    let variables = json!({ "filter": filter, "first": first, "after": after });
    let answer = api.execute(PAGE, variables).await?;
    anyhow::ensure!(answer.body["errors"].is_null(), "{}", answer.body);
    Ok(answer.body["data"]["connectorDetails"].clone())
}

/// Every record of a filter, page by page.
async fn walk(api: &Api, filter: &Value, first: i32) -> anyhow::Result<Vec<Value>> {
    let (mut all, mut after) = (Vec::new(), Value::Null);
    loop {
        let page = page(api, filter.clone(), first, &after).await?;
        let edges = page["edges"].as_array().cloned().unwrap_or_default();
        assert!(edges.len() <= usize::try_from(first)?);
        assert_eq!(page["pageInfo"]["hasPreviousPage"], !after.is_null());
        all.extend(edges.iter().map(|edge| edge["node"].clone()));
        if page["pageInfo"]["hasNextPage"] == false {
            return Ok(all);
        }
        after = page["pageInfo"]["endCursor"].clone();
        assert_eq!(after, edges[edges.len() - 1]["cursor"]);
    }
}

/// Saves 23 records that differ in their ids and in their flag.
async fn save_records(api: &Api) -> anyhow::Result<()> {
    for n in 0..23 {
        let mut input = sample_with("processId", format!("process {}", n % 3));
        input["envId"] = format!("env {}", n % 2).into();
        input["connectionId"] = format!("connection {n:02}").into();
        input["isTokenGenerated"] = (n % 4 == 0).into();
        api.save(&input).await?.record()?;
    }
    Ok(())
}

/// Filters, with how many of the 23 records each of them selects.
fn filters() -> [(Value, usize); 7] {
    [
        (json!({ "processId": "process 1" }), 8),
        (json!({ "envId": "env 0" }), 12),
        (json!({ "connectionId": "connection 07" }), 1),
        (json!({ "isTokenGenerated": true }), 6),
        (json!({ "envId": "env 0", "isTokenGenerated": false }), 6),
        (
            json!({ "integrationPackInstanceId": "test-101", "processId": "process 2" }),
            7,
        ),
        (json!({ "integrationPackInstanceId": "nobody's" }), 0),
    ]
}

#[tokio::test]
async fn pages_are_consistent_while_records_are_saved() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    save_records(&api).await?;
    stack
        .api("another Space")?
        .save(&sample_with("catalogGuid", "another Space"))
        .await?
        .record()?;

    let all = walk(&api, &Value::Null, 5).await?;
    let ids: BTreeSet<_> = all.iter().map(|node| node["id"].to_string()).collect();
    assert_eq!((all.len(), ids.len()), (23, 23));
    let order =
        |node: &Value| ["processId", "envId", "connectionId"].map(|field| node[field].to_string());
    assert!(all.is_sorted_by_key(order), "in the order of their ids");
    for (filter, count) in filters() {
        let found = walk(&api, &filter, 2).await?;
        assert_eq!(found.len(), count, "{filter}");
        for (field, wanted) in filter.as_object().into_iter().flatten() {
            assert!(
                field == "integrationPackInstanceId"
                    || found.iter().all(|node| node[field] == *wanted)
            );
        }
    }

    // Between two pages, save records before and after the cursor, and delete a listed record.
    let first = page(&api, Value::Null, 10, &Value::Null).await?;
    for (process, connection) in [("process 0", "connection ."), ("process 9", "new")] {
        let mut input = sample_with("processId", process);
        input["connectionId"] = connection.into();
        input["envId"] = "env 0".into();
        api.save(&input).await?.record()?;
    }
    let mut listed = sample_with("processId", first["edges"][9]["node"]["processId"].clone());
    listed["envId"] = first["edges"][9]["node"]["envId"].clone();
    listed["connectionId"] = first["edges"][9]["node"]["connectionId"].clone();
    api.execute(DELETE, json!({ "input": key(&listed) }))
        .await?;
    let rest = page(&api, Value::Null, 100, &first["pageInfo"]["endCursor"]).await?;
    let rest: Vec<_> = rest["edges"].as_array().into_iter().flatten().collect();
    assert_eq!(
        rest.len(),
        14,
        "the other thirteen, and the one that came behind"
    );
    Ok(())
}

#[tokio::test]
async fn invalid_page_arguments_are_named() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let field = |answer: &Answer| {
        let extensions = &answer.body["errors"][0]["extensions"];
        assert_eq!(extensions["code"], "BAD_USER_INPUT", "{}", answer.body);
        extensions["field"].clone()
    };

    for first in [0, -1, 101] {
        let answer = api.execute(PAGE, json!({ "first": first })).await?;
        assert_eq!(field(&answer), "first");
    }
    for (name, id) in [
        ("envId", "a\0b"),
        ("connectionId", " "),
        ("processId", &"x".repeat(256)),
    ] {
        let answer = api.execute(PAGE, json!({ "filter": { name: id } })).await?;
        assert_eq!(field(&answer), name);
    }
    // The last is a position with a NUL in it.
    for after in [
        "",
        "nonsense",
        "W10",
        "bnVsbA",
        "WyJhIiwiYiIsImMiLCJcdTAwMDAiXQ",
    ] {
        let answer = api.execute(PAGE, json!({ "after": after })).await?;
        assert_eq!(field(&answer), "after", "{after}");
    }
    let answer = api.execute(HISTORY, json!({ "id": "7" })).await?;
    assert_eq!(field(&answer), "id");
    Ok(())
}

/// One page of a record's history.
async fn history(api: &Api, id: &Value, first: i32, after: &Value) -> anyhow::Result<Value> {
    let variables = json!({ "id": id, "first": first, "after": after });
    let answer = api.execute(HISTORY, variables).await?;
    Ok(answer.body["data"]["connectorDetailsHistory"].clone())
}

/// The revision, kind, author and changed fields of each entry of these pages, all of which the
/// gateway wrote.
fn entries(pages: &[&Value]) -> Vec<Value> {
    pages
        .iter()
        .flat_map(|page| page["edges"].as_array().cloned().unwrap_or_default())
        .map(|edge| {
            let node = &edge["node"];
            assert_eq!(node["source"], "connector-details-gateway");
            json!([
                node["revision"],
                node["kind"],
                node["updatedBy"],
                node["changedFields"]
            ])
        })
        .collect()
}

#[tokio::test]
async fn the_history_shows_who_changed_which_field_when() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let gateway = stack.gateway.as_ref().map(|gateway| gateway.url.clone());
    let gateway = gateway.unwrap_or_default();
    let (ann, bob) = (
        Api::for_subject(&gateway, SPACE, "ann")?,
        Api::for_subject(&gateway, SPACE, "bob")?,
    );
    let record = ann.save(&sample()).await?.record()?;
    bob.save(&sample_with("clientId", "another"))
        .await?
        .record()?;
    let mut both = sample_with("isTokenGenerated", true);
    both["oauthConnectorDetails"] = "{}".into();
    ann.save(&both).await?.record()?;
    bob.save(&both).await?.record()?;
    // A conflict is no part of the history.
    let stale = "mutation save($input: SaveIPackInstanceOauthConnectorDetailsInput!) {
        saveIPackInstanceOauthConnectorDetails(input: $input, expectedRevision: 9) { id }
    }";
    bob.execute(stale, json!({ "input": sample() })).await?;
    ann.execute(DELETE, json!({ "input": key(&sample()) }))
        .await?;
    ann.save(&sample()).await?.record()?;

    let id = &record["id"];
    let newest = history(&bob, id, 2, &Value::Null).await?;
    let older = history(&bob, id, 10, &newest["pageInfo"]["endCursor"]).await?;
    let entries = entries(&[&newest, &older]);
    let elsewhere = history(&stack.api("another Space")?, id, 10, &Value::Null).await?;

    assert_eq!(
        entries,
        [
            json!([5, "DELETED", "ann", []]),
            json!([4, "SAVED", "bob", []]),
            json!([
                3,
                "SAVED",
                "ann",
                ["isTokenGenerated", "oauthConnectorDetails", "clientId"]
            ]),
            json!([2, "SAVED", "bob", ["clientId"]]),
            json!([
                1,
                "SAVED",
                "ann",
                ["isTokenGenerated", "oauthConnectorDetails", "clientId"]
            ]),
        ]
    );
    assert_eq!(newest["pageInfo"]["hasNextPage"], true);
    assert_eq!(older["pageInfo"]["hasNextPage"], false);
    assert_eq!(elsewhere["edges"], json!([]));
    Ok(())
}
