//! A real etcd: one member or several, on loopback.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Workspace, free_port, http, until};

/// How an etcd is started.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// How many members it has.
    pub members: usize,
    /// PEM files for clients: the authority, the members' certificate and its key. Clients then have to
    /// show a certificate of the same authority.
    pub tls: Option<(PathBuf, PathBuf, PathBuf)>,
    /// More arguments for every member.
    pub arguments: Vec<String>,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self { members: 1, tls: None, arguments: Vec::new() }
    }
}

/// A running etcd. Killed when dropped.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Member>,
    tls: bool,
}

#[derive(Debug)]
struct Member {
    arguments: Vec<String>,
    data: PathBuf,
    log: PathBuf,
    client_port: u16,
    /// Plain HTTP, for health.
    metrics_port: u16,
    child: Option<Child>,
}

/// Elections among members take a second at most; etcd's own defaults are for networks.
const TIMING: [&str; 2] = ["--heartbeat-interval=50", "--election-timeout=500"];

const READY_WITHIN: Duration = Duration::from_mins(1);

impl Etcd {
    /// Starts `etcd` from `TIDELOG_TOOLS` or the `PATH`, and waits until it takes requests.
    ///
    /// # Panics
    /// When it is missing (`scripts/install-system test` installs it) or does not become ready.
    pub fn start(workspace: &Workspace, options: &EtcdOptions) -> Self {
        let peers: Vec<u16> = (0..options.members).map(|_| free_port()).collect();
        let cluster: Vec<String> =
            peers.iter().enumerate().map(|(i, port)| format!("m{i}=http://127.0.0.1:{port}")).collect();
        // Several in one workspace do not meet.
        let name = format!("etcd-{}", peers[0]);
        let member = |index: usize| {
            let (client_port, metrics_port) = (free_port(), free_port());
            let data = workspace.directory(&format!("{name}/{index}"));
            let scheme = if options.tls.is_some() { "https" } else { "http" };
            let mut arguments = vec![
                format!("--name=m{index}"),
                format!("--data-dir={}", data.display()),
                format!("--listen-peer-urls=http://127.0.0.1:{}", peers[index]),
                format!("--initial-advertise-peer-urls=http://127.0.0.1:{}", peers[index]),
                format!("--initial-cluster={}", cluster.join(",")),
                format!("--listen-client-urls={scheme}://127.0.0.1:{client_port}"),
                format!("--advertise-client-urls={scheme}://127.0.0.1:{client_port}"),
                format!("--listen-metrics-urls=http://127.0.0.1:{metrics_port}"),
                "--logger=zap".to_owned(),
            ];
            arguments.extend(TIMING.map(str::to_owned));
            if let Some((authority, certificate, key)) = &options.tls {
                arguments.push(format!("--trusted-ca-file={}", authority.display()));
                arguments.push(format!("--cert-file={}", certificate.display()));
                arguments.push(format!("--key-file={}", key.display()));
                arguments.push("--client-cert-auth".to_owned());
            }
            arguments.extend(options.arguments.iter().cloned());
            let log = workspace.path().join(format!("{name}-{index}.log"));
            Member { arguments, data, log, client_port, metrics_port, child: None }
        };
        let mut etcd =
            Self { members: (0..options.members).map(member).collect(), tls: options.tls.is_some() };
        etcd.members.iter_mut().for_each(Member::spawn);
        etcd.wait_until_ready();
        etcd
    }

    /// Waits until every member that runs has a leader.
    pub fn wait_until_ready(&mut self) {
        for member in &mut self.members {
            member.wait_until_ready();
        }
    }

    /// `host:port` of each member.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("127.0.0.1:{}", member.client_port)).collect()
    }

    /// The whole etcd as `tidelog` names it; `prefix` keeps scenarios apart.
    pub fn url(&self, prefix: &str) -> String {
        let scheme = if self.tls { "etcds" } else { "etcd" };
        format!("{scheme}://{}/{prefix}", self.endpoints().join(","))
    }

    /// Which member leads, or `None` while none that can be asked does.
    pub fn leader(&self) -> Option<usize> {
        self.members.iter().position(|member| member.metric("etcd_server_is_leader") == Some(1.0))
    }

    /// How many transactions, leases and the like etcd has agreed on so far: what it writes to its disks.
    pub fn proposals(&self) -> f64 {
        let applied = self.members.iter().filter_map(|m| m.metric("etcd_server_proposals_applied_total"));
        applied.fold(0.0, f64::max)
    }

    /// What a member listens on for clients.
    pub fn client_port(&self, member: usize) -> u16 {
        self.members[member].client_port
    }

    /// The revision of the newest change.
    ///
    /// # Panics
    /// When etcd does not answer.
    pub fn revision(&self) -> u64 {
        let answer = self.members[0].ask("/v3/kv/range", r#"{"key":"AA==","count_only":true}"#);
        let revision = answer["header"]["revision"].as_str().and_then(|text| text.parse().ok());
        revision.unwrap_or_else(|| panic!("no revision in {answer}"))
    }

    /// Forgets everything that was before the newest revision.
    ///
    /// # Panics
    /// When etcd does not answer.
    pub fn compact(&self) {
        let order = format!(r#"{{"revision":{},"physical":true}}"#, self.revision());
        let _ = self.members[0].ask("/v3/kv/compaction", &order);
    }

    pub fn kill(&mut self, member: usize) {
        self.members[member].kill();
    }

    /// Kills every member.
    pub fn kill_all(&mut self) {
        self.members.iter_mut().for_each(Member::kill);
    }

    /// Starts members that were killed again, on what is in their directories.
    pub fn restart(&mut self) {
        for member in &mut self.members {
            if member.child.is_none() {
                member.spawn();
            }
        }
        self.wait_until_ready();
    }

    /// Stops a member without its noticing, or lets it go on.
    pub fn pause(&self, member: usize, pause: bool) {
        let signal = if pause { Signal::STOP } else { Signal::CONT };
        if let Some(child) = &self.members[member].child {
            kill_process(Pid::from_child(child), signal).expect("a signal to our own child");
        }
    }

    /// Where a member keeps its data, for copies of it while it is not running.
    pub fn data(&self, member: usize) -> &std::path::Path {
        &self.members[member].data
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill_all();
    }
}

impl Member {
    fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let program = program();
        let mut command = Command::new(&program);
        // Every flag of etcd is a variable, too.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_")) {
            command.env_remove(name);
        }
        let child = command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{}: {error}; scripts/install-system test installs Debian's etcd-server, or set \
                     TIDELOG_TOOLS to a directory with etcd",
                    program.display()
                )
            });
        self.child = Some(child);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn wait_until_ready(&mut self) {
        let Some(child) = &mut self.child else { return };
        until(READY_WITHIN, "etcd is healthy", || {
            if let Ok(Some(status)) = child.try_wait() {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                panic!("etcd ended with {status}:\n{log}");
            }
            let answer = http::get(self.metrics_port, "/health").ok()?;
            answer.body.contains("\"true\"").then_some(())
        });
    }

    /// What the gateway to its API answers.
    fn ask(&self, path: &str, body: &str) -> serde_json::Value {
        let answer = http::post(self.client_port, path, body).expect("etcd answers");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).expect("etcd answers with JSON")
    }

    fn metric(&self, name: &str) -> Option<f64> {
        self.child.as_ref()?;
        let answer = http::get(self.metrics_port, "/metrics").ok()?;
        let line = answer.body.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

fn program() -> PathBuf {
    let tools = std::env::var_os("TIDELOG_TOOLS").map(|tools| PathBuf::from(tools).join("etcd"));
    tools.filter(|program| program.is_file()).unwrap_or_else(|| PathBuf::from("etcd"))
}
