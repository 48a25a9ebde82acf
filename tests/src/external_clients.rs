//! Programs in other languages, with the packages that they ask for, as a newcomer would run them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::process::Command;

/// A program for Node, with packages of npm.
///
/// # Errors
/// The packages can't be installed.
pub async fn node(program: &Path, packages: &[&str]) -> anyhow::Result<Command> {
    let mut node = Command::new("node");
    node.arg(beside_packages(program, packages).await?);
    Ok(node)
}

/// Installs packages of npm, and a copy of the program that uses them beside them.
///
/// # Errors
/// The packages can't be installed.
pub async fn beside_packages(program: &Path, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let folder = folder("node", program)?;
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--silent",
        "--no-save",
        "--no-audit",
        "--no-fund",
        "--prefix",
    ])
    .arg(&folder)
    .args(packages);
    output(npm).await?;
    // Node finds packages next to the program.
    let copy = folder.join(program.file_name().context("no name")?);
    std::fs::copy(program, &copy)?;
    Ok(copy)
}

/// A program for Python, with packages of PyPI.
///
/// # Errors
/// The packages can't be installed.
pub async fn python(program: &Path, packages: &[&str]) -> anyhow::Result<Command> {
    let mut python = Command::new("python3");
    python
        .arg(program)
        .env("PYTHONPATH", packages_of_python(program, packages).await?);
    Ok(python)
}

/// Installs packages of PyPI in a folder of their own.
///
/// # Errors
/// The packages can't be installed.
pub async fn packages_of_python(name: &Path, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let folder = folder("python", name)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"])
        .arg(&folder)
        .args(packages);
    output(pip).await?;
    Ok(folder)
}

/// The output of a program.
///
/// # Errors
/// It fails; what it said is in the error.
pub async fn output(mut command: Command) -> anyhow::Result<String> {
    let output = command.kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8(output.stdout)?;
    anyhow::ensure!(output.status.success(), "{printed}{said}");
    Ok(printed)
}

/// One for each program: they are installed at the same time.
fn folder(language: &str, program: &Path) -> anyhow::Result<PathBuf> {
    let folder = dev::paths::repository()
        .join("target/clients")
        .join(language)
        .join(program.file_stem().context("no name")?);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
