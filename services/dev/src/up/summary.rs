//! The addresses and pids of the running stack, as variables of `stack.env` and as text.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use gateway::{
    auth::dev_token,
    http::pages::graphiql::{SAMPLE, SPACE},
};

use crate::services::{Service, Services};

const TOKEN_LIFETIME: Duration = Duration::from_hours(24);

pub(super) struct Summary {
    pub services: Services,
    pub database_url: String,
    pub amqp_url: String,
    pub management_url: Option<String>,
    pub token: String,
    pub logs: PathBuf,
    pub data: Option<PathBuf>,
    pub postgres_pid: Option<u32>,
    pub rabbitmq_pid: Option<u32>,
}

impl Summary {
    /// A token for the developer.
    pub(super) fn token(jwt_secret: &str) -> anyhow::Result<String> {
        dev_token::sign(jwt_secret, SPACE, "developer", TOKEN_LIFETIME)
    }

    /// The variables of `stack.env`.
    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Path| path.display().to_string();
        let Services { gateways, workers } = &self.services;
        let first_pid = |services: &[Service]| pids(&services[..services.len().min(1)]);
        vec![
            ("GATEWAY_URL", self.gateway_url()),
            ("GATEWAY_URLS", urls(gateways)),
            ("WORKER_URLS", urls(workers)),
            ("METRICS_URLS", self.metrics_urls().join(",")),
            ("DATABASE_URL", self.database_url.clone()),
            ("AMQP_URL", self.amqp_url.clone()),
            (
                "MANAGEMENT_URL",
                self.management_url.clone().unwrap_or_default(),
            ),
            ("SPACE_GUID", SPACE.to_owned()),
            ("TOKEN", self.token.clone()),
            ("LOG_DIR", path(&self.logs)),
            (
                "DATA_DIR",
                self.data.as_deref().map(path).unwrap_or_default(),
            ),
            ("GATEWAY_PID", first_pid(gateways)),
            ("GATEWAY_PIDS", pids(gateways)),
            ("WORKER_PID", first_pid(workers)),
            ("WORKER_PIDS", pids(workers)),
            ("POSTGRES_PID", pid(self.postgres_pid)),
            ("RABBITMQ_PID", pid(self.rabbitmq_pid)),
        ]
    }

    /// The text that `cargo dev` prints when the stack is ready.
    pub(super) fn greeting(&self, stack_env: &Path) -> String {
        let (gateway, token) = (self.gateway_url(), &self.token);
        let body = serde_json::json!({ "query": SAMPLE });
        format!(
            "\nConnector Details is ready.\n\n  \
               GraphQL  {gateway}/graphql\n  \
               console  {gateway}/console#token={token}\n  \
               GraphiQL {gateway}/\n  \
               metrics  {}\n  \
               files    {}\n  \
               token    {token}\n\n\
             Paste this into another terminal to save the published sample:\n\n\
             curl -s {gateway}/graphql -H 'SPACE_GUID: {SPACE}' \\\n  \
               -H 'Content-Type: application/json' \\\n  \
               -H 'Authorization: Bearer {token}' \\\n  \
               --data-binary @- <<'EOF'\n{body}\nEOF\n\n\
             Ctrl-C stops everything; the data stays.",
            self.metrics_urls().join(" "),
            stack_env.display(),
        )
    }

    fn gateway_url(&self) -> String {
        let first = self.services.gateways.first();
        first.map(Service::url).unwrap_or_default()
    }

    /// The URLs that Prometheus scrapes.
    fn metrics_urls(&self) -> Vec<String> {
        let url = |service: &Service| format!("http://127.0.0.1:{}/metrics", service.metrics_port);
        self.services.all().map(url).collect()
    }
}

fn urls(services: &[Service]) -> String {
    let urls: Vec<_> = services.iter().map(Service::url).collect();
    urls.join(",")
}

fn pid(pid: Option<u32>) -> String {
    pid.map(|pid| pid.to_string()).unwrap_or_default()
}

fn pids(services: &[Service]) -> String {
    let pids = services.iter().map(|it| pid(*it.program.pid.borrow()));
    pids.collect::<Vec<_>>().join(",")
}
