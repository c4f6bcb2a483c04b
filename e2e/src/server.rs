//! One `tidelog dev` process: started, killed, restarted.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::cli::clean_environment;
use crate::{Cli, READY_WITHIN, Seaweed, Workspace, free_port, http, tidelog_binary, until, wait_exit};

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
    child: Child,
    options: ServerOptions,
    home: PathBuf,
    data_dir: PathBuf,
    pub quic_port: u16,
    pub http_port: u16,
    starts: u32,
}

/// A server that would not start: how it ended and what it said.
#[derive(Debug)]
pub struct Refusal {
    pub status: ExitStatus,
    pub said: String,
}

impl Refusal {
    /// # Panics
    /// When it ended by a signal or a panic, without an error code, or without saying every one of
    /// `words` (case apart; `a|b` is either).
    #[track_caller]
    pub fn says(&self, words: &[&str]) {
        let code = self.status.code();
        assert!(code.is_some_and(|code| code != 0 && code != 101), "{}: {}", self.status, self.said);
        let said = self.said.to_lowercase();
        for word in words {
            let found = word.split('|').any(|choice| said.contains(&choice.to_lowercase()));
            assert!(found, "the server should say {word:?}; it said:\n{}", self.said);
        }
    }
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
        let log = File::create(log_path(&home, 1)).expect("a log file");
        let child = spawn(&options, &home, &data_dir, quic_port, http_port, &log);
        let mut server = Self { child, options, home, data_dir, quic_port, http_port, starts: 1 };
        server.until_ready().map(|()| server)
    }

    fn until_ready(&mut self) -> Result<(), Refusal> {
        let what = format!("the server is ready (log: {})", log_path(&self.home, self.starts).display());
        until(READY_WITHIN, &what, || {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return Some(Err(Refusal { status, said: self.log() }));
            }
            let answer = http::get(self.http_port, "/readyz").ok()?;
            (answer.status == 200).then_some(Ok(()))
        })
    }

    /// A CLI whose context is this server, and which reaches the same bucket.
    pub fn cli(&self) -> Cli {
        let aws = self.options.env.iter().filter(|(name, _)| name.starts_with("AWS_"));
        aws.fold(Cli::new(&self.home), |cli, (name, value)| cli.with_env(name, value))
    }

    pub fn home(&self) -> &Path {
        &self.home
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
        self.child.id()
    }

    /// What this start of the server wrote.
    pub fn log(&self) -> String {
        let raw = fs::read(log_path(&self.home, self.starts)).unwrap_or_default();
        String::from_utf8_lossy(&raw).into_owned()
    }

    pub fn options_mut(&mut self) -> &mut ServerOptions {
        &mut self.options
    }

    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// SIGTERM; the exit status.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended(Duration::from_secs(30))
    }

    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Waits for the process to end by itself.
    ///
    /// # Panics
    /// When it does not within the time.
    #[track_caller]
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        wait_exit(&mut self.child, within)
            .unwrap_or_else(|| panic!("the server still runs after {within:?}:\n{}", self.log()))
    }

    /// Waits for a crash point to kill the process.
    ///
    /// # Panics
    /// When it does not end in time, or ends otherwise.
    #[track_caller]
    pub fn killed_itself(&mut self, within: Duration) {
        let status = self.ended(within);
        assert_eq!(status.signal(), Some(9), "ended with {status}:\n{}", self.log());
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Starts again on the same ports and directory, with the options as they are now.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn restart(&mut self) {
        if let Err(refusal) = self.try_restart() {
            panic!("the server did not come back, {}:\n{}", refusal.status, refusal.said);
        }
    }

    /// Like [`Server::restart`]; `Err` when it ends before it is ready.
    pub fn try_restart(&mut self) -> Result<(), Refusal> {
        assert!(!self.is_running(), "restart of a server that still runs");
        self.starts += 1;
        let log = File::create(log_path(&self.home, self.starts)).expect("a log file");
        self.child = spawn(&self.options, &self.home, &self.data_dir, self.quic_port, self.http_port, &log);
        self.until_ready()
    }

    /// [`Server::kill`] and [`Server::restart`].
    #[track_caller]
    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say_tail(&self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_path(home: &Path, start: u32) -> PathBuf {
    home.join(format!("server-{start:03}.log"))
}

fn spawn(
    options: &ServerOptions,
    home: &Path,
    data_dir: &Path,
    quic_port: u16,
    http_port: u16,
    log: &File,
) -> Child {
    let mut command = Command::new(tidelog_binary());
    command.arg("dev").arg("--data-dir").arg(data_dir);
    command.arg("--quic").arg(format!("127.0.0.1:{quic_port}"));
    command.arg("--http").arg(format!("127.0.0.1:{http_port}"));
    if let Some(bucket) = &options.bucket {
        command.arg("--bucket").arg(bucket);
    }
    command.args(&options.arguments);
    clean_environment(&mut command, home);
    command.envs(options.env.iter().map(|(name, value)| (name, value)));
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle of the log"))
        .stderr(log.try_clone().expect("a third handle of the log"))
        .spawn()
        .expect("the tidelog binary starts")
}

#[expect(clippy::print_stderr, reason = "a failed test shows the server's last words")]
fn say_tail(log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    let tail = &lines[lines.len().saturating_sub(40)..];
    eprintln!("--- the server's last lines:\n{}\n---", tail.join("\n"));
}
