//! The cluster's certificates, made as an operator would.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::Cli;

/// A directory with an authority and what it issued.
#[derive(Debug)]
pub(super) struct Certs {
    directory: PathBuf,
    cli: Cli,
    /// Of the one certificate that all frontends show to clients.
    pub(super) fingerprint: String,
}

const LISTENER: &str = "listener";

impl Certs {
    /// `tidelog certs init`, and a certificate for clients' connections to these hosts.
    pub(super) fn make(directory: PathBuf, home: &Path, hosts: &[IpAddr]) -> Self {
        let cli = Cli::new(home);
        let mut certs = Self { directory, cli, fingerprint: String::new() };
        let _ = certs.run(&["init", "--name", "end-to-end"]);
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut arguments = vec!["issue", LISTENER, "--for", "listener", "--host", "localhost"];
        for host in &hosts {
            arguments.extend(["--host", host]);
        }
        let issued = certs.run(&arguments);
        let fingerprint = issued["fingerprint"].as_str().expect("an issued certificate has a fingerprint");
        fingerprint.clone_into(&mut certs.fingerprint);
        certs
    }

    /// `tidelog certs issue`: a member's certificate.
    pub(super) fn issue(&self, name: &str) {
        let _ = self.run(&["issue", name]);
    }

    pub(super) fn authority(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    pub(super) fn pair(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.directory.join(format!("{name}.pem")), self.directory.join(format!("{name}.key")))
    }

    pub(super) fn listener(&self) -> (PathBuf, PathBuf) {
        self.pair(LISTENER)
    }

    fn run(&self, arguments: &[&str]) -> serde_json::Value {
        let directory = self.directory.display().to_string();
        let (command, rest) = arguments.split_first().expect("a command");
        let mut all = vec!["certs", command];
        all.extend(rest);
        all.extend(["--dir", &directory, "-o", "json"]);
        self.cli.json(&all)
    }
}
