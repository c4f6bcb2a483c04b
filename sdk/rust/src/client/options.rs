//! How to reach a cluster: the options, and the URL that stands for them.
//!
//! ```text
//! tidelog://host[:port][,host[:port]…][?transport=auto|quic|tcp]
//!     [&fingerprint=HEX | &ca=FILE | &insecure=true][&server_name=NAME][&client_id=NAME]
//! ```

use std::path::Path;
use std::time::Duration;

use tidelog_wire::{Fingerprint, TransportChoice, TransportSettings, Trust};

use crate::Error;

/// The port of a listener that was not told otherwise.
pub const DEFAULT_PORT: u16 = 9440;

const SCHEME: &str = "tidelog://";

/// How to reach a cluster.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Servers to try in turn, each `host:port`.
    pub endpoints: Vec<String>,
    pub transport: TransportChoice,
    /// Which certificates are believed.
    pub trust: Trust,
    /// The name that the certificate must carry, where that is not the host's.
    pub server_name: Option<String>,
    /// Names this client in the server's logs and metrics.
    pub client_id: String,
    /// For one connection attempt.
    pub connect_timeout: Duration,
    /// For one request with all its retries.
    pub request_timeout: Duration,
    pub settings: TransportSettings,
}

impl ClientOptions {
    /// Options for these servers (`host` or `host:port`), with the operating system's trust.
    pub fn new<S: AsRef<str>>(endpoints: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        let endpoints: Vec<_> =
            endpoints.into_iter().map(|e| endpoint(e.as_ref())).collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err(invalid("no server is named"));
        }
        Ok(Self {
            endpoints,
            transport: TransportChoice::Auto,
            trust: Trust::Platform,
            server_name: None,
            client_id: String::new(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            settings: TransportSettings::default(),
        })
    }

    /// Options from a URL; a bare `host:port` is one too.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        let rest = match url.split_once("://") {
            None => url,
            Some(_) => url.strip_prefix(SCHEME).ok_or_else(|| invalid(format!("not a {SCHEME} address")))?,
        };
        let (hosts, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut options = Self::new(hosts.trim_end_matches('/').split(','))?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            options.set(key, &decode_percent(value)?)?;
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        match key {
            "transport" => {
                self.transport = match value {
                    "auto" => TransportChoice::Auto,
                    "quic" => TransportChoice::Quic,
                    "tcp" => TransportChoice::Tcp,
                    _ => return Err(invalid(format!("transport={value}: not one of auto, quic, tcp"))),
                }
            }
            "fingerprint" => {
                let fingerprint: Fingerprint =
                    value.parse().map_err(|e| invalid(format!("fingerprint={value}: {e}")))?;
                self.trust = Trust::Pinned(fingerprint);
            }
            "ca" => {
                self.trust = Trust::authorities_file(Path::new(value))
                    .map_err(|error| invalid(format!("ca={value}: {error}")))?;
            }
            "insecure" => match value {
                "true" => self.trust = Trust::Insecure,
                "false" => {}
                _ => return Err(invalid(format!("insecure={value}: not one of true, false"))),
            },
            "server_name" => self.server_name = Some(value.to_owned()),
            "client_id" => value.clone_into(&mut self.client_id),
            _ => return Err(invalid(format!("{key}: no such parameter"))),
        }
        Ok(())
    }
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::Invalid { what: "the server's address", reason: reason.into() }
}

/// `host:port` of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn endpoint(text: &str) -> Result<String, Error> {
    let bad = || invalid(format!("{text:?} is not HOST or HOST:PORT"));
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, after)) => (format!("[{v6}]"), after.strip_prefix(':').or(after.is_empty().then_some(""))),
        None => match text.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (text.to_owned(), Some("")),
        },
    };
    let port = match port.ok_or_else(bad)? {
        "" if !text.ends_with(':') => DEFAULT_PORT,
        port => port.parse().map_err(|_| bad())?,
    };
    if host.is_empty() || host.contains(['/', '@', ' ', '?']) {
        return Err(bad());
    }
    Ok(format!("{host}:{port}"))
}

fn decode_percent(text: &str) -> Result<String, Error> {
    let bad = || invalid(format!("{text:?} is not percent-encoded text"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|d| char::from(d).to_digit(16)).ok_or_else(bad);
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_it_all() {
        let digits = "ab".repeat(32);
        let url = format!("tidelog://a,b:1,[::1]:2/?transport=tcp&fingerprint={digits}&client_id=my%20app");
        let options = ClientOptions::from_url(&url).unwrap();
        assert_eq!(options.endpoints, ["a:9440", "b:1", "[::1]:2"]);
        assert_eq!(options.transport, TransportChoice::Tcp);
        assert_eq!(options.trust, Trust::Pinned(Fingerprint([0xab; 32])));
        assert_eq!(options.client_id, "my app");
        assert_eq!(ClientOptions::from_url("localhost").unwrap().endpoints, ["localhost:9440"]);
    }

    #[test]
    fn what_is_wrong_with_a_url_is_named() {
        let said = |url: &str| ClientOptions::from_url(url).unwrap_err().to_string();
        assert!(said("kafka://a").contains("tidelog://"));
        assert!(said("tidelog://").contains("HOST"));
        assert!(said("tidelog://a:b").contains("\"a:b\""));
        assert!(said("tidelog://a:").contains("\"a:\""));
        assert!(said("tidelog://a:99999").contains("99999"));
        assert!(said("tidelog://a?transport=udp").contains("transport=udp"));
        assert!(said("tidelog://a?speed=high").contains("speed"));
        assert!(said("tidelog://a?fingerprint=12").contains("fingerprint=12"));
        assert!(said("tidelog://a?ca=/nowhere.pem").contains("/nowhere.pem"));
        assert!(said("tidelog://a?client_id=%f").contains("percent"));
    }
}
