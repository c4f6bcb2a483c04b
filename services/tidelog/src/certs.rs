//! `tidelog certs`: the cluster's own certificate authority, in a directory of files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use tidelog_wire::{Authority, CertificateRequest, CertificateUse};

use crate::exit::{Code, Failure};
use crate::output::{self, Output, OutputArgs};
use crate::private_file;

const AUTHORITY: &str = "ca";

/// Far above any certificate's life, far below what dates can hold.
const DAYS_MAX: u32 = 36_500;

/// A name becomes a file's name.
const NAME_BYTES_MAX: usize = 64;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an authority: ca.pem, and ca.key, which lets its owner join the cluster.
    Init {
        /// Where certificates and keys are kept.
        #[arg(long, default_value = "certs")]
        dir: PathBuf,
        /// The cluster's name, for people.
        #[arg(long, default_value = "tidelog cluster")]
        name: String,
        #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_MAX)))]
        days: u32,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Issue NAME.pem and NAME.key; an existing pair is renewed only with --renew.
    Issue {
        /// What the certificate is called, such as store-1.
        name: String,
        #[arg(long, default_value = "certs")]
        dir: PathBuf,
        /// `member`: a store or frontend on the internal port. `listener`: the port for clients.
        #[arg(long = "for", value_enum, default_value_t)]
        usage: Usage,
        /// DNS name or IP address that clients connect to; may be repeated.
        #[arg(long = "host")]
        hosts: Vec<String>,
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_MAX)))]
        days: u32,
        /// Replace an existing certificate; running processes take the new one up by themselves.
        #[arg(long)]
        renew: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Usage {
    #[default]
    Member,
    Listener,
}

/// What was written.
#[derive(Serialize)]
struct Written {
    certificate: PathBuf,
    key: PathBuf,
    fingerprint: Option<String>,
}

pub fn run(command: Command) -> anyhow::Result<Code> {
    match command {
        Command::Init { dir, name, days, output } => {
            let paths = Paths::new(&dir, AUTHORITY)?;
            paths
                .check_absent("an authority is there already; certificates of a new one would not fit it")?;
            let authority = Authority::create(&name, days)?;
            paths.write(authority.certificate_pem(), authority.key_pem())?;
            paths.print(None, output.output)
        }
        Command::Issue { name, dir, usage, hosts, days, renew, output } => {
            if name == AUTHORITY {
                return Err(Failure::usage(format!("{AUTHORITY} is the authority's own name")));
            }
            let usage = match usage {
                Usage::Member => CertificateUse::Member,
                Usage::Listener if hosts.is_empty() => {
                    let message =
                        "a listener's certificate needs at least one --host that clients connect to";
                    return Err(Failure::usage(message));
                }
                Usage::Listener => CertificateUse::Listener,
            };
            let paths = Paths::new(&dir, &name)?;
            if !renew {
                paths.check_absent("it is there already; renew it with --renew")?;
            }
            let authority = Paths::new(&dir, AUTHORITY)?;
            let authority = Authority::from_files(&authority.certificate, &authority.key)
                .context("the authority (made by `tidelog certs init`)")?;
            let request = CertificateRequest { name, hosts, usage, valid_days: days };
            let identity = authority.issue(&request)?;
            paths.write(identity.certificate_pem(), identity.key_pem())?;
            paths.print(Some(identity.fingerprint().to_string()), output.output)
        }
    }
}

struct Paths {
    certificate: PathBuf,
    key: PathBuf,
}

impl Paths {
    fn new(dir: &Path, name: &str) -> anyhow::Result<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with('.') || !name.chars().all(fits)
        {
            let message = format!(
                "{name:?} cannot be a file's name: up to {NAME_BYTES_MAX} letters, digits, '-', '_' and '.'"
            );
            return Err(Failure::usage(message));
        }
        Ok(Self { certificate: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) })
    }

    fn check_absent(&self, why: &str) -> anyhow::Result<()> {
        for path in [&self.certificate, &self.key] {
            if path.try_exists()? {
                return Err(Failure::error(Code::Failed, format!("{}: {why}", path.display())));
            }
        }
        Ok(())
    }

    /// The certificate is written last: when it is there, so is its key.
    fn write(&self, certificate_pem: &str, key_pem: &str) -> anyhow::Result<()> {
        let write = || {
            if let Some(dir) = self.key.parent() {
                fs::create_dir_all(dir)?;
            }
            private_file::write(&self.key, key_pem)?;
            private_file::write(&self.certificate, certificate_pem)
        };
        write().with_context(|| format!("writing {}", self.certificate.display()))
    }

    fn print(self, fingerprint: Option<String>, output: Output) -> anyhow::Result<Code> {
        match output {
            Output::Json => {
                let Self { certificate, key } = self;
                output::print_json(&Written { certificate, key, fingerprint })?;
            }
            Output::Table => {
                output::print(&format!("{}\n{}\n", self.certificate.display(), self.key.display()))?;
            }
        }
        Ok(Code::Success)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tidelog_wire::{ClusterFiles, ClusterTls};

    use super::*;

    fn init(dir: &Path) -> anyhow::Result<Code> {
        let output = OutputArgs { output: Output::Json };
        run(Command::Init { dir: dir.to_owned(), name: "test".to_owned(), days: 10, output })
    }

    fn issue(dir: &Path, name: &str, usage: Usage, hosts: &[&str], renew: bool) -> anyhow::Result<Code> {
        let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        let (output, dir) = (OutputArgs { output: Output::Json }, dir.to_owned());
        run(Command::Issue { name: name.to_owned(), dir, usage, hosts, days: 10, renew, output })
    }

    #[test]
    fn what_is_issued_makes_a_member_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new/certs");
        init(&dir).unwrap();
        issue(&dir, "store-1", Usage::Member, &[], false).unwrap();
        let files = ClusterFiles {
            authorities: dir.join("ca.pem"),
            certificate: dir.join("store-1.pem"),
            key: dir.join("store-1.key"),
        };
        let member = ClusterTls::from_files(&files).unwrap();
        issue(&dir, "store-1", Usage::Member, &[], true).unwrap();
        assert!(member.reload(&files).unwrap());
        for key in ["ca.key", "store-1.key"] {
            assert_eq!(fs::metadata(dir.join(key)).unwrap().permissions().mode() & 0o077, 0);
        }
    }

    #[test]
    fn nothing_is_overwritten_unasked_and_bad_names_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert!(issue(dir, "store-1", Usage::Member, &[], false).is_err());
        init(dir).unwrap();
        let authority = fs::read(dir.join("ca.pem")).unwrap();
        init(dir).unwrap_err();
        issue(dir, "front", Usage::Listener, &["localhost", "10.0.0.1"], false).unwrap();
        issue(dir, "front", Usage::Listener, &["localhost"], false).unwrap_err();
        issue(dir, "bare", Usage::Listener, &[], false).unwrap_err();
        for name in ["", "ca", "../x", ".hidden", "a/b", "a b"] {
            issue(dir, name, Usage::Member, &[], true).unwrap_err();
        }
        assert_eq!(fs::read(dir.join("ca.pem")).unwrap(), authority);
    }
}
