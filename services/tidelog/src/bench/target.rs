//! What is measured: a server of our own on a directory of its own, and clients of it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tidelog::{Client, Context, TopicSpec};

use super::process::ServerProcess;
use super::{Common, Transport};

/// A directory that is removed at the end, on the disk that is measured.
#[derive(Debug)]
pub struct Scratch {
    directory: tempfile::TempDir,
}

impl Scratch {
    pub fn new(common: &Common) -> anyhow::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("tidelog-bench.");
        let directory = match &common.dir {
            Some(parent) => builder.tempdir_in(parent).with_context(|| format!("{}", parent.display()))?,
            None => builder.tempdir().context("a temporary directory")?,
        };
        Ok(Self { directory })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A directory below, empty.
    pub fn directory(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("{}", path.display()))?;
        Ok(path)
    }

    /// Removes a directory below, and waits until the disk is done with that.
    pub fn clear(&self, name: &str) -> anyhow::Result<()> {
        let path = self.path().join(name);
        std::fs::remove_dir_all(&path).with_context(|| format!("{}", path.display()))?;
        rustix::fs::sync();
        Ok(())
    }
}

/// A server under test.
#[derive(Debug)]
pub struct Target {
    pub server: ServerProcess,
    transport: Transport,
}

impl Target {
    pub async fn start(
        scratch: &Scratch,
        common: &Common,
        bucket: Option<&str>,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let directory = scratch.directory("server")?;
        let settings: Vec<(String, String)> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let server = ServerProcess::start(&directory, bucket, &settings).await?;
        Ok(Self { server, transport: common.transport })
    }

    /// A new connection.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        let path = self.server.home().join(".config/tidelog/context.json");
        let context = Context::load(&path)?.with_context(|| format!("no context in {}", path.display()))?;
        let mut options = context.options()?;
        options.transport = match self.transport {
            Transport::Quic => tidelog::TransportChoice::Quic,
            Transport::Tcp => tidelog::TransportChoice::Tcp,
        };
        Client::with_options(options).await.context("connecting to the benchmark's server")
    }

    pub async fn create_topic(
        &self,
        name: &str,
        partitions: u32,
        config: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let client = self.connect().await?;
        let spec = TopicSpec::new(name).partitions(partitions);
        let spec = config.iter().fold(spec, |spec, (key, value)| spec.config(*key, *value));
        client.admin().create_topic(spec).await.with_context(|| format!("creating {name}"))?;
        Ok(())
    }
}
