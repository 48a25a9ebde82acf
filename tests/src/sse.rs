//! A client of subscriptions over server-sent events.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::api::{Api, sample_with};

/// The subscription.
pub const CHANGED: &str = "subscription {
    connectorDetailsChanged { kind record { id revision connectionId oauthConnectorDetails } }
}";

/// An open stream of events.
pub struct Subscription {
    response: reqwest::Response,
    read: String,
}

impl Subscription {
    /// Subscribes, and saves until a change arrives. From then on every change arrives.
    ///
    /// # Errors
    /// The gateway refuses, or no change arrives.
    pub async fn start(api: &Api) -> anyhow::Result<Self> {
        let mut subscription = Self::of(api, CHANGED).await?;
        for _ in 0..100 {
            let probe = sample_with("connectionId", "probe");
            let saved = api.save(&probe).await?.record()?;
            while let Ok(change) = timeout(Duration::from_millis(300), subscription.change()).await
            {
                if change?["record"]["revision"] == saved["revision"] {
                    return Ok(subscription);
                }
            }
        }
        anyhow::bail!("no change arrived")
    }

    /// Subscribes with a document.
    ///
    /// # Errors
    /// The gateway refuses.
    pub async fn of(api: &Api, document: &str) -> anyhow::Result<Self> {
        let response = api.stream(json!({ "query": document })).await?;
        ensure!(
            response.headers()["content-type"] == "text/event-stream",
            "{}",
            response.text().await?
        );
        Ok(Self {
            response,
            read: String::new(),
        })
    }

    /// The name and data of the next event. Comments, which keep the connection alive, are skipped.
    ///
    /// # Errors
    /// The stream ends, or sends nothing for half a minute.
    pub async fn next(&mut self) -> anyhow::Result<(String, Value)> {
        loop {
            if let Some(end) = self.read.find("\n\n") {
                let event: String = self.read.drain(..end + 2).collect();
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
                };
                if let Some(name) = field("event:") {
                    let data = field("data:").unwrap_or_default();
                    return Ok((name, serde_json::from_str(&data).unwrap_or_default()));
                }
                continue;
            }
            let chunk = timeout(Duration::from_secs(30), self.response.chunk()).await;
            let chunk = chunk
                .context("no change arrived")??
                .context("the stream ended")?;
            self.read.push_str(std::str::from_utf8(&chunk)?);
        }
    }

    /// The next change.
    ///
    /// # Errors
    /// As [`Subscription::next`]; or the event has errors.
    pub async fn change(&mut self) -> anyhow::Result<Value> {
        let (name, data) = self.next().await?;
        ensure!(name == "next" && data["errors"].is_null(), "{name}: {data}");
        Ok(data["data"]["connectorDetailsChanged"].clone())
    }
}
