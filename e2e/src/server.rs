//! One `tidelog dev` process: started, killed, restarted.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Launch, Process, Refusal};
use crate::{Cli, Seaweed, Workspace, free_port};

/// How a server is started. Everything has a default that fits most scenarios.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Default: a directory in the scenario's workspace.
    pub data_dir: Option<PathBuf>,
    /// Default: the product's own, a directory below the data directory.
    pub bucket: Option<String>,
    /// More arguments of `tidelog dev`.
    pub arguments: Vec<String>,
    /// More environment variables.
    pub env: Vec<(String, String)>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        // Files small enough that a scenario rolls, seals and recycles some.
        let env = [("TIDELOG_JOURNAL__FILE_BYTES", "16MiB"), ("TIDELOG_LOG", "info")];
        Self {
            data_dir: None,
            bucket: None,
            arguments: Vec::new(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        }
    }
}

impl ServerOptions {
    #[must_use]
    pub fn bucket(mut self, url: &str) -> Self {
        self.bucket = Some(url.to_owned());
        self
    }

    /// The bucket is on this S3 server, under a prefix.
    #[must_use]
    pub fn seaweed(self, seaweed: &Seaweed, prefix: &str) -> Self {
        let with_bucket = self.bucket(&seaweed.url(prefix));
        seaweed.env().iter().fold(with_bucket, |options, (name, value)| options.env(name, value))
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    #[must_use]
    pub fn data_dir(mut self, path: &Path) -> Self {
        self.data_dir = Some(path.to_owned());
        self
    }
}

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    options: ServerOptions,
    data_dir: PathBuf,
    pub quic_port: u16,
    pub http_port: u16,
}

impl Server {
    /// Starts a server and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready in time.
    #[track_caller]
    pub fn start(workspace: &Workspace, options: ServerOptions) -> Self {
        match Self::try_start(workspace, options, free_port(), free_port()) {
            Ok(server) => server,
            Err(refusal) => panic!("the server ended at once, {}:\n{}", refusal.status, refusal.said),
        }
    }

    /// Starts a server that is expected to refuse.
    ///
    /// # Panics
    /// When it becomes ready.
    #[track_caller]
    pub fn refused(workspace: &Workspace, options: ServerOptions) -> Refusal {
        match Self::try_start(workspace, options, free_port(), free_port()) {
            Ok(_) => panic!("the server should have refused to start"),
            Err(refusal) => refusal,
        }
    }

    /// Starts a server on these ports; `Err` when it ends before it is ready.
    pub fn try_start(
        workspace: &Workspace,
        options: ServerOptions,
        quic_port: u16,
        http_port: u16,
    ) -> Result<Self, Refusal> {
        let home = workspace.directory("home");
        let data_dir = options.data_dir.clone().unwrap_or_else(|| workspace.path().join("data"));
        let process = Process::spawn(launch(&options, home, &data_dir, quic_port, http_port));
        let mut server = Self { process, options, data_dir, quic_port, http_port };
        server.process.until_ready().map(|()| server)
    }

    /// A CLI whose context is this server, and which reaches the same bucket.
    pub fn cli(&self) -> Cli {
        let aws = self.options.env.iter().filter(|(name, _)| name.starts_with("AWS_"));
        aws.fold(Cli::new(self.home()), |cli, (name, value)| cli.with_env(name, value))
    }

    pub fn home(&self) -> &Path {
        self.process.home()
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The default bucket's directory.
    pub fn bucket_dir(&self) -> PathBuf {
        self.data_dir.join("bucket")
    }

    /// The URL of the bucket.
    pub fn bucket_url(&self) -> String {
        let default = || format!("file://{}", self.bucket_dir().display());
        self.options.bucket.clone().unwrap_or_else(default)
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.quic_port)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What this start of the server wrote.
    pub fn log(&self) -> String {
        self.process.log()
    }

    pub fn options_mut(&mut self) -> &mut ServerOptions {
        &mut self.options
    }

    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM; the exit status.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.terminate()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for the process to end by itself.
    ///
    /// # Panics
    /// When it does not within the time.
    #[track_caller]
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        self.process.ended(within)
    }

    /// Waits for a crash point to kill the process.
    ///
    /// # Panics
    /// When it does not end in time, or ends otherwise.
    #[track_caller]
    pub fn killed_itself(&mut self, within: Duration) {
        self.process.killed_itself(within);
    }

    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Starts again on the same ports and directory, with the options as they are now.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn restart(&mut self) {
        self.take_options_up();
        self.process.restart();
    }

    /// Like [`Server::restart`]; `Err` when it ends before it is ready.
    pub fn try_restart(&mut self) -> Result<(), Refusal> {
        self.take_options_up();
        self.process.try_restart()
    }

    fn take_options_up(&mut self) {
        let home = self.process.home().to_owned();
        *self.process.launch_mut() =
            launch(&self.options, home, &self.data_dir, self.quic_port, self.http_port);
    }

    /// [`Server::kill`] and [`Server::restart`].
    #[track_caller]
    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }
}

fn launch(options: &ServerOptions, home: PathBuf, data_dir: &Path, quic_port: u16, http_port: u16) -> Launch {
    let mut arguments = vec!["dev".to_owned(), "--data-dir".to_owned(), data_dir.display().to_string()];
    arguments.extend(["--quic".to_owned(), format!("127.0.0.1:{quic_port}")]);
    arguments.extend(["--http".to_owned(), format!("127.0.0.1:{http_port}")]);
    if let Some(bucket) = &options.bucket {
        arguments.extend(["--bucket".to_owned(), bucket.clone()]);
    }
    arguments.extend(options.arguments.iter().cloned());
    let http = SocketAddr::from((Ipv4Addr::LOCALHOST, http_port));
    Launch {
        name: "server".to_owned(),
        home,
        launcher: Vec::new(),
        arguments,
        env: options.env.clone(),
        http,
    }
}
