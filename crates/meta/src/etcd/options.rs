//! What a connection to etcd needs to know.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::Seen;

/// Where etcd is, and who we are there.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// `host:port` of each member; at least one. Any of them may be down (`meta.endpoints`).
    pub endpoints: Vec<String>,
    /// What all keys begin with, so that several clusters can share an etcd (`meta.prefix`).
    pub prefix: String,
    /// `meta.user` and `meta.password`.
    pub credentials: Option<Credentials>,
    /// `meta.ca`, `meta.cert` and `meta.key`; without, the connection is in the clear.
    pub tls: Option<TlsFiles>,
    /// How long a call may take, with all attempts at all members (`meta.timeout`).
    pub timeout: Duration,
    /// What was seen of this etcd before: one that is not the same, or has not come as far, is refused.
    pub remembered: Option<Seen>,
}

/// A user of etcd.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub user: String,
    pub password: Password,
}

/// A password, which shows itself to nobody who merely prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

/// Where certificates are. The files are read for every new connection.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// PEM with the authorities that etcd's certificates come from. None: those that the system trusts.
    pub authorities: Option<PathBuf>,
    /// PEM with our certificate chain, and PEM with its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// `etcd://host:2379,host:2379/prefix`; with `etcds`, over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdUrl {
    pub endpoints: Vec<String>,
    pub prefix: String,
    pub tls: bool,
}

/// What is wrong with the way etcd was named.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OptionsError {
    #[error("{0:?} is not of the form etcd://host:2379,host:2379/prefix")]
    NotAUrl(String),
    #[error("no member of etcd is named")]
    NoEndpoint,
    #[error("{0:?} is not host:port")]
    Endpoint(String),
    #[error("the prefix {0:?} is not 1 to {PREFIX_BYTES_MAX} letters, digits, '.', '_' or '-'")]
    Prefix(String),
    #[error("a time-out of {0:?} is not between {TIMEOUT_MIN:?} and {TIMEOUT_MAX:?}")]
    Timeout(Duration),
    #[error("the password belongs in a setting of its own, not into the URL")]
    PasswordInUrl,
}

const DEFAULT_PORT: u16 = 2379;
const DEFAULT_PREFIX: &str = "tidelog";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_mins(5);
/// Keys with their prefix stay well below what etcd takes in one transaction.
const PREFIX_BYTES_MAX: usize = 64;

impl EtcdOptions {
    /// The members and prefix of the URL; TLS with the system's authorities if it asks for TLS.
    pub fn new(url: EtcdUrl) -> Self {
        Self {
            endpoints: url.endpoints,
            prefix: url.prefix,
            credentials: None,
            tls: url.tls.then(TlsFiles::default),
            timeout: DEFAULT_TIMEOUT,
            remembered: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), OptionsError> {
        if self.endpoints.is_empty() {
            return Err(OptionsError::NoEndpoint);
        }
        for endpoint in &self.endpoints {
            check_endpoint(endpoint)?;
        }
        check_prefix(&self.prefix)?;
        if !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&self.timeout) {
            return Err(OptionsError::Timeout(self.timeout));
        }
        Ok(())
    }
}

impl Password {
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl FromStr for EtcdUrl {
    type Err = OptionsError;

    fn from_str(text: &str) -> Result<Self, OptionsError> {
        let not_a_url = || OptionsError::NotAUrl(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(not_a_url)?;
        let tls = match scheme {
            "etcd" => false,
            "etcds" => true,
            _ => return Err(not_a_url()),
        };
        if rest.contains('@') {
            return Err(OptionsError::PasswordInUrl);
        }
        let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = if prefix.is_empty() { DEFAULT_PREFIX } else { prefix };
        check_prefix(prefix)?;
        if hosts.is_empty() {
            return Err(OptionsError::NoEndpoint);
        }
        let endpoints = hosts.split(',').map(with_port).collect::<Result<_, _>>()?;
        Ok(Self { endpoints, prefix: prefix.to_owned(), tls })
    }
}

impl fmt::Display for EtcdUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "etcds" } else { "etcd" };
        write!(f, "{scheme}://{}/{}", self.endpoints.join(","), self.prefix)
    }
}

fn with_port(host: &str) -> Result<String, OptionsError> {
    let bracketed = host.starts_with('[');
    let has_port = if bracketed { host.contains("]:") } else { host.contains(':') };
    let endpoint = if has_port { host.to_owned() } else { format!("{host}:{DEFAULT_PORT}") };
    check_endpoint(&endpoint)?;
    Ok(endpoint)
}

fn check_endpoint(endpoint: &str) -> Result<(), OptionsError> {
    let wrong = || OptionsError::Endpoint(endpoint.to_owned());
    let (host, port) = endpoint.rsplit_once(':').ok_or_else(wrong)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_is_fine = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        }
    };
    match port.parse::<u16>() {
        Ok(1..) if host_is_fine => Ok(()),
        _ => Err(wrong()),
    }
}

fn check_prefix(prefix: &str) -> Result<(), OptionsError> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || !prefix.chars().all(is_fine) {
        return Err(OptionsError::Prefix(prefix.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<EtcdUrl, OptionsError> {
        text.parse()
    }

    #[test]
    fn a_url_names_members_and_prefix() {
        let url = parse("etcd://a:1,b,[::1]:3,[::2]/blue").unwrap();
        assert_eq!(url.endpoints, ["a:1", "b:2379", "[::1]:3", "[::2]:2379"]);
        assert_eq!((url.prefix.as_str(), url.tls), ("blue", false));
        assert_eq!(parse(&url.to_string()).unwrap(), url);
        let short = parse("etcds://etcd.example").unwrap();
        assert_eq!(short.to_string(), "etcds://etcd.example:2379/tidelog");
        assert!(EtcdOptions::new(short).tls.is_some());
    }

    #[test]
    fn what_is_no_url_is_refused_with_the_reason() {
        for (text, message) in [
            ("http://a:1", "etcd://host:2379"),
            ("a:1", "etcd://host:2379"),
            ("etcd://", "no member"),
            ("etcd:///x", "no member"),
            ("etcd://a:1,,b:2", "host:port"),
            ("etcd://a:0", "host:port"),
            ("etcd://a:99999", "host:port"),
            ("etcd://a b:1", "host:port"),
            ("etcd://[::x]:1", "host:port"),
            ("etcd://::1", "host:port"),
            ("etcd://a:1/b/c", "prefix"),
            ("etcd://a:1/b c", "prefix"),
            ("etcd://me:secret@a:1", "setting of its own"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let mut options = EtcdOptions::new(parse("etcd://a:1").unwrap());
        options.credentials =
            Some(Credentials { user: "tidelog".to_owned(), password: Password::new("hunter2") });
        assert!(!format!("{options:?}").contains("hunter2"));
        options.check().unwrap();
        options.timeout = Duration::ZERO;
        assert!(matches!(options.check(), Err(OptionsError::Timeout(_))));
        options.endpoints.clear();
        assert_eq!(options.check(), Err(OptionsError::NoEndpoint));
    }
}
