//! Mutual TLS between the processes of one cluster.
//!
//! Every member shows a certificate of the cluster's authority that carries [`MEMBER_NAME`], in both
//! directions. Addresses are not looked at: processes move, and whoever has such a certificate is a
//! member wherever it runs. The files can be replaced while connections are open; handshakes from then
//! on use the new ones.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};

use super::identity::{certificates, read};
use super::{Identity, IdentityError, TLS13_ONLY, certified, provider};

/// The name in every member's certificate, and in no other.
pub const MEMBER_NAME: &str = "member.tidelog.internal";

/// Where a member's certificate, its key and the authorities that it believes are kept, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFiles {
    /// More than one authority is believed while certificates move from an old one to a new one.
    pub authorities: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A member's certificate and whom it believes. Cheap to clone; clones share what [`Self::replace`]
/// changes.
#[derive(Clone)]
pub struct ClusterTls(Arc<RwLock<Arc<Current>>>);

struct Current {
    shown: Arc<CertifiedKey>,
    identity: Identity,
    authorities_pem: String,
    servers: Arc<WebPkiServerVerifier>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl ClusterTls {
    /// Fails when the certificate is not one that its own authorities vouch for: better to know at the
    /// start than from every peer.
    pub fn new(identity: Identity, authorities_pem: &str) -> Result<Self, IdentityError> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(Current::new(identity, authorities_pem)?)))))
    }

    pub fn from_files(files: &ClusterFiles) -> Result<Self, IdentityError> {
        Self::new(Identity::from_files(&files.certificate, &files.key)?, &read(&files.authorities)?)
    }

    /// Shows and believes this from the next handshake on. What cannot be used changes nothing.
    pub fn replace(&self, identity: Identity, authorities_pem: &str) -> Result<(), IdentityError> {
        let next = Arc::new(Current::new(identity, authorities_pem)?);
        *self.0.write() = next;
        Ok(())
    }

    /// Reads the files again; true when there was something new in them.
    pub fn reload(&self, files: &ClusterFiles) -> Result<bool, IdentityError> {
        let identity = Identity::from_files(&files.certificate, &files.key)?;
        let authorities = read(&files.authorities)?;
        let current = self.current();
        let same = identity.is_same(&current.identity) && authorities == current.authorities_pem;
        if !same {
            self.replace(identity, &authorities)?;
        }
        Ok(!same)
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.0.read())
    }

    pub(crate) fn server_config(&self, alpn: &[u8]) -> Result<ServerConfig, IdentityError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(TLS13_ONLY)
            .map_err(unusable)?
            .with_client_cert_verifier(Arc::new(self.clone()))
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![alpn.to_vec()];
        // A resumed session would be believed on the word of a certificate that may be gone.
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

impl Current {
    fn new(identity: Identity, authorities_pem: &str) -> Result<Self, IdentityError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authorities_pem.as_bytes())? {
            roots.add(certificate).map_err(unusable)?;
        }
        let roots = Arc::new(roots);
        let servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .build()
            .map_err(unusable)?;
        let clients =
            WebPkiClientVerifier::builder_with_provider(roots, provider()).build().map_err(unusable)?;
        let shown = certified(&identity)?;
        let (own, intermediates) = (&shown.cert[0], &shown.cert[1..]);
        clients
            .verify_client_cert(own, intermediates, UnixTime::now())
            .and_then(|_| is_member(own))
            .map_err(unusable)?;
        Ok(Self { shown, identity, authorities_pem: authorities_pem.to_owned(), servers, clients })
    }
}

/// Whether a certificate that is valid is a member's.
fn is_member(certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
    verify_server_name(&ParsedCertificate::try_from(certificate)?, &member_name())
}

fn member_name() -> ServerName<'static> {
    ServerName::try_from(MEMBER_NAME).expect("it is a DNS name")
}

fn unusable(error: impl fmt::Display) -> IdentityError {
    IdentityError::Unusable(error.to_string())
}

impl PartialEq for ClusterTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ClusterTls {}

impl fmt::Debug for ClusterTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClusterTls").field(&self.current().identity).finish()
    }
}

impl ResolvesServerCert for ClusterTls {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current().shown))
    }
}

impl ResolvesClientCert for ClusterTls {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current().shown))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ServerCertVerifier for ClusterTls {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = member_name();
        self.current().servers.verify_server_cert(end_entity, intermediates, &name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current().servers.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current().servers.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current().servers.supported_verify_schemes()
    }
}

impl ClientCertVerifier for ClusterTls {
    /// None: a member has one certificate, and needs no hint which to show.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.current().clients.verify_client_cert(end_entity, intermediates, now)?;
        is_member(end_entity).map(|()| verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current().clients.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current().clients.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current().clients.supported_verify_schemes()
    }
}
