//! A directory of a scenario's own, kept when the scenario fails.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Removed at the end of a scenario that passes; kept and named when it panics.
#[derive(Debug)]
pub struct Workspace {
    directory: Option<TempDir>,
    path: PathBuf,
}

impl Workspace {
    pub fn new() -> Self {
        let directory =
            tempfile::Builder::new().prefix("tidelog-e2e.").tempdir().expect("a temporary directory");
        let path = directory.path().to_owned();
        Self { directory: Some(directory), path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory below, created when it is not there.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).expect("a directory in the workspace");
        path
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(directory) = self.directory.take()
        {
            eprintln_kept(&directory.keep());
        }
    }
}

#[expect(clippy::print_stderr, reason = "a failed test says where its files are")]
fn eprintln_kept(path: &Path) {
    eprintln!("what the scenario wrote is kept in {}", path.display());
}
