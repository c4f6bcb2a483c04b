//! Certificates, trust, and the one cipher configuration of both transports.

mod authority;
mod cluster;
mod credentials;
mod identity;
mod trust;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

pub use authority::{Authority, CertificateRequest, CertificateUse};
pub use cluster::{ClusterFiles, ClusterTls, MEMBER_NAME};
pub use credentials::Credentials;
pub use identity::{Fingerprint, Identity, IdentityError};
pub use trust::Trust;

const TLS13_ONLY: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// AES-128-GCM first: on processors with AES instructions it costs the least per byte.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    })
}

/// TLS 1.3 only, without client certificates.
pub(crate) fn server_config(credentials: &Credentials, alpn: &[u8]) -> Result<ServerConfig, IdentityError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(TLS13_ONLY)
        .map_err(|error| IdentityError::Unusable(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(credentials.clone()));
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
}

pub(crate) fn client_config(trust: &Trust, alpn: &[u8]) -> Result<ClientConfig, IdentityError> {
    let provider = provider();
    let verifier = trust.verifier(&provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(TLS13_ONLY)
        .map_err(|error| IdentityError::Unusable(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match trust {
        Trust::Cluster(member) => builder.with_client_cert_resolver(Arc::new(member.clone())),
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
}

/// A chain with its key, found to belong together.
fn certified(identity: &Identity) -> Result<Arc<CertifiedKey>, IdentityError> {
    CertifiedKey::from_der(identity.chain(), identity.key(), &provider())
        .map(Arc::new)
        .map_err(|error| IdentityError::Unusable(error.to_string()))
}

/// SHA-256, by way of the provider that does everything else.
fn sha256(bytes: &[u8]) -> [u8; 32] {
    let suite = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().expect("it is a TLS 1.3 suite");
    let digest = suite.common.hash_provider.hash(bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}
