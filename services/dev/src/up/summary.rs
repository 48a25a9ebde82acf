//! The addresses and pids of the running stack, as variables of `stack.env` and as text.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use gateway::{
    auth::dev_token,
    http::pages::graphiql::{SAMPLE, SPACE},
};

const TOKEN_LIFETIME: Duration = Duration::from_hours(24);

pub(super) struct Summary {
    pub gateways: Vec<Instance>,
    pub workers: Vec<Instance>,
    pub database_url: String,
    pub amqp_url: String,
    pub management_url: Option<String>,
    pub token: String,
    pub logs: PathBuf,
    pub data: Option<PathBuf>,
    pub postgres_pid: Option<u32>,
    pub rabbitmq_pid: Option<u32>,
}

/// A gateway or a worker.
pub(super) struct Instance {
    pub port: u16,
    pub metrics_port: u16,
    pub pid: Option<u32>,
}

impl Summary {
    /// A token for the developer.
    pub(super) fn token(jwt_secret: &str) -> anyhow::Result<String> {
        dev_token::sign(jwt_secret, SPACE, "developer", TOKEN_LIFETIME)
    }

    /// The variables of `stack.env`.
    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Path| path.display().to_string();
        let first_pid = |instances: &[Instance]| pid(instances.first().and_then(|it| it.pid));
        vec![
            ("GATEWAY_URL", self.gateway_url()),
            ("GATEWAY_URLS", urls(&self.gateways)),
            ("WORKER_URLS", urls(&self.workers)),
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
            ("GATEWAY_PID", first_pid(&self.gateways)),
            ("GATEWAY_PIDS", pids(&self.gateways)),
            ("WORKER_PID", first_pid(&self.workers)),
            ("WORKER_PIDS", pids(&self.workers)),
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
        self.gateways
            .first()
            .map(|gateway| url(gateway.port))
            .unwrap_or_default()
    }

    /// The URLs that Prometheus scrapes.
    fn metrics_urls(&self) -> Vec<String> {
        let services = self.gateways.iter().chain(&self.workers);
        services
            .map(|service| format!("{}/metrics", url(service.metrics_port)))
            .collect()
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn urls(instances: &[Instance]) -> String {
    let urls: Vec<_> = instances.iter().map(|it| url(it.port)).collect();
    urls.join(",")
}

fn pid(pid: Option<u32>) -> String {
    pid.map(|pid| pid.to_string()).unwrap_or_default()
}

fn pids(instances: &[Instance]) -> String {
    let pids: Vec<_> = instances.iter().map(|it| pid(it.pid)).collect();
    pids.join(",")
}
