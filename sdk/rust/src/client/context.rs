//! The context: a small file in which `tidelog dev` leaves where it listens and which certificate it
//! shows, so that commands on the same machine need no flags.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde::{Deserialize, Serialize};
use tidelog_wire::{Fingerprint, Trust};

use super::ClientOptions;
use crate::Error;

/// Names another file.
const VARIABLE: &str = "TIDELOG_CONTEXT";

/// The file's version that this crate writes, and the newest that it reads.
const VERSION: u32 = 1;

/// Where a server is and how to recognise it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    version: u32,
    /// `host:port`, for QUIC and for TCP alike.
    pub endpoint: String,
    /// SHA-256 of the server's certificate in hexadecimal digits; without it the operating system decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The name that the certificate must carry, where that is not the endpoint's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The server's HTTP address, such as `http://127.0.0.1:9444`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
}

impl Context {
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self { version: VERSION, endpoint: endpoint.into(), fingerprint: None, server_name: None, http: None }
    }

    /// `$TIDELOG_CONTEXT`, or `tidelog/context.json` below `$XDG_CONFIG_HOME` or `~/.config`.
    pub fn default_path() -> Result<PathBuf, Error> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = set(VARIABLE) {
            return Ok(path);
        }
        let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        config.map(|dir| dir.join("tidelog").join("context.json")).ok_or_else(|| Error::Invalid {
            what: "the context file",
            reason: format!("neither {VARIABLE} nor HOME is set"),
        })
    }

    /// Reads a context; `None` when there is no such file.
    pub fn load(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |reason: String| Error::Context { path: path.to_owned(), reason };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error.to_string())),
        };
        let context: Self = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        if context.version > VERSION {
            return Err(failed(format!("written by a newer version ({})", context.version)));
        }
        Ok(Some(context))
    }

    /// Writes the context, in one step: a reader sees the old file or the new one.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let failed = |error: &dyn std::error::Error| Error::Context {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let text = serde_json::to_string_pretty(self).map_err(|error| failed(&error))?;
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|error| failed(&error))?;
        }
        let new = path.with_extension(format!("json.{}", std::process::id()));
        fs::write(&new, text + "\n").and_then(|()| fs::rename(&new, path)).map_err(|error| failed(&error))
    }

    /// How to reach the server.
    pub fn options(&self) -> Result<ClientOptions, Error> {
        let mut options = ClientOptions::new([&self.endpoint])?;
        if let Some(digits) = &self.fingerprint {
            let fingerprint: Fingerprint = digits.parse().map_err(|error| Error::Invalid {
                what: "the context's fingerprint",
                reason: format!("{error}"),
            })?;
            options.trust = Trust::Pinned(fingerprint);
        }
        options.server_name.clone_from(&self.server_name);
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_survives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep").join("context.json");
        assert_eq!(Context::load(&path).unwrap(), None);
        let mut context = Context::new("127.0.0.1:9440");
        context.fingerprint = Some("cd".repeat(32));
        context.save(&path).unwrap();
        assert_eq!(Context::load(&path).unwrap(), Some(context.clone()));
        assert_eq!(context.options().unwrap().trust, Trust::Pinned(Fingerprint([0xcd; 32])));
    }

    #[test]
    fn a_context_that_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("context.json");
        for (text, reason) in [("{", "EOF"), (r#"{"version": 2, "endpoint": "a:1"}"#, "newer version")] {
            fs::write(&path, text).unwrap();
            let said = Context::load(&path).unwrap_err().to_string();
            assert!(said.contains("context.json") && said.contains(reason), "{said}");
        }
    }
}
