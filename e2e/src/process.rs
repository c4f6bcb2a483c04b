//! One process of the product: started, signalled, waited for, started again.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::cli::clean_environment;
use crate::{READY_WITHIN, http, tidelog_binary, until, wait_exit};

/// How long a process may take to end after SIGTERM.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// How a process is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What its logs are called.
    pub name: String,
    /// Its home directory, where its logs are.
    pub home: PathBuf,
    /// What comes before the product's binary: `ip netns exec NAME`, say. Usually nothing. It has to become the
    /// process, so that signals reach it.
    pub launcher: Vec<String>,
    pub arguments: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Where its health is.
    pub http: SocketAddr,
}

/// A process that would not start: how it ended and what it said.
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

/// A process of the product. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    launch: Launch,
    child: Child,
    starts: u32,
}

impl Process {
    /// Starts it, and waits for nothing.
    ///
    /// # Panics
    /// When the binary is missing.
    pub fn spawn(launch: Launch) -> Self {
        let child = spawn(&launch, 1);
        Self { launch, child, starts: 1 }
    }

    pub fn name(&self) -> &str {
        &self.launch.name
    }

    /// How it is started the next time.
    pub fn launch_mut(&mut self) -> &mut Launch {
        &mut self.launch
    }

    pub fn home(&self) -> &std::path::Path {
        &self.launch.home
    }

    /// Waits until it is ready; `Err` when it ends before that.
    ///
    /// # Panics
    /// When it is neither ready nor over in time.
    #[track_caller]
    pub fn until_ready(&mut self) -> Result<(), Refusal> {
        let log = log_path(&self.launch, self.starts);
        let what = format!("{} is ready (log: {})", self.launch.name, log.display());
        until(READY_WITHIN, &what, || {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return Some(Err(Refusal { status, said: self.log() }));
            }
            (self.health("/readyz")?.status == 200).then_some(Ok(()))
        })
    }

    /// What it answers under `/readyz`, `/healthz` or `/metrics`; `None` when it does not.
    pub fn health(&self, path: &str) -> Option<http::Answer> {
        http::get_from(self.launch.http, path).ok()
    }

    /// The value of a metric, by its name as `/metrics` has it; `None` when there is none.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let answer = self.health("/metrics")?;
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        answer.body.lines().find_map(value)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What this start of it wrote.
    pub fn log(&self) -> String {
        let raw = fs::read(log_path(&self.launch, self.starts)).unwrap_or_default();
        String::from_utf8_lossy(&raw).into_owned()
    }

    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// SIGSTOP: it is there, and does nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on, as if nothing had been.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM; the exit status.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended(ENDS_WITHIN)
    }

    /// Waits for it to end by itself.
    ///
    /// # Panics
    /// When it does not within the time.
    #[track_caller]
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        wait_exit(&mut self.child, within)
            .unwrap_or_else(|| panic!("{} still runs after {within:?}:\n{}", self.launch.name, self.log()))
    }

    /// Waits for a crash point to kill it.
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

    /// Starts it again, and waits for nothing.
    ///
    /// # Panics
    /// When it still runs.
    pub fn spawn_again(&mut self) {
        assert!(!self.is_running(), "{} still runs", self.launch.name);
        self.starts += 1;
        self.child = spawn(&self.launch, self.starts);
    }

    /// Starts it again; `Err` when it ends before it is ready.
    #[track_caller]
    pub fn try_restart(&mut self) -> Result<(), Refusal> {
        self.spawn_again();
        self.until_ready()
    }

    /// Starts it again.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn restart(&mut self) {
        if let Err(refusal) = self.try_restart() {
            panic!("{} did not come back, {}:\n{}", self.launch.name, refusal.status, refusal.said);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say_tail(&self.launch.name, &self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log_path(launch: &Launch, start: u32) -> PathBuf {
    launch.home.join(format!("{}-{start:03}.log", launch.name))
}

fn spawn(launch: &Launch, start: u32) -> Child {
    let binary = tidelog_binary();
    let mut command = match launch.launcher.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
        None => Command::new(binary),
    };
    command.args(&launch.arguments);
    clean_environment(&mut command, &launch.home);
    command.envs(launch.env.iter().map(|(name, value)| (name, value)));
    let log = File::create(log_path(launch, start)).expect("a log file");
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle of the log"))
        .stderr(log)
        .spawn()
        .expect("the tidelog binary starts")
}

#[expect(clippy::print_stderr, reason = "a failed test shows the process's last words")]
fn say_tail(name: &str, log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    let tail = &lines[lines.len().saturating_sub(40)..];
    eprintln!("--- the last lines of {name}:\n{}\n---", tail.join("\n"));
}
