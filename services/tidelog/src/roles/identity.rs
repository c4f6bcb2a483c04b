//! The server's certificate: a given one, or one signed by itself that is made once and kept.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tidelog_runtime::Supervisor;
use tidelog_wire::{Credentials, Identity};
use tokio::time::{MissedTickBehavior, interval};

use crate::private_file;
use crate::settings::Settings;

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// How often given files are looked at for a renewed certificate.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Loads the certificate, or makes one below the data directory.
pub fn load(settings: &Settings, data_dir: &Path) -> anyhow::Result<Identity> {
    if let (Some(certificate), Some(key)) = (&settings.tls_certificate, &settings.tls_key) {
        return Identity::from_files(certificate, key).context("the certificate");
    }
    let directory = data_dir.join("tls");
    let (certificate, key) = (directory.join(CERTIFICATE), directory.join(KEY));
    // The certificate is written last: when it is there, so is its key.
    if certificate.try_exists()? {
        return Identity::from_files(&certificate, &key).context("the certificate made at the first start");
    }
    let identity = Identity::self_signed(&names(settings)).context("making a certificate")?;
    let write = || -> io::Result<()> {
        fs::create_dir_all(&directory)?;
        private_file::write(&key, identity.key_pem())?;
        private_file::write(&certificate, identity.certificate_pem())
    };
    write().with_context(|| format!("writing the certificate to {}", directory.display()))?;
    Ok(identity)
}

/// Shows a certificate that is renewed in its files to clients from then on, without a restart.
pub fn follow(settings: &Settings, credentials: &Credentials, supervisor: &Supervisor) {
    let (Some(certificate), Some(key)) = (&settings.tls_certificate, &settings.tls_key) else { return };
    let (certificate, key, credentials) = (certificate.clone(), key.clone(), credentials.clone());
    supervisor.spawn_until_cancelled("certificate", async move {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            match credentials.reload(&certificate, &key) {
                Ok(false) => {}
                Ok(true) => {
                    tracing::info!(fingerprint = %credentials.identity().fingerprint(), "a new certificate is shown");
                }
                // Half written, perhaps.
                Err(error) => tracing::warn!(%error, "the certificate's files cannot be used; the old one stays"),
            }
        }
    });
}

fn names(settings: &Settings) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let address: IpAddr = settings.listen_quic.ip();
    if !address.is_unspecified() {
        names.push(address.to_string());
    }
    names.extend(settings.listen_advertise.as_ref().map(|endpoint| endpoint.host().to_owned()));
    names.extend(settings.tls_names.iter().cloned());
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tidelog_runtime::config::Layers;

    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_private() {
        let (settings, _) = Settings::load(&Layers::new(), |_, _| ()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let made = load(&settings, directory.path()).unwrap();
        assert_eq!(load(&settings, directory.path()).unwrap().fingerprint(), made.fingerprint());
        let key = fs::metadata(directory.path().join("tls/key.pem")).unwrap();
        assert_eq!(key.permissions().mode() & 0o077, 0);
    }
}
