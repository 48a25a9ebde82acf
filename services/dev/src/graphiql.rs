//! Downloads GraphiQL's browser files once, so that the gateway can serve them without internet access.
//! Without npm the stack runs without GraphiQL, and the page says so.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use gateway::http::pages::graphiql::PACKAGES;
use tokio::{process::Command, time::timeout};

/// The stack does not wait longer for the registry, because GraphiQL is optional.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_mins(1);

/// The folder of the files. Each package has a folder of its name.
#[must_use]
pub fn folder(stack: &Path) -> PathBuf {
    stack.join("graphiql")
}

/// Downloads the packages if the folder does not exist.
pub async fn fetch(stack: &Path) {
    let folder = folder(stack);
    if folder.exists() {
        return;
    }
    // The download has another name until it is complete.
    let partial = folder.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    let fetched = timeout(DOWNLOAD_TIMEOUT, fetch_into(&partial)).await;
    let fetched = fetched.unwrap_or_else(|_| Err(anyhow::anyhow!("the download takes too long")));
    match fetched.and_then(|()| Ok(fs::rename(&partial, &folder)?)) {
        Ok(()) => {}
        Err(error) => eprintln!("continuing without GraphiQL: {error:#}"),
    }
}

async fn fetch_into(folder: &Path) -> anyhow::Result<()> {
    for package in PACKAGES {
        let (name, _) = package.split_once('@').context("no version")?;
        let package_folder = folder.join(name);
        fs::create_dir_all(&package_folder)?;
        let mut npm = Command::new("npm");
        npm.args(["pack", "--silent", "--pack-destination"])
            .arg(&package_folder)
            .arg(package);
        run(npm).await?;
        let archive = fs::read_dir(&package_folder)?.flatten().next();
        let archive = archive.context("npm downloaded no archive")?.path();
        let mut tar = Command::new("tar");
        tar.args(["-xz", "--strip-components=1", "-C"])
            .arg(&package_folder)
            .arg("-f")
            .arg(&archive);
        run(tar).await?;
    }
    Ok(())
}

async fn run(mut command: Command) -> anyhow::Result<()> {
    let program = command.as_std().get_program().display().to_string();
    let output = command.kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("{program} can't be started"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", stderr.trim());
    Ok(())
}
