//! Installs missing servers on Debian and Ubuntu without starting their daemons.

use std::path::Path;

use anyhow::{bail, ensure};
use nix::unistd::{Uid, geteuid};
use tokio::process::Command;

use crate::paths;

/// Debian starts a package's daemon at installation unless `policy-rc.d` forbids it. An existing
/// `policy-rc.d` is restored at the end, also after an error.
const SCRIPT: &str = r#"
set -e
policy=/usr/sbin/policy-rc.d
backup=$(mktemp)
if [ -e "$policy" ]; then cp -p "$policy" "$backup"; else rm "$backup"; fi
trap 'if [ -e "$backup" ]; then mv "$backup" "$policy"; else rm -f "$policy"; fi' EXIT
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod +x "$policy"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@" >/dev/null
"#;

/// Installs the packages if no password is needed for that.
///
/// # Errors
/// A password is needed: the error holds the command to run. Or the installation fails.
pub async fn packages(missing: &[&str]) -> anyhow::Result<()> {
    let list = missing.join(" ");
    let debian = Path::new("/etc/debian_version").exists() && paths::program("apt-get").is_some();
    if !debian {
        bail!(
            "Postgres and RabbitMQ are needed: start Docker, install {list}, or set \
             DATABASE_URL and AMQP_URL to existing servers."
        );
    }
    let root = geteuid() == Uid::from_raw(0);
    if !root && !passwordless_sudo().await {
        bail!(
            "Postgres and RabbitMQ are needed. Run this, then try again:\n\n    \
             sudo apt-get install --no-install-recommends {list}\n"
        );
    }
    eprintln!("installing with apt-get: {list} (their daemons are not started)");
    let mut command = if root {
        Command::new("sh")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "sh"]);
        sudo
    };
    let status = command
        .args(["-c", SCRIPT, "sh"])
        .args(missing)
        .status()
        .await?;
    ensure!(status.success(), "apt-get could not install {list}");
    Ok(())
}

async fn passwordless_sudo() -> bool {
    Command::new("sudo")
        .args(["-n", "true"])
        .output()
        .await
        .is_ok_and(|output| output.status.success())
}
