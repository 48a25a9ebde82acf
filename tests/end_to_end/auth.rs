//! Who is let in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tests::{
    api::{Api, SECRET, SPACE, sample},
    eventually,
    keys::{Issuer, claims},
    stack::{Process, Stack},
};

fn shared(claims: &Value) -> anyhow::Result<String> {
    Ok(encode(
        &Header::default(),
        claims,
        &EncodingKey::from_secret(SECRET.as_bytes()),
    )?)
}

async fn gate(
    stack: &Stack,
    variables: Vec<(&'static str, String)>,
) -> anyhow::Result<(Process, Api)> {
    let gateway = stack.gateway_with(variables)?;
    gateway.becomes("ready").await?;
    let api = Api::new(&gateway.url, SPACE)?;
    Ok((gateway, api))
}

async fn status(api: &Api, token: &str) -> anyhow::Result<u16> {
    Ok(api
        .with("authorization", format!("Bearer {token}"))
        .find(&sample())
        .await?
        .status)
}

/// A token with one claim changed.
fn with_claim(claim: &str, value: Value) -> anyhow::Result<String> {
    let mut changed = claims(SPACE);
    changed[claim] = value;
    shared(&changed)
}

/// Tokens that must be refused. `good` is a valid token, `now` is in seconds.
fn invalid_tokens(good: &str, now: u64) -> anyhow::Result<[(&'static str, String); 10]> {
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let payload = good.split('.').nth(1).unwrap_or_default();
    Ok([
        ("expired", with_claim("exp", json!(now - 60))?),
        ("without exp", with_claim("exp", Value::Null)?),
        ("exp as a string", with_claim("exp", json!("4102444800"))?),
        ("not yet valid", with_claim("nbf", json!(now + 600))?),
        ("without sub", with_claim("sub", Value::Null)?),
        ("blank sub", with_claim("sub", json!(" "))?),
        (
            "of another secret",
            encode(
                &Header::default(),
                &claims(SPACE),
                &EncodingKey::from_secret(b"another secret of thirty-two bytes"),
            )?,
        ),
        (
            "of another algorithm",
            encode(
                &Header::new(Algorithm::HS512),
                &claims(SPACE),
                &EncodingKey::from_secret(SECRET.as_bytes()),
            )?,
        ),
        ("unsigned", format!("{none}.{payload}.")),
        ("no token", "x".to_owned()),
    ])
}

#[tokio::test]
async fn a_token_with_invalid_claims_or_signature_is_refused() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let (_gateway, api) = gate(&stack, vec![("JWT_SECRET", SECRET.to_owned())]).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let good = shared(&claims(SPACE))?;

    assert_eq!(status(&api, &good).await?, 200);
    let one_space = with_claim("spaces", json!(SPACE))?;
    assert_eq!(status(&api, &one_space).await?, 200);
    let fractional = with_claim("exp", json!(4_102_444_800.5))?;
    assert_eq!(status(&api, &fractional).await?, 200);
    assert_eq!(
        status(&api, &with_claim("exp", json!(now - 10))?).await?,
        200,
        "within the leeway"
    );
    for (name, token) in invalid_tokens(&good, now)? {
        let answer = api
            .with("authorization", format!("Bearer {token}"))
            .find(&sample())
            .await?;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "UNAUTHENTICATED"),
            "{name}"
        );
    }
    assert_eq!(status(&api, &with_claim("spaces", json!([]))?).await?, 403);
    assert_eq!(
        status(&api, &with_claim("spaces", Value::Null)?).await?,
        403
    );
    Ok(())
}

#[tokio::test]
async fn the_headers_are_required_once() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let (_gateway, api) = gate(&stack, vec![("JWT_SECRET", SECRET.to_owned())]).await?;

    let no_space = api.without("space_guid").find(&sample()).await?;
    let other_name = api
        .without("space_guid")
        .with("space-guid", SPACE)
        .find(&sample())
        .await?;
    let both_names = api.with("space-guid", SPACE).find(&sample()).await?;
    let twice = [
        api.and("space_guid", SPACE).find(&sample()).await?,
        api.and("authorization", "Bearer x").find(&sample()).await?,
        both_names,
    ];
    let no_token = api.without("authorization").find(&sample()).await?;
    let other_scheme = api
        .with("authorization", "Basic eDp5")
        .find(&sample())
        .await?;

    assert_eq!(
        (no_space.status, no_space.code().as_str()),
        (400, "BAD_REQUEST")
    );
    assert_eq!(other_name.status, 200);
    for answer in twice {
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "BAD_REQUEST")
        );
    }
    assert_eq!(
        (no_token.status, no_token.code().as_str()),
        (401, "UNAUTHENTICATED")
    );
    assert_eq!(other_scheme.status, 401);
    Ok(())
}

/// A token signed with the public key as a shared secret.
fn forged(public_key: &Value, claims: &Value) -> anyhow::Result<String> {
    let public = public_key.to_string();
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("ec".to_owned());
    let key = EncodingKey::from_secret(public.as_bytes());
    Ok(encode(&header, claims, &key)?)
}

#[tokio::test]
async fn keys_can_be_read_from_a_jwks_file() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let issuers = [
        Issuer::new(Algorithm::RS256, "rsa")?,
        Issuer::new(Algorithm::ES256, "ec")?,
        Issuer::new(Algorithm::EdDSA, "ed")?,
    ];
    let stranger = Issuer::new(Algorithm::ES256, "ec")?;
    let unknown = Issuer::new(Algorithm::EdDSA, "unknown")?;
    let keys: Vec<Value> = issuers
        .iter()
        .map(Issuer::jwk)
        .collect::<anyhow::Result<_>>()?;
    let file = stack.servers.logs.join(format!("{}.jwks", stack.vhost));
    std::fs::write(&file, json!({ "keys": keys }).to_string())?;
    let (_gateway, api) = gate(
        &stack,
        vec![
            ("JWKS_FILE", file.display().to_string()),
            ("JWT_ISSUER", "the platform".to_owned()),
            ("JWT_AUDIENCE", "connector-details".to_owned()),
            ("JWT_SPACES_CLAIM", "https://platform/spaces".to_owned()),
        ],
    )
    .await?;
    let mut claims = claims(SPACE);
    claims["iss"] = "the platform".into();
    claims["aud"] = json!(["connector-details", "other"]);
    claims["https://platform/spaces"] = claims["spaces"].take();

    for issuer in &issuers {
        assert_eq!(status(&api, &issuer.sign(&claims)?).await?, 200);
    }
    assert_eq!(status(&api, &stranger.sign(&claims)?).await?, 401);
    assert_eq!(status(&api, &unknown.sign(&claims)?).await?, 401);
    // The public key as a shared secret: the oldest trick.
    let forged = forged(&keys[1], &claims)?;
    assert_eq!(status(&api, &forged).await?, 401);
    for claim in ["iss", "aud"] {
        let mut other = claims.clone();
        other[claim] = "another".into();
        assert_eq!(
            status(&api, &issuers[0].sign(&other)?).await?,
            401,
            "{claim}"
        );
        other[claim] = Value::Null;
        assert_eq!(
            status(&api, &issuers[0].sign(&other)?).await?,
            401,
            "{claim}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_gateway_waits_for_a_slow_jwks_url() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let issuer = Issuer::new(Algorithm::ES256, "ec")?;
    let body = json!({ "keys": [issuer.jwk()?] }).to_string();
    let port = dev::paths::free_port(None)?;
    let url = format!("http://127.0.0.1:{port}/jwks");
    let gateway = stack.gateway_with(vec![("JWKS_URL", url)])?;
    gateway.becomes("not ready").await?;
    let api = Api::new(&gateway.url, SPACE)?;
    let token = issuer.sign(&claims(SPACE))?;

    assert_eq!(
        status(&api, &token).await?,
        503,
        "nothing can be said about any token"
    );
    // The gateway reads the keys again after a few seconds; JWKS_PAUSE is a minute.
    serve(port, body).await?;
    gateway.becomes("ready").await?;

    assert_eq!(status(&api, &token).await?, 200);
    Ok(())
}

#[tokio::test]
async fn keys_rotate_and_survive_a_limited_outage() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let (old, new) = (
        Issuer::new(Algorithm::ES256, "old")?,
        Issuer::new(Algorithm::ES256, "new")?,
    );
    let file = stack.servers.logs.join(format!("{}.jwks", stack.vhost));
    let publish = |issuers: &[&Issuer]| -> anyhow::Result<()> {
        let keys: Vec<Value> = issuers
            .iter()
            .map(|it| it.jwk())
            .collect::<anyhow::Result<_>>()?;
        Ok(std::fs::write(&file, json!({ "keys": keys }).to_string())?)
    };
    publish(&[&old])?;
    let variables = vec![
        ("JWKS_FILE", file.display().to_string()),
        ("JWKS_PAUSE", "1s".to_owned()),
        ("JWKS_MAX_AGE", "9s".to_owned()),
    ];
    let (gateway, api) = gate(&stack, variables).await?;
    let (by_old, by_new) = (old.sign(&claims(SPACE))?, new.sign(&claims(SPACE))?);
    assert_eq!(status(&api, &by_old).await?, 200);

    publish(&[&new])?;
    eventually("the new key to be used", async || {
        Ok((status(&api, &by_new).await? == 200).then_some(()))
    })
    .await?;
    assert_eq!(status(&api, &by_old).await?, 401, "it was withdrawn");

    // The source is away: what is known is used, and then no more.
    std::fs::remove_file(&file)?;
    assert_eq!(status(&api, &by_new).await?, 200);
    gateway.becomes("not ready").await?;
    assert_eq!(status(&api, &by_new).await?, 503);
    publish(&[&new])?;
    gateway.becomes("ready").await?;
    assert_eq!(status(&api, &by_new).await?, 200);
    Ok(())
}

#[tokio::test]
async fn a_key_set_without_a_usable_key_does_not_replace_valid_keys() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let (good, other) = (
        Issuer::new(Algorithm::ES256, "good")?,
        Issuer::new(Algorithm::ES256, "other")?,
    );
    let file = stack.servers.logs.join(format!("{}.jwks", stack.vhost));
    let publish = |keys: &[Value]| std::fs::write(&file, json!({ "keys": keys }).to_string());
    publish(&[good.jwk()?])?;
    let variables = vec![
        ("JWKS_FILE", file.display().to_string()),
        ("JWKS_PAUSE", "0s".to_owned()),
    ];
    let (gateway, api) = gate(&stack, variables).await?;
    let (by_good, by_other) = (good.sign(&claims(SPACE))?, other.sign(&claims(SPACE))?);
    let mut for_encryption = other.jwk()?;
    for_encryption["use"] = "enc".into();

    for useless in [vec![], vec![for_encryption]] {
        publish(&useless)?;
        // Its key is not known, and so the set is read again.
        assert_eq!(status(&api, &by_other).await?, 401);
        assert_eq!(status(&api, &by_good).await?, 200);
    }
    let log = std::fs::read_to_string(&gateway.log)?;
    assert!(log.contains("the keys can't be read"), "{log}");
    publish(&[other.jwk()?])?;
    assert_eq!(status(&api, &by_other).await?, 200);
    Ok(())
}

#[tokio::test]
async fn an_unknown_key_id_causes_few_key_requests() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let (issuer, stranger) = (
        Issuer::new(Algorithm::EdDSA, "a")?,
        Issuer::new(Algorithm::EdDSA, "b")?,
    );
    let body = json!({ "keys": [issuer.jwk()?] }).to_string();
    let port = dev::paths::free_port(None)?;
    let asked = serve(port, body).await?;
    let url = format!("http://127.0.0.1:{port}/jwks");
    let variables = vec![("JWKS_URL", url), ("JWKS_PAUSE", "2s".to_owned())];
    let (_gateway, api) = gate(&stack, variables).await?;
    let token = stranger.sign(&claims(SPACE))?;
    let at_start = asked.load(Ordering::Relaxed);
    eventually("a read of the keys after the pause", async || {
        assert_eq!(status(&api, &token).await?, 401);
        Ok((asked.load(Ordering::Relaxed) > at_start).then_some(()))
    })
    .await?;
    let before = asked.load(Ordering::Relaxed);

    let answers = (0..30).map(|_| status(&api, &token));
    let answers = futures_util::future::try_join_all(answers).await?;

    assert!(answers.iter().all(|status| *status == 401), "{answers:?}");
    // The pause may be over in between, once.
    assert!(asked.load(Ordering::Relaxed) <= before + 1);
    Ok(())
}

#[tokio::test]
async fn an_oversized_token_is_refused_without_parsing() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let (_gateway, api) = gate(&stack, vec![("JWT_SECRET", SECRET.to_owned())]).await?;
    let with_padding = |length: usize| {
        let mut claims = claims(SPACE);
        claims["padding"] = "x".repeat(length).into();
        shared(&claims)
    };

    let (short, long) = (with_padding(5_000)?, with_padding(8_000)?);

    assert!(short.len() < 8192 && long.len() > 8192);
    assert_eq!(status(&api, &short).await?, 200);
    assert_eq!(status(&api, &long).await?, 401);
    Ok(())
}

/// Answers every request with one body, until the test ends, and counts them.
async fn serve(port: u16, body: String) -> anyhow::Result<Arc<AtomicUsize>> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let mut request = [0; 4096];
            let _ = socket.read(&mut request).await;
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    Ok(asked)
}
