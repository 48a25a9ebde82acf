//! The source files of the workspace, grouped by crate.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use dev::paths;

/// A source file.
#[derive(Debug)]
pub struct File {
    /// The path from the top of the workspace.
    pub path: String,
    /// The module path from the crate's root; empty for the root itself.
    pub module: Vec<String>,
    pub text: String,
}

/// The files of each crate, by the path of the crate's root folder. Test targets and binaries are
/// crates of their own.
pub fn crates() -> anyhow::Result<BTreeMap<String, Vec<File>>> {
    let top = paths::repository();
    let mut paths = Vec::new();
    for folder in ["proto", "services", "tests"] {
        collect(&top.join(folder), &mut paths)?;
    }
    let mut crates: BTreeMap<String, Vec<File>> = BTreeMap::new();
    for path in paths {
        let root = root_folder(&path).unwrap_or_else(|| path.clone());
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let module = path.strip_prefix(&root).map_or_else(|_| Vec::new(), module);
        let name = |path: &Path| {
            let path = path.strip_prefix(&top).unwrap_or(path);
            path.display().to_string()
        };
        crates.entry(name(&root)).or_default().push(File {
            path: name(&path),
            module,
            text,
        });
    }
    anyhow::ensure!(!crates.is_empty(), "no source files in {}", top.display());
    Ok(crates)
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" && entry.file_name() != "node_modules" {
                collect(&path, paths)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(())
}

/// The nearest folder with a `lib.rs` or `main.rs`. A file without one is a crate of its own.
fn root_folder(path: &Path) -> Option<PathBuf> {
    let is_root = |folder: &&Path| {
        ["lib.rs", "main.rs"]
            .iter()
            .any(|it| folder.join(it).exists())
    };
    path.ancestors().skip(1).find(is_root).map(Path::to_owned)
}

fn module(path: &Path) -> Vec<String> {
    let path = path.with_extension("");
    let mut module: Vec<String> = path
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    module.pop_if(|name| ["lib", "main", "mod"].contains(&name.as_str()));
    module
}
