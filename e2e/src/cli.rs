//! The command line, as a person would use it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::storage::Storage;
use crate::{COMMAND_WITHIN, tidelog_binary, wait_exit};

/// Runs `tidelog` commands from one home directory, whose context a server of the same home wrote.
#[derive(Debug)]
pub struct Cli {
    home: PathBuf,
    env: Vec<(String, String)>,
    calls: AtomicU32,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    pub command: String,
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Finished {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// # Panics
    /// When the command failed.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> Self {
        assert!(self.code == 0, "`{}` exited with {}:\n{}", self.command, self.code, self.stderr);
        self
    }

    /// # Panics
    /// When the command succeeded, or failed without saying every one of `words` (case apart).
    #[track_caller]
    #[must_use]
    pub fn refused(self, words: &[&str]) -> Self {
        assert!(self.code != 0, "`{}` should have failed; it printed:\n{}", self.command, self.text());
        assert!(self.code != -1 && self.code != 101, "`{}` crashed:\n{}", self.command, self.stderr);
        let said = self.stderr.to_lowercase();
        for word in words {
            let found = word.split('|').any(|choice| said.contains(&choice.to_lowercase()));
            assert!(found, "`{}` should say {word:?}; it said:\n{}", self.command, self.stderr);
        }
        self
    }
}

impl Cli {
    pub fn new(home: &Path) -> Self {
        Self { home: home.to_owned(), env: Vec::new(), calls: AtomicU32::new(0) }
    }

    /// The same, with one more environment variable.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The bare command with this home's environment; nothing is read or kept.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(tidelog_binary());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        clean_environment(&mut command, &self.home);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs to the end with nothing on stdin.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        self.run_within(arguments, None, COMMAND_WITHIN)
    }

    /// Runs to the end with `stdin`.
    #[track_caller]
    pub fn run_with(&self, arguments: &[&str], stdin: &[u8]) -> Finished {
        self.run_within(arguments, Some(stdin), COMMAND_WITHIN)
    }

    /// # Panics
    /// When the command has not ended within the time.
    #[track_caller]
    pub fn run_within(&self, arguments: &[&str], stdin: Option<&[u8]>, within: Duration) -> Finished {
        let mut running = self.start(arguments, stdin);
        let Some(status) = wait_exit(&mut running.child, within) else {
            let _ = running.child.kill();
            let _ = running.child.wait();
            panic!("`{}` still ran after {within:?}; it said:\n{}", running.name, running.stderr());
        };
        Finished {
            code: status.code().unwrap_or(-1),
            stdout: fs::read(&running.stdout).expect("the command's output"),
            stderr: running.stderr(),
            command: running.name.clone(),
        }
    }

    fn start(&self, arguments: &[&str], stdin: Option<&[u8]>) -> Running {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let place = |what: &str| self.home.join(format!("call-{call:04}.{what}"));
        let (stdout, stderr) = (place("out"), place("err"));
        let create = |path: &Path| File::create(path).expect("a file in the home directory");
        let mut command = self.command(arguments);
        command.stdout(create(&stdout)).stderr(create(&stderr));
        if let Some(bytes) = stdin {
            let path = place("in");
            fs::write(&path, bytes).expect("a file in the home directory");
            command.stdin(File::open(&path).expect("what was just written"));
        }
        let child = command.spawn().expect("the tidelog binary starts");
        Running { name: format!("tidelog {}", arguments.join(" ")), child, stdout, stderr }
    }

    /// `topic create`.
    #[track_caller]
    pub fn create_topic(&self, name: &str, partitions: u32, config: &[&str]) {
        let partitions = partitions.to_string();
        let mut arguments = vec!["topic", "create", name, "--partitions", &partitions];
        for setting in config {
            arguments.extend(["--config", setting]);
        }
        let _ = self.run(&arguments).ok();
    }

    /// `produce` to one partition.
    #[track_caller]
    pub fn produce(&self, topic: &str, partition: u32, codec: &str, lines: &[u8]) {
        let partition = partition.to_string();
        let arguments = ["produce", topic, "--partition", &partition, "--compression", codec];
        let _ = self.run_with(&arguments, lines).ok();
    }

    /// `consume` one partition from its start to its end.
    #[track_caller]
    pub fn consume(&self, topic: &str, partition: u32) -> Vec<u8> {
        let partition = partition.to_string();
        let arguments = ["consume", topic, "--partition", &partition, "--offset", "start", "-e"];
        self.run(&arguments).ok().stdout
    }

    /// `storage describe -o json`.
    #[track_caller]
    pub fn storage(&self, topic: &str) -> Storage {
        Storage::parse(&self.json(&["storage", "describe", topic, "-o", "json"]))
    }

    /// `storage offload`.
    #[track_caller]
    pub fn offload(&self, topic: &str) {
        let _ = self.run(&["storage", "offload", topic]).ok();
    }

    /// `storage evict`.
    #[track_caller]
    pub fn evict(&self, topic: &str) {
        let _ = self.run(&["storage", "evict", topic]).ok();
    }

    /// What a command that was asked for JSON printed.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let finished = self.run(arguments).ok();
        serde_json::from_slice(&finished.stdout)
            .unwrap_or_else(|error| panic!("`{}`: {error}: {}", finished.command, finished.text()))
    }
}

#[derive(Debug)]
struct Running {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }
}

/// Nothing of the caller's Tidelog or AWS configuration reaches a process under test.
pub(crate) fn clean_environment(command: &mut Command, home: &Path) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours = text.starts_with("TIDELOG_") || text.starts_with("AWS_") || text == "FAILPOINTS";
        if ours || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
    command
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home.join(".config"))
        .env("XDG_DATA_HOME", home.join(".local/share"))
        .env("XDG_CACHE_HOME", home.join(".cache"))
        .env("NO_COLOR", "1")
        .env("RUST_BACKTRACE", "1");
}
