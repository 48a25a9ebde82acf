//! Brings GraphiQL's files for browsers, once, so that the gateway can serve them without the
//! internet. Without npm the stack runs all the same, and the page says so.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use gateway::http::pages::graphiql::PACKAGES;
use tokio::{process::Command, time::timeout};

/// A registry that does not answer is not waited for: the files are a convenience.
const DEADLINE: Duration = Duration::from_mins(1);

/// Where the files are, each package in a folder of its name.
#[must_use]
pub fn folder(stack: &Path) -> PathBuf {
    stack.join("graphiql")
}

/// Brings the packages, unless they are there.
pub async fn fetch(stack: &Path) {
    let folder = folder(stack);
    if folder.exists() {
        return;
    }
    // Under another name first: a folder that is there is whole.
    let partial = folder.with_extension("partial");
    let _ = fs::remove_dir_all(&partial);
    let fetched = timeout(DEADLINE, fetch_into(&partial)).await;
    let fetched = fetched.unwrap_or_else(|_| Err(anyhow::anyhow!("it takes too long")));
    match fetched.and_then(|()| Ok(fs::rename(&partial, &folder)?)) {
        Ok(()) => {}
        Err(error) => eprintln!("GraphiQL is left out: {error:#}"),
    }
}

async fn fetch_into(folder: &Path) -> anyhow::Result<()> {
    for package in PACKAGES {
        let (name, _) = package.split_once('@').context("no version")?;
        let place = folder.join(name);
        fs::create_dir_all(&place)?;
        let mut npm = Command::new("npm");
        npm.args(["pack", "--silent", "--pack-destination"])
            .arg(&place)
            .arg(package);
        run(npm).await?;
        let archive = fs::read_dir(&place)?.flatten().next();
        let archive = archive.context("npm brought nothing")?.path();
        let mut tar = Command::new("tar");
        tar.args(["-xz", "--strip-components=1", "-C"])
            .arg(&place)
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
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", said.trim());
    Ok(())
}
