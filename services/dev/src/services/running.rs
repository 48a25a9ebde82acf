//! Running gateways and workers.

use anyhow::ensure;

use super::ServiceConfig;
use crate::{
    paths::free_port,
    servers::ready,
    supervisor::{Supervised, Supervisor},
};

/// A running gateway or worker.
#[derive(Debug, Clone)]
pub struct Service {
    /// The program.
    pub program: Supervised,
    /// The port of its HTTP server.
    pub port: u16,
    /// The port of its metrics; a worker has one port for both.
    pub metrics_port: u16,
}

impl Service {
    /// The URL of its HTTP server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// Running gateways and workers.
#[derive(Debug, Clone, Default)]
pub struct Services {
    /// The gateways. Each has a port of its own.
    pub gateways: Vec<Service>,
    /// The workers. One is active, the others are on standby.
    pub workers: Vec<Service>,
}

impl Services {
    /// Starts workers and gateways, and does not wait for them. Gateways take `first_port` and those that
    /// follow it; other ports if these are taken, or without a first port.
    ///
    /// # Errors
    /// A program does not start.
    pub fn start(
        config: &ServiceConfig,
        supervisor: &Supervisor,
        gateways: u16,
        workers: u16,
        first_port: Option<u16>,
    ) -> anyhow::Result<Self> {
        let mut services = Self::default();
        for index in 0..workers {
            let port = free_port(None)?;
            let worker = config.worker(&numbered("worker", index), port);
            services.workers.push(Service {
                program: supervisor.start(worker)?,
                port,
                metrics_port: port,
            });
        }
        for index in 0..gateways {
            let port = free_port(first_port.and_then(|first| first.checked_add(index)))?;
            let metrics_port = free_port(None)?;
            let gateway = config.gateway(&numbered("gateway", index), port, metrics_port);
            services.gateways.push(Service {
                program: supervisor.start(gateway)?,
                port,
                metrics_port,
            });
        }
        Ok(services)
    }

    /// All of them, the gateways first.
    pub fn all(&self) -> impl Iterator<Item = &Service> {
        self.gateways.iter().chain(&self.workers)
    }

    /// Waits until all of them are ready.
    ///
    /// # Errors
    /// One of them is not ready within two minutes.
    pub async fn ready(&self) -> anyhow::Result<()> {
        for service in self.workers.iter().chain(&self.gateways) {
            let url = format!("{}/health/ready", service.url());
            ready(&service.program.name, async || {
                let health = reqwest::get(&url).await?.error_for_status()?.text().await?;
                ensure!(health.contains("\"ready\""), "{health}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

fn numbered(name: &str, index: u16) -> String {
    match index {
        0 => name.to_owned(),
        _ => format!("{name}-{}", index + 1),
    }
}
