//! Where a server's settings come from: defaults < file < variables < flags.

use std::fmt;
use std::path::PathBuf;

use clap::ValueEnum;
use tidelog_runtime::config::{ConfigError, Layers, Resolved};

use super::{OTHER_VARIABLES, Settings};

/// What a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Everything in one process.
    #[default]
    Dev,
    Store,
    Frontend,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dev => "server",
            Self::Store => "store",
            Self::Frontend => "frontend",
        })
    }
}

/// Where settings come from, and those that have a flag in every role.
#[derive(Debug, clap::Args)]
pub struct SettingsArgs {
    /// A TOML file with settings; variables (TIDELOG_…) and flags go before it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of everything the server keeps locally [default: ./tidelog-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Address of the native protocol, QUIC and TCP + TLS [default: 127.0.0.1:9440]
    #[arg(long, value_name = "ADDRESS")]
    quic: Option<String>,
    /// Address of health and metrics [default: 127.0.0.1:9444]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// URL of the bucket [default of dev: a directory below the data directory]
    #[arg(long, value_name = "URL")]
    bucket: Option<String>,
    /// Members of etcd, with commas between them; not for dev
    #[arg(long, value_name = "HOST:PORT,…")]
    etcd: Option<String>,
}

impl SettingsArgs {
    /// The settings of a process of this role; every problem at once.
    pub fn load(&self, role: Role) -> Result<(Settings, Resolved), ConfigError> {
        let mut layers = Layers::new();
        if let Some(path) = &self.config {
            layers = layers.file(path)?;
        }
        layers = layers.variables(std::env::vars_os(), OTHER_VARIABLES);
        for (key, flag, value) in [
            ("data_dir", "--data-dir", &self.data_dir),
            ("listen.quic", "--quic", &self.quic),
            ("listen.http", "--http", &self.http),
            ("bucket", "--bucket", &self.bucket),
            ("meta.endpoints", "--etcd", &self.etcd),
        ] {
            if let Some(value) = value {
                layers = layers.flag(key, flag, value);
            }
        }
        Settings::load(&layers, |settings, reader| settings.check(role, reader))
    }
}
