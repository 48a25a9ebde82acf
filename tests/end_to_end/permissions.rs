//! Each role has the broker permissions of `deploy/rabbitmq/definitions.json`: they are enough, and
//! without any one of them something does not work.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use lapin::options::BasicPublishOptions;
use proto::amqp::topology;
use serde_json::{Value, json};
use tests::{
    api::{Api, SECRET, SPACE, sample, sample_with},
    eventually,
    publisher::Publisher,
    sse::Subscription,
    stack::{Process, Stack},
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const KINDS: [&str; 3] = ["configure", "write", "read"];
/// With all permissions it takes a second or two; on a busy machine more.
const PATIENCE: Duration = Duration::from_mins(1);

/// The permissions of a role: for each kind, the alternatives of its pattern.
type Permissions = BTreeMap<&'static str, Vec<String>>;

fn shipped(role: &str) -> anyhow::Result<Permissions> {
    let file = dev::paths::repository().join("deploy/rabbitmq/definitions.json");
    let definitions: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let all = definitions["permissions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let of_role = all.iter().find(|it| it["user"] == role);
    let pattern = |kind: &str| {
        let pattern = of_role.and_then(|it| it[kind].as_str()).unwrap_or_default();
        let inner = pattern.trim_start_matches('^').trim_end_matches('$');
        let inner = inner.trim_start_matches('(').trim_end_matches(')');
        let parts = inner.split('|').filter(|part| !part.is_empty());
        parts.map(ToOwned::to_owned).collect()
    };
    Ok(KINDS.map(|kind| (kind, pattern(kind))).into())
}

async fn put(stack: &Stack, path: &str, body: Value) -> anyhow::Result<()> {
    let url = format!("{}/api/{path}", stack.servers.management_url);
    let put = reqwest::Client::new()
        .put(url)
        .header("content-type", "application/json")
        .body(body.to_string());
    put.send().await?.error_for_status()?;
    Ok(())
}

/// A user of the stack's own with these permissions, and its way to the broker.
async fn user(stack: &Stack, role: &str, permissions: &Permissions) -> anyhow::Result<String> {
    let name = format!("{}-{role}", stack.vhost);
    put(
        stack,
        &format!("users/{name}"),
        json!({ "password": role, "tags": "" }),
    )
    .await?;
    let pattern = |kind: &str| format!("^({})$", permissions[kind].join("|"));
    let patterns: serde_json::Map<String, Value> = KINDS
        .iter()
        .map(|kind| ((*kind).to_owned(), pattern(kind).into()))
        .collect();
    let path = format!("permissions/{}/{name}", stack.vhost);
    put(stack, &path, patterns.into()).await?;
    let mut url = reqwest::Url::parse(&stack.amqp_url)?;
    let set = url.set_username(&name).and(url.set_password(Some(role)));
    set.map_err(|()| anyhow::anyhow!("no user can be set"))?;
    Ok(url.into())
}

/// A worker and a gateway with the permissions of their roles.
async fn with_permissions(
    stack: &Stack,
    urls: &BTreeMap<&str, String>,
) -> anyhow::Result<(Process, Process)> {
    let worker = stack.worker_with(vec![("AMQP_URL", urls["worker"].clone())])?;
    worker.becomes("ready").await?;
    let gateway = stack.gateway_with(vec![
        ("AMQP_URL", urls["gateway"].clone()),
        ("JWT_SECRET", SECRET.to_owned()),
    ])?;
    gateway.becomes("ready").await?;
    Ok((worker, gateway))
}

/// Publishes a command as the broker does that gave up on it.
async fn publish_dead(operator: &Publisher, body: &str) -> anyhow::Result<()> {
    let publishing = operator.channel.basic_publish(
        topology::DEAD_LETTERS.into(),
        topology::DEAD_LETTER.into(),
        BasicPublishOptions::default(),
        body.as_bytes(),
        Publisher::properties("dead"),
    );
    publishing.await?.await?;
    Ok(())
}

/// Everything that the three roles do together, one of them with these permissions.
async fn work(role: &str, permissions: &Permissions) -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let mut urls = BTreeMap::new();
    for other in ["gateway", "worker", "publisher"] {
        let permissions = if other == role {
            permissions
        } else {
            &shipped(other)?
        };
        urls.insert(other, user(&stack, other, permissions).await?);
    }
    let (_worker, gateway) = with_permissions(&stack, &urls).await?;
    let operator = stack.publisher().await?.listening("test.events").await?;
    let api = Api::new(&gateway.url, SPACE)?;
    api.save(&sample()).await?.record()?;
    Subscription::start(&api).await?;
    operator.take("test.events").await?;

    // Another service: one that is saved, and one that is refused and parked.
    let uri = urls["publisher"].parse().map_err(anyhow::Error::msg)?;
    let mut publisher = Publisher::connect_only(&uri).await?;
    for (id, env) in [("good", "2"), ("bad", "")] {
        let body = sample_with("envId", env).to_string();
        publisher.publish(body, Publisher::properties(id)).await?;
        publisher.reply(id).await?;
    }
    // And one that the broker gave up on, from the broker's own hand.
    publish_dead(&operator, &sample().to_string()).await?;
    for _ in ["bad", "dead"] {
        eventually("both to be parked", async || {
            Ok(operator.get(topology::PARKED).await?.map(drop))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_has_only_the_permissions_it_needs() -> anyhow::Result<()> {
    let mut narrower = Vec::new();
    for role in ["gateway", "worker", "publisher"] {
        let shipped = shipped(role)?;
        timeout(PATIENCE, work(role, &shipped)).await??;
        for kind in KINDS {
            for without in 0..shipped[kind].len() {
                let mut fewer = shipped.clone();
                let removed = fewer.get_mut(kind).map(|parts| parts.remove(without));
                narrower.push((role, kind, removed.unwrap_or_default(), fewer));
            }
        }
    }

    // Somebody with all permissions among them says how long it takes in this crowd; the others are
    // given three times that, so that none is taken for failed that was only slow.
    let (judged, all) = (CancellationToken::new(), shipped("gateway")?);
    let control = async {
        // However it ends, the others are not waited for any longer.
        let _judged = judged.clone().drop_guard();
        let started = Instant::now();
        timeout(PATIENCE, work("gateway", &all)).await??;
        sleep(started.elapsed() * 2).await;
        anyhow::Ok(())
    };
    let judged = &judged;
    let narrower = narrower
        .into_iter()
        .map(|(role, kind, removed, fewer)| async move {
            let worked = judged
                .run_until_cancelled(Box::pin(work(role, &fewer)))
                .await;
            let worked = matches!(worked, Some(Ok(())));
            worked.then(|| format!("{role} needs no {kind} of {removed}"))
        });
    let (control, needless) = tokio::join!(control, join_all(narrower));
    control?;

    let needless: Vec<_> = needless.into_iter().flatten().collect();
    assert!(needless.is_empty(), "{needless:?}");
    Ok(())
}

/// How long saves may be refused after something was deleted.
const AGAIN: Duration = Duration::from_secs(10);

/// Waits until the subscription reports the save, or that changes may have been missed.
async fn until_reported(
    subscription: &mut Subscription,
    api: &Api,
    saved: &Value,
) -> anyhow::Result<()> {
    loop {
        let change = subscription.change().await?;
        if change["kind"] == "MISSED" || change["record"]["revision"] == saved["revision"] {
            return Ok(());
        }
        api.save(&sample()).await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_queues_and_exchanges_are_declared_again_with_minimal_permissions()
-> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let mut urls = BTreeMap::new();
    for role in ["gateway", "worker"] {
        urls.insert(role, user(&stack, role, &shipped(role)?).await?);
    }
    let (_worker, gateway) = with_permissions(&stack, &urls).await?;
    let api = Api::new(&gateway.url, SPACE)?;
    let mut subscription = Subscription::start(&api).await?;
    api.save(&sample()).await?.record()?;

    let exchanges = [topology::COMMANDS, topology::DEAD_LETTERS, topology::EVENTS];
    let queues = [
        topology::QUEUE,
        topology::DEAD,
        topology::PARKED,
        topology::UNREADABLE,
    ];
    let exchanges = exchanges.map(|name| format!("exchanges/{}/{name}", stack.vhost));
    let queues = queues.map(|name| format!("queues/{}/{name}", stack.vhost));
    for path in exchanges.iter().chain(&queues) {
        let url = format!("{}/api/{path}", stack.servers.management_url);
        let deleted = reqwest::Client::new().delete(url).send().await?;
        deleted.error_for_status()?;
        let started = Instant::now();
        eventually(&format!("{path} to come back"), async || {
            Ok(stack.broker(path).await.ok().map(drop))
        })
        .await?;
        let saved = eventually("saves to work again", async || {
            Ok(api.save(&sample()).await?.record().ok())
        })
        .await?;
        assert!(started.elapsed() < AGAIN, "{path}: {:?}", started.elapsed());
        timeout(AGAIN, until_reported(&mut subscription, &api, &saved)).await??;
    }

    // Rejected and dead-lettered commands are still parked.
    let operator = stack.publisher().await?;
    let bad = sample_with("envId", "").to_string();
    operator.publish(bad, Publisher::properties("bad")).await?;
    operator.take(topology::PARKED).await?;
    publish_dead(&operator, "{}").await?;
    operator.take(topology::PARKED).await?;
    Ok(())
}
