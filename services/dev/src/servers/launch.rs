//! Starts private servers: in Docker, or those that are installed on this machine.

use std::path::{Path, PathBuf};

use super::source::Source;
use crate::{
    docker, install,
    native_servers::{BrokerPorts, NativeServers},
    orphans,
    paths::free_port,
    state::State,
    supervisor::{Program, Supervised, Supervisor},
};

/// Servers that were started and may not be ready yet.
pub(super) struct Launched {
    pub ports: Ports,
    pub data: PathBuf,
    pub programs: Vec<Supervised>,
    pub rabbitmqctl: Rabbitmqctl,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub postgres: u16,
    pub amqp: u16,
    pub management: u16,
}

/// How to run `rabbitmqctl`.
#[derive(Debug, Clone)]
pub(super) struct Rabbitmqctl {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub variables: Vec<(&'static str, String)>,
}

/// The programs to start, in this order.
struct Plan {
    programs: Vec<Program>,
    /// The names of their containers.
    containers: Vec<String>,
    rabbitmqctl: Rabbitmqctl,
}

/// Starts the servers in Docker or natively. Missing packages are installed.
pub(super) async fn launch(
    source: Option<Source>,
    folder: &Path,
    state: &mut State,
    supervisor: &Supervisor,
) -> anyhow::Result<Launched> {
    let in_docker = Source::is_docker(source).await?;
    // Containers have other versions and other users, so their data is in another folder.
    let data = folder.join(if in_docker { "data-docker" } else { "data" });
    let logs = folder.join("logs");
    std::fs::create_dir_all(&data)?;
    std::fs::create_dir_all(&logs)?;
    let ports = choose_ports(state)?;
    // The state is written before a server uses its ports and passwords.
    state.write(folder)?;
    let plan = if in_docker {
        eprintln!("starting Postgres and RabbitMQ in Docker");
        docker_plan(&data, &logs, state, ports)
    } else {
        if let Err(missing) = NativeServers::find() {
            install::packages(&missing).await?;
        }
        eprintln!("starting private instances of the installed Postgres and RabbitMQ");
        native_plan(&data, &logs, state, ports).await?
    };
    orphans::remember_containers(folder, &plan.containers)?;
    let start = |program| supervisor.start(program);
    Ok(Launched {
        ports,
        data,
        programs: plan
            .programs
            .into_iter()
            .map(start)
            .collect::<Result<_, _>>()?,
        rabbitmqctl: plan.rabbitmqctl,
    })
}

fn choose_ports(state: &mut State) -> anyhow::Result<Ports> {
    let last = &mut state.ports;
    Ok(Ports {
        postgres: *last.postgres.insert(free_port(last.postgres)?),
        amqp: *last.amqp.insert(free_port(last.amqp)?),
        management: *last.management.insert(free_port(last.management)?),
    })
}

fn docker_plan(data: &Path, logs: &Path, state: &State, ports: Ports) -> Plan {
    let names = ["postgres", "rabbitmq"].map(docker::container_name);
    let [postgres_name, rabbitmq_name] = names.clone();
    let rabbitmqctl = docker::rabbitmqctl(&rabbitmq_name);
    let postgres = docker::postgres(
        postgres_name,
        data,
        &logs.join("postgres.log"),
        ports.postgres,
        &state.database_password,
    );
    let rabbitmq = docker::rabbitmq(
        rabbitmq_name,
        data,
        &logs.join("rabbitmq.log"),
        (ports.amqp, ports.management),
        &state.broker_password,
    );
    Plan {
        programs: vec![postgres, rabbitmq],
        containers: names.into(),
        rabbitmqctl: Rabbitmqctl {
            program: "docker".into(),
            arguments: rabbitmqctl,
            variables: Vec::new(),
        },
    }
}

async fn native_plan(
    data: &Path,
    logs: &Path,
    state: &State,
    ports: Ports,
) -> anyhow::Result<Plan> {
    let servers = NativeServers::find()
        .map_err(|missing| anyhow::anyhow!("still missing: {}", missing.join(" ")))?;
    let broker_ports = BrokerPorts {
        amqp: ports.amqp,
        management: ports.management,
        distribution: free_port(None)?,
        epmd: free_port(None)?,
    };
    let postgres = servers
        .postgres(
            data,
            &logs.join("postgres.log"),
            ports.postgres,
            &state.database_password,
        )
        .await?;
    let epmd = servers.epmd(&logs.join("epmd.log"), broker_ports.epmd);
    let rabbitmq = servers.rabbitmq(
        data,
        &logs.join("rabbitmq.log"),
        broker_ports,
        &state.broker_password,
    )?;
    let (program, variables) = servers.rabbitmqctl(data, broker_ports);
    Ok(Plan {
        programs: vec![postgres, epmd, rabbitmq],
        containers: Vec::new(),
        rabbitmqctl: Rabbitmqctl {
            program,
            arguments: Vec::new(),
            variables,
        },
    })
}
