//! The folder of one run of the tests or of the benchmark, with the data and the logs of its servers.
//!
//! The run holds a lock on a file in its folder. If its process is killed, the kernel frees the lock.
//! The next run then stops what the killed one left running, and deletes its folder.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use uuid::Uuid;

use crate::{
    orphans::{self, PidWriter},
    paths,
    supervisor::Supervisor,
};

const LOCK: &str = "lock";

/// A folder in `target/test-servers`. Dropping it keeps the files, to find the cause of a failure.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    pid_writer: PidWriter,
    _lock: File,
}

impl RunFolder {
    /// Stops what killed runs left running, and creates a folder for the programs of a supervisor.
    ///
    /// # Errors
    /// The folder can't be created.
    pub fn create(name: &str, supervisor: &Arc<Supervisor>) -> anyhow::Result<Self> {
        stop_orphans();
        let path = all().join(format!("{name}-{}", Uuid::new_v4().simple()));
        fs::create_dir_all(logs(&path))?;
        let lock = File::create(path.join(LOCK))?;
        lock.lock()?;
        Ok(Self {
            pid_writer: PidWriter::start(&path, supervisor),
            path,
            _lock: lock,
        })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the logs.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        logs(&self.path)
    }

    /// Keeps the pids that are written now. Call it before the programs are stopped, because a program
    /// that takes long to stop must stay in the file.
    pub async fn keep_pids(&mut self) {
        self.pid_writer.stop().await;
    }

    /// Deletes the folder, after the supervisor has stopped its programs.
    pub async fn delete(mut self) {
        self.pid_writer.stop().await;
        // A stop signal may have come while a container was being created.
        orphans::remove_containers(&self.path);
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // The next run ignores a folder without this file.
        let _ = fs::remove_file(self.path.join(LOCK));
    }
}

/// Stops the programs of runs that were killed, and deletes their folders.
pub fn stop_orphans() {
    for entry in fs::read_dir(all()).into_iter().flatten().flatten() {
        let folder = entry.path();
        let Ok(lock) = File::open(folder.join(LOCK)) else {
            continue;
        };
        if lock.try_lock().is_ok() && orphans::stop(&folder) {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

fn all() -> PathBuf {
    paths::repository().join("target/test-servers")
}

fn logs(folder: &Path) -> PathBuf {
    folder.join("logs")
}
