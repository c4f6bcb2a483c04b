//! What a server proves itself with: a certificate chain and its key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use super::sha256;

/// Why a certificate or a key cannot be used.
#[derive(Clone, Debug, Error)]
pub enum IdentityError {
    #[error("{}: {reason}", path.display())]
    Read { path: PathBuf, reason: String },
    #[error("no certificate found in the PEM text")]
    NoCertificate,
    #[error("no private key found in the PEM text: {0}")]
    NoKey(String),
    #[error("the certificate cannot be used: {0}")]
    Unusable(String),
    #[error("cannot make a certificate: {0}")]
    Generate(String),
    #[error("a fingerprint is the SHA-256 of a certificate: 64 hexadecimal digits, colons allowed")]
    Fingerprint,
}

/// A certificate chain with its private key. Cheap to clone; never prints the key.
#[derive(Clone)]
pub struct Identity(Arc<Parts>);

struct Parts {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    certificate_pem: String,
    key_pem: String,
}

impl Identity {
    /// A certificate for these host names and addresses, signed by itself, for development: clients
    /// trust it by its file or by its fingerprint.
    pub fn self_signed(names: &[String]) -> Result<Self, IdentityError> {
        let generate = |error: rcgen::Error| IdentityError::Generate(error.to_string());
        let key = KeyPair::generate().map_err(generate)?;
        let mut params = CertificateParams::new(names.to_vec()).map_err(generate)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "tidelog dev");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.self_signed(&key).map_err(generate)?;
        Self::from_pem(&certificate.pem(), &key.serialize_pem())
    }

    /// A chain (the server's own certificate first) and its key, both as PEM text.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, IdentityError> {
        let chain = certificates(certificate_pem.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|error| IdentityError::NoKey(error.to_string()))?;
        Ok(Self(Arc::new(Parts {
            chain,
            key,
            certificate_pem: certificate_pem.to_owned(),
            key_pem: key_pem.to_owned(),
        })))
    }

    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        Self::from_pem(&read(certificate)?, &read(key)?)
    }

    /// SHA-256 of the server's own certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(sha256(&self.0.chain[0]))
    }

    pub fn certificate_pem(&self) -> &str {
        &self.0.certificate_pem
    }

    /// The secret: write it to files that only their owner can read.
    pub fn key_pem(&self) -> &str {
        &self.0.key_pem
    }

    /// The same certificate with the same key.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.0.certificate_pem == other.0.certificate_pem && self.0.key_pem == other.0.key_pem
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.0.chain.clone()
    }

    /// A secret for one purpose, the same for as long as the key is.
    pub(crate) fn derive(&self, purpose: &[u8]) -> [u8; 32] {
        sha256(&[purpose, self.0.key.secret_der()].concat())
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        self.0.key.clone_key()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.fingerprint()).finish()
    }
}

pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| IdentityError::Unusable(error.to_string()))?;
    if chain.is_empty() { Err(IdentityError::NoCertificate) } else { Ok(chain) }
}

pub(super) fn read(path: &Path) -> Result<String, IdentityError> {
    std::fs::read_to_string(path)
        .map_err(|error| IdentityError::Read { path: path.to_owned(), reason: error.to_string() })
}

/// SHA-256 of a certificate, written as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(sha256(certificate))
    }
}

impl FromStr for Fingerprint {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let mut bytes = [0; 32];
        let mut digits = text.chars().filter(|c| *c != ':');
        for byte in &mut bytes {
            let mut digit = || digits.next().and_then(|c| c.to_digit(16)).ok_or(IdentityError::Fingerprint);
            *byte = (digit()? * 16 + digit()?) as u8;
        }
        if digits.next().is_some() { Err(IdentityError::Fingerprint) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_pem_files() {
        let made = Identity::self_signed(&["localhost".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&certificate, made.certificate_pem()).unwrap();
        std::fs::write(&key, made.key_pem()).unwrap();
        let read = Identity::from_files(&certificate, &key).unwrap();
        assert_eq!(read.fingerprint(), made.fingerprint());
        assert_eq!(read.fingerprint().to_string().parse::<Fingerprint>().unwrap(), made.fingerprint());
        assert!(!format!("{read:?}").contains("PRIVATE"));
    }

    #[test]
    fn what_is_no_identity_is_refused_with_a_reason() {
        let made = Identity::self_signed(&["localhost".to_owned()]).unwrap();
        assert!(matches!(Identity::from_pem("", made.key_pem()), Err(IdentityError::NoCertificate)));
        assert!(matches!(Identity::from_pem(made.certificate_pem(), ""), Err(IdentityError::NoKey(_))));
        let missing = Path::new("/nonexistent/cert.pem");
        assert!(matches!(Identity::from_files(missing, missing), Err(IdentityError::Read { .. })));
        assert!("12:34".parse::<Fingerprint>().is_err());
    }
}
