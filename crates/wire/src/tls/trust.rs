//! Whom a client believes.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tidelog_proto::{ALPN, ALPN_INTERNAL};

use super::identity::{certificates, read};
use super::{ClusterTls, Fingerprint, IdentityError};

/// How a client decides whether a server's certificate is good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// What the operating system trusts.
    Platform,
    /// These authorities and no others, as PEM text. A self-signed certificate is its own authority.
    Authorities(String),
    /// Exactly the certificate with this fingerprint, whatever names and dates it carries.
    Pinned(Fingerprint),
    /// The members of this member's cluster, on their internal port; the client shows its own
    /// certificate there.
    Cluster(ClusterTls),
    /// Anyone. Whoever sits between client and server can read and change everything.
    Insecure,
}

impl Trust {
    /// Authorities from a PEM file.
    pub fn authorities_file(path: &Path) -> Result<Self, IdentityError> {
        let pem = read(path)?;
        certificates(pem.as_bytes())?;
        Ok(Self::Authorities(pem))
    }

    /// The protocol that is spoken with whom is trusted this way.
    pub(crate) fn alpn(&self) -> &'static [u8] {
        match self {
            Self::Cluster(_) => ALPN_INTERNAL,
            _ => ALPN,
        }
    }

    pub(crate) fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, IdentityError> {
        let unusable = |error: &dyn std::error::Error| IdentityError::Unusable(error.to_string());
        let algorithms = provider.signature_verification_algorithms;
        match self {
            Self::Platform => {
                let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(provider))
                    .map_err(|error| unusable(&error))?;
                Ok(Arc::new(verifier))
            }
            Self::Authorities(pem) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(pem.as_bytes())? {
                    roots.add(certificate).map_err(|error| unusable(&error))?;
                }
                let verifier =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                        .build()
                        .map_err(|error| unusable(&error))?;
                Ok(verifier)
            }
            Self::Cluster(member) => Ok(Arc::new(member.clone())),
            Self::Pinned(fingerprint) => Ok(Arc::new(ByKey { expected: Some(*fingerprint), algorithms })),
            Self::Insecure => Ok(Arc::new(ByKey { expected: None, algorithms })),
        }
    }
}

/// Accepts one certificate, or any; always checks that the server holds its key.
#[derive(Debug)]
struct ByKey {
    expected: Option<Fingerprint>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ByKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.expected {
            Some(expected) if expected != Fingerprint::of(end_entity) => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
