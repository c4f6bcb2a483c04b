//! The server's certificate: a given one, or one signed by itself that is made once and kept.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use tidelog_wire::Identity;

use crate::settings::Settings;

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

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
    let write = || {
        fs::create_dir_all(&directory)?;
        write_new(&key, identity.key_pem())?;
        write_new(&certificate, identity.certificate_pem())
    };
    write().with_context(|| format!("writing the certificate to {}", directory.display()))?;
    Ok(identity)
}

fn names(settings: &Settings) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let address: IpAddr = settings.listen_quic.ip();
    if !address.is_unspecified() {
        names.push(address.to_string());
    }
    names.extend(settings.tls_names.iter().cloned());
    names.sort();
    names.dedup();
    names
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tidelog_runtime::config::Layers;

    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_private() {
        let (settings, _) = Settings::load(&Layers::new(), Settings::check_together).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let made = load(&settings, directory.path()).unwrap();
        assert_eq!(load(&settings, directory.path()).unwrap().fingerprint(), made.fingerprint());
        let key = fs::metadata(directory.path().join("tls/key.pem")).unwrap();
        assert_eq!(key.permissions().mode() & 0o077, 0);
    }
}
