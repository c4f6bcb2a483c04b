//! A whole cluster: a real etcd, a bucket, stores and frontends, each a process of its own.
//!
//! Every process has free ports, a home with its logs, a configuration file and a data directory in the
//! scenario's workspace. All of them end with the [`Cluster`].

mod certs;
mod options;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tidelog::Context;

use crate::process::{Launch, Process};
use crate::{Cli, Etcd, EtcdOptions, Seaweed, Workspace, free_port, until};
use certs::Certs;
pub use options::{ClusterOptions, Member, Place};

/// How long it may take until the controller has heard of everyone.
const KNOWN_WITHIN: Duration = Duration::from_mins(1);

/// What the keys of the cluster begin with.
const PREFIX: &str = "e2e";

/// A cluster. Killed when dropped: the processes first, then what they stand on.
#[derive(Debug)]
pub struct Cluster {
    processes: BTreeMap<Member, Process>,
    ports: BTreeMap<Member, Ports>,
    options: ClusterOptions,
    directory: PathBuf,
    certs: Certs,
    bucket: String,
    etcd: Etcd,
    seaweed: Option<Seaweed>,
}

/// What a process listens on, for as long as the cluster lives.
#[derive(Clone, Copy, Debug)]
struct Ports {
    /// The internal port of a store, clients' port of a frontend.
    main: u16,
    http: u16,
}

impl Cluster {
    /// Starts everything and waits until every process is ready.
    ///
    /// # Panics
    /// When one does not become ready in time.
    #[track_caller]
    pub fn start(workspace: &Workspace, options: ClusterOptions) -> Self {
        let mut cluster = Self::prepare(workspace, options);
        cluster.spawn_all();
        cluster.until_ready();
        cluster.until_controller_knows();
        cluster
    }

    /// Waits until the controller knows every store: a topic that is created before gets fewer replicas.
    #[track_caller]
    fn until_controller_knows(&self) {
        let is = |member: &&Member, store| matches!(member, Member::Store(_)) == store;
        let stores = self.processes.keys().filter(|member| is(member, true)).count() as u64;
        if stores == 0 || !self.processes.keys().any(|member| is(&member, false)) {
            return;
        }
        let cli = self.cli();
        until(KNOWN_WITHIN, "the controller knows every store", || {
            let asked = cli.run(&["cluster", "status", "-o", "json"]);
            let status: serde_json::Value = serde_json::from_slice(&asked.stdout).ok()?;
            let number = |field: &str| status.get(field).and_then(serde_json::Value::as_u64);
            (number("nodes")? >= stores && number("nodes_not_up")? == 0).then_some(())
        });
    }

    /// Starts etcd and the bucket, makes certificates and configurations, and none of the processes.
    ///
    /// # Panics
    /// When something that it takes is missing.
    pub fn prepare(workspace: &Workspace, options: ClusterOptions) -> Self {
        let directory = workspace.directory("cluster");
        let etcd =
            Etcd::start(workspace, &EtcdOptions { members: options.etcd_members, ..EtcdOptions::default() });
        let seaweed = options.seaweed.then(|| Seaweed::start(workspace));
        let bucket = match &seaweed {
            Some(seaweed) => seaweed.url("cluster"),
            None => format!("file://{}", workspace.directory("bucket").display()),
        };
        let hosts: BTreeSet<IpAddr> = options
            .places
            .values()
            .map(|place| place.host)
            .chain([IpAddr::from(Ipv4Addr::LOCALHOST)])
            .collect();
        let hosts: Vec<IpAddr> = hosts.into_iter().collect();
        let certs = Certs::make(directory.join("certs"), &workspace.directory("cluster/operator"), &hosts);
        let (processes, ports) = (BTreeMap::new(), BTreeMap::new());
        let mut cluster = Self { processes, ports, options, directory, certs, bucket, etcd, seaweed };
        for member in cluster.members() {
            cluster.configure(member);
        }
        cluster
    }

    /// Every process that the options ask for, stores first.
    pub fn members(&self) -> Vec<Member> {
        let stores = (0..self.options.stores).map(Member::Store);
        stores.chain((0..self.options.frontends).map(Member::Frontend)).collect()
    }

    /// Starts every process that was not started yet, and waits for none.
    pub fn spawn_all(&mut self) {
        for member in self.members() {
            if !self.processes.contains_key(&member) {
                self.spawn(member);
            }
        }
    }

    /// Starts a process, and does not wait for it.
    ///
    /// # Panics
    /// When it runs.
    pub fn spawn(&mut self, member: Member) {
        if let Some(process) = self.processes.get_mut(&member) {
            return process.spawn_again();
        }
        let process = Process::spawn(self.launch(member));
        self.processes.insert(member, process);
    }

    /// One more store, which is waited for.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn add_store(&mut self) -> Member {
        let member = self.prepare_store();
        self.spawn(member);
        self.until_member_ready(member);
        member
    }

    /// One more store, which is not started.
    pub fn prepare_store(&mut self) -> Member {
        let member = Member::Store(self.options.stores);
        self.options.stores += 1;
        self.configure(member);
        member
    }

    /// One more frontend, which is waited for.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn add_frontend(&mut self) -> Member {
        let member = Member::Frontend(self.options.frontends);
        self.options.frontends += 1;
        self.add(member)
    }

    #[track_caller]
    fn add(&mut self, member: Member) -> Member {
        self.configure(member);
        self.spawn(member);
        self.until_member_ready(member);
        member
    }

    /// Waits until every process that was started is ready.
    ///
    /// # Panics
    /// When one ends, or is not ready in time.
    #[track_caller]
    pub fn until_ready(&mut self) {
        for member in self.processes.keys().copied().collect::<Vec<_>>() {
            self.until_member_ready(member);
        }
    }

    /// Waits until one process is ready.
    ///
    /// # Panics
    /// When it ends, or is not ready in time.
    #[track_caller]
    pub fn until_member_ready(&mut self, member: Member) {
        if let Err(refusal) = self.process_mut(member).until_ready() {
            panic!("{member} ended, {}:\n{}", refusal.status, refusal.said);
        }
    }

    /// A process that was started.
    ///
    /// # Panics
    /// When it never was.
    #[track_caller]
    pub fn process(&self, member: Member) -> &Process {
        self.processes.get(&member).unwrap_or_else(|| panic!("{member} was never started"))
    }

    /// The same, to do something to it.
    ///
    /// # Panics
    /// When it never was started.
    #[track_caller]
    pub fn process_mut(&mut self, member: Member) -> &mut Process {
        self.processes.get_mut(&member).unwrap_or_else(|| panic!("{member} was never started"))
    }

    /// SIGKILL, and gone.
    #[track_caller]
    pub fn kill(&mut self, member: Member) {
        self.process_mut(member).kill();
    }

    /// SIGTERM; the exit status.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn terminate(&mut self, member: Member) -> ExitStatus {
        self.process_mut(member).terminate()
    }

    /// SIGSTOP: it is there, and does nothing.
    #[track_caller]
    pub fn pause(&self, member: Member) {
        self.process(member).pause();
    }

    /// SIGCONT: it goes on, as if nothing had been.
    #[track_caller]
    pub fn resume(&self, member: Member) {
        self.process(member).resume();
    }

    /// Starts a process that has ended again, on its directory and ports, and waits until it is ready.
    ///
    /// # Panics
    /// When it still runs, or does not become ready.
    #[track_caller]
    pub fn restart(&mut self, member: Member) {
        self.process_mut(member).restart();
    }

    /// [`Cluster::kill`] and [`Cluster::restart`].
    #[track_caller]
    pub fn kill_and_restart(&mut self, member: Member) {
        self.kill(member);
        self.restart(member);
    }

    /// Sets a variable for the next starts of a process.
    pub fn set_env(&mut self, member: Member, name: &str, value: &str) {
        let env = self.options.env_of.entry(member).or_default();
        env.retain(|(known, _)| known != name);
        env.push((name.to_owned(), value.to_owned()));
        let launch = self.launch(member);
        if let Some(process) = self.processes.get_mut(&member) {
            *process.launch_mut() = launch;
        }
    }

    /// A CLI that knows every frontend and takes whichever answers.
    pub fn cli(&self) -> Cli {
        let cli = Cli::new(&self.directory.join("operator"));
        self.with_bucket(cli.with_env("TIDELOG_BOOTSTRAP", &self.url()))
    }

    /// A CLI whose context is one frontend.
    ///
    /// # Panics
    /// When the context cannot be written.
    pub fn cli_at(&self, frontend: usize) -> Cli {
        let home = self.home(Member::Frontend(frontend));
        let mut context = Context::new(self.address(Member::Frontend(frontend)).to_string());
        context.fingerprint = Some(self.certs.fingerprint.clone());
        context.save(&home.join(".config/tidelog/context.json")).expect("a context in the home directory");
        self.with_bucket(Cli::new(&home))
    }

    fn with_bucket(&self, cli: Cli) -> Cli {
        self.bucket_env().iter().fold(cli, |cli, (name, value)| cli.with_env(name, value))
    }

    /// Every frontend in one URL, for clients.
    pub fn url(&self) -> String {
        let frontends = (0..self.options.frontends).map(Member::Frontend);
        let addresses: Vec<String> = frontends.map(|member| self.address(member).to_string()).collect();
        format!("tidelog://{}?ca={}", addresses.join(","), self.certs.authority().display())
    }

    /// One frontend's URL.
    pub fn url_of(&self, frontend: usize) -> String {
        let address = self.address(Member::Frontend(frontend));
        format!("tidelog://{address}?ca={}", self.certs.authority().display())
    }

    /// The internal port of a store, the clients' port of a frontend.
    #[track_caller]
    pub fn address(&self, member: Member) -> SocketAddr {
        SocketAddr::new(self.options.place_of(member).host, self.ports[&member].main)
    }

    pub fn data_dir(&self, member: Member) -> PathBuf {
        self.home(member).join("data")
    }

    /// Where a process has its logs.
    pub fn home(&self, member: Member) -> PathBuf {
        self.directory.join(member.to_string())
    }

    pub fn bucket_url(&self) -> &str {
        &self.bucket
    }

    pub fn seaweed(&mut self) -> Option<&mut Seaweed> {
        self.seaweed.as_mut()
    }

    pub fn etcd(&mut self) -> &mut Etcd {
        &mut self.etcd
    }

    /// The cluster's metadata, to look into or to change.
    ///
    /// # Panics
    /// When etcd does not answer.
    pub async fn meta(&self) -> Arc<tidelog_meta::Etcd> {
        let url = self.etcd.url(PREFIX).parse().expect("a URL of etcd");
        let options = tidelog_meta::EtcdOptions::new(url);
        Arc::new(tidelog_meta::Etcd::open(options).await.expect("etcd answers"))
    }

    fn bucket_env(&self) -> Vec<(String, String)> {
        self.seaweed.as_ref().map(Seaweed::env).unwrap_or_default()
    }

    /// Gives a process ports, a certificate and a configuration.
    fn configure(&mut self, member: Member) {
        let home = self.home(member);
        fs::create_dir_all(&home).expect("a home directory");
        self.ports.insert(member, Ports { main: free_port(), http: free_port() });
        self.certs.issue(&member.to_string());
        fs::write(home.join("tidelog.toml"), self.configuration(member)).expect("a configuration file");
    }

    fn configuration(&self, member: Member) -> String {
        let mut text = String::new();
        let place = self.options.place_of(member);
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        let mut line = |line: String| writeln!(text, "{line}").expect("a text takes lines");
        line(format!("data_dir = {}\nbucket = {:?}", quoted(&self.data_dir(member)), self.bucket));
        line("[node]".to_owned());
        if let Member::Store(index) = member {
            line(format!("id = {}", index + 1));
        }
        if let Some(rack) = self.options.rack_of(member) {
            line(format!("rack = {rack:?}"));
        }
        let (certificate, key) = self.certs.pair(&member.to_string());
        line(format!("[cluster]\nca = {}", quoted(&self.certs.authority())));
        line(format!("certificate = {}\nkey = {}", quoted(&certificate), quoted(&key)));
        if let Member::Store(_) = member {
            line(format!("listen = \"{}\"", self.address(member)));
        }
        let endpoints = if place.etcd.is_empty() { self.etcd.endpoints() } else { place.etcd };
        line(format!("[meta]\nendpoints = {endpoints:?}\nprefix = \"{PREFIX}/\""));
        let http = SocketAddr::new(place.host, self.ports[&member].http);
        line(format!("[listen]\nhttp = \"{http}\"\nanonymous = {}", !place.host.is_loopback()));
        if let Member::Frontend(_) = member {
            line(format!("quic = \"{}\"", self.address(member)));
            let (certificate, key) = self.certs.listener();
            line(format!("[tls]\ncertificate = {}\nkey = {}", quoted(&certificate), quoted(&key)));
        }
        text
    }

    fn launch(&self, member: Member) -> Launch {
        let home = self.home(member);
        let role = match member {
            Member::Store(_) => "store",
            Member::Frontend(_) => "frontend",
        };
        let config = home.join("tidelog.toml").display().to_string();
        let mut env = self.options.env.clone();
        env.extend(self.bucket_env());
        env.extend(self.options.env_of.get(&member).into_iter().flatten().cloned());
        let place = self.options.place_of(member);
        Launch {
            name: member.to_string(),
            home,
            launcher: place.launcher,
            arguments: [role, "--config", &config].map(str::to_owned).to_vec(),
            env,
            http: SocketAddr::new(place.host, self.ports[&member].http),
        }
    }
}
