//! Request ids, cross-origin requests, and developer mode.

use std::path::PathBuf;

use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};
use tests::{
    api::{Api, SPACE, sample, sample_with},
    stack::{Process, Stack},
};

#[tokio::test]
async fn every_request_has_a_name() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let named = api.with("x-request-id", "page-7.b");

    let saved = named.save(&sample()).await?;
    let invalid = named.save(&sample_with("envId", "")).await?;
    let refused = named.without("authorization").save(&sample()).await?;
    let unnamed = api.save(&sample_with("envId", "")).await?;
    let quoted = api
        .with("x-request-id", "a \"b\"")
        .save(&sample_with("envId", ""))
        .await?;

    assert_eq!(saved.header("x-request-id"), "page-7.b");
    for answer in [&invalid, &refused] {
        assert_eq!(answer.header("x-request-id"), "page-7.b");
        assert_eq!(
            answer.body["errors"][0]["extensions"]["requestId"],
            "page-7.b"
        );
    }
    for answer in [&unnamed, &quoted] {
        let id = answer.header("x-request-id");
        assert_eq!(id.len(), 32, "{id}");
        assert_eq!(answer.body["errors"][0]["extensions"]["requestId"], id);
    }
    let log = &stack
        .gateway
        .as_ref()
        .map(|gateway| gateway.log.clone())
        .unwrap_or_default();
    let log = std::fs::read_to_string(log)?;
    assert!(
        log.contains("page-7.b") && log.contains(unnamed.header("x-request-id")),
        "{log}"
    );
    Ok(())
}

/// The preflight request of a browser.
async fn preflight(gateway: &Process, origin: &str) -> anyhow::Result<HeaderMap> {
    let request = reqwest::Client::new()
        .request(Method::OPTIONS, format!("{}/graphql", gateway.url))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type,space_guid",
        );
    Ok(request.send().await?.headers().clone())
}

#[tokio::test]
async fn only_pages_of_configured_origins_may_ask() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let ours = "https://app.example.com";
    let closed = stack.ready_gateway(&[]).await?;
    let open = stack.ready_gateway(&[("ALLOWED_ORIGINS", ours)]).await?;
    let allowed = |headers: &HeaderMap| {
        let origin = headers.get("access-control-allow-origin");
        origin.map(|origin| origin.to_str().unwrap_or_default().to_owned())
    };

    assert_eq!(allowed(&preflight(&closed, ours).await?), None);
    assert_eq!(
        allowed(&preflight(&open, ours).await?),
        Some(ours.to_owned())
    );
    for other in [
        "https://app.example.com.evil.example",
        "http://app.example.com",
        "null",
    ] {
        assert_eq!(allowed(&preflight(&open, other).await?), None, "{other}");
    }
    let answer = Api::new(&open.url, SPACE)?
        .with("origin", ours)
        .find(&sample())
        .await?;
    assert_eq!(answer.header("access-control-allow-origin"), ours);
    assert!(
        answer
            .header("access-control-expose-headers")
            .contains("x-request-id")
    );
    Ok(())
}

#[tokio::test]
async fn the_console_loads_nothing_from_other_origins() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let gateway = stack
        .ready_gateway(&[("JWT_SPACES_CLAIM", "my-spaces")])
        .await?;
    let http = reqwest::Client::new();
    let get = |path: &str| http.get(format!("{}{path}", gateway.url));

    let answer = get("/console").send().await?.error_for_status()?;
    let policy = answer.headers()["content-security-policy"].to_str()?;
    for rule in [
        "default-src 'none'",
        "script-src 'self';",
        "style-src 'self';",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let page = answer.text().await?;
    for attribute in ["href=\"", "src=\""] {
        let values = page.split(attribute).skip(1);
        let from_here = |value: &str| {
            ["/console/", "#", "data:,"]
                .iter()
                .any(|here| value.starts_with(here))
        };
        assert!(values.into_iter().all(from_here), "{page}");
    }
    for part in page.split('"').filter(|part| part.starts_with("/console/")) {
        let answer = get(part).send().await?.error_for_status()?;
        let tag = answer.headers()["etag"].clone();
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert!(!answer.bytes().await?.is_empty(), "{part}");
        let again = get(part).header("if-none-match", tag).send().await?;
        assert_eq!(again.status(), 304, "{part}");
    }
    let settings = get("/console/settings.js").send().await?.text().await?;
    assert!(
        settings.contains(r#""spacesClaim":"my-spaces""#),
        "{settings}"
    );
    Ok(())
}

/// A folder with files in place of GraphiQL's.
fn graphiql_folder(stack: &Stack) -> anyhow::Result<PathBuf> {
    let files = stack.servers.logs.join(format!("{}-graphiql", stack.vhost));
    for file in [
        "graphiql/graphiql.min.css",
        "graphiql/graphiql.min.js",
        "react/umd/react.production.min.js",
        "react-dom/umd/react-dom.production.min.js",
    ] {
        let path = files.join(file);
        std::fs::create_dir_all(path.parent().unwrap_or(&files))?;
        std::fs::write(path, format!("/* {file} */"))?;
    }
    Ok(files)
}

/// The token that GraphiQL's page is filled with, from the page's script.
fn filled_in_token(script: &str) -> anyhow::Result<String> {
    let (_, rest) = script.split_once("const filledIn = ").unwrap_or_default();
    let filled_in: Value = serde_json::from_str(rest.split_once(";\n").unwrap_or_default().0)?;
    let token = filled_in["headers"]["Authorization"].as_str();
    Ok(token.unwrap_or_default().to_owned())
}

#[tokio::test]
async fn developer_mode_shows_more() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let folder = graphiql_folder(&stack)?.display().to_string();
    let dev = stack
        .ready_gateway(&[("GATEWAY_DEV", "true"), ("GRAPHIQL_DIR", &folder)])
        .await?;
    let production = stack.ready_gateway(&[("GRAPHIQL_DIR", &folder)]).await?;
    let schema = "{ __schema { queryType { name } } }";
    let get = async |gateway: &Process, path: &str| -> anyhow::Result<(u16, String)> {
        let answer = reqwest::get(format!("{}{path}", gateway.url)).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    };

    let (status, page) = get(&dev, "/").await?;
    assert_eq!(status, 200);
    assert!(
        !page.contains("://"),
        "it needs nothing from elsewhere: {page}"
    );
    for part in page
        .split('"')
        .filter(|part| part.starts_with("/graphiql/"))
    {
        let (status, content) = get(&dev, part).await?;
        assert_eq!((status, content.is_empty()), (200, false), "{part}");
    }
    // The token that the page is filled with lets it in.
    let (_, script) = get(&dev, "/graphiql/page.js").await?;
    let token = filled_in_token(&script)?;
    let api = Api::new(&dev.url, SPACE)?.with("authorization", token);
    let answer = api.execute(schema, Value::Null).await?;
    assert_eq!(answer.record()?["queryType"]["name"], "Query");

    assert_eq!(get(&production, "/").await?.0, 404);
    assert_eq!(get(&production, "/graphiql/page.js").await?.0, 404);
    let answer = Api::new(&production.url, SPACE)?
        .execute(schema, Value::Null)
        .await?;
    assert_ne!(
        answer.body["data"]["__schema"]["queryType"]["name"], "Query",
        "{}",
        answer.body
    );
    let typo = json!({ "query": "{ IPackInstanceOAuthConnectorDetail }" }).to_string();
    let mut suggestions = Vec::new();
    for gateway in [&dev, &production] {
        let answer = Api::new(&gateway.url, SPACE)?.post(typo.clone()).await?;
        suggestions.push(
            answer
                .body
                .to_string()
                .contains("IPackInstanceOAuthConnectorDetails?"),
        );
    }
    assert_eq!(suggestions, [true, false], "suggestions are for developers");
    Ok(())
}
