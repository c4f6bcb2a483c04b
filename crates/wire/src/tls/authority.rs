//! The cluster's own certificate authority, as `tidelog certs` runs it: a key in a file, no service.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use time::{Duration, OffsetDateTime};

use super::cluster::MEMBER_NAME;
use super::identity::read;
use super::{Identity, IdentityError};

/// Certificates are good from a little before now on: clocks differ.
const BACKDATE_DAYS: i64 = 1;

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateUse {
    /// A process of the cluster, both ways, on the internal port. It carries [`MEMBER_NAME`], which
    /// nothing else that the authority issues does.
    Member,
    /// The port that clients connect to.
    Listener,
}

/// A certificate that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    /// For people: it becomes the subject's common name.
    pub name: String,
    /// DNS names and IP addresses that the certificate is good for.
    pub hosts: Vec<String>,
    pub usage: CertificateUse,
    pub valid_days: u32,
}

/// A certificate authority with its key. Never prints the key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    key_pem: String,
}

impl Authority {
    /// A new authority. Whoever has its key can join the cluster.
    pub fn create(name: &str, valid_days: u32) -> Result<Self, IdentityError> {
        let key = KeyPair::generate().map_err(|error| generating(&error))?;
        let mut params = params(name, in_days(valid_days)?, &[])?;
        // It signs members and listeners, never other authorities.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(|error| generating(&error))?;
        Self::from_pem(&certificate.pem(), &key.serialize_pem())
    }

    /// An authority from its certificate and key, as PEM text.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, IdentityError> {
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|error| IdentityError::NoKey(error.to_string()))?;
        let key = KeyPair::try_from(&key).map_err(|error| IdentityError::NoKey(error.to_string()))?;
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key)
            .map_err(|error| IdentityError::Unusable(error.to_string()))?;
        Ok(Self { issuer, certificate_pem: certificate_pem.to_owned(), key_pem: key_pem.to_owned() })
    }

    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, IdentityError> {
        Self::from_pem(&read(certificate)?, &read(key)?)
    }

    pub fn issue(&self, request: &CertificateRequest) -> Result<Identity, IdentityError> {
        self.issue_until(request, in_days(request.valid_days)?)
    }

    pub(crate) fn issue_until(
        &self,
        request: &CertificateRequest,
        not_after: OffsetDateTime,
    ) -> Result<Identity, IdentityError> {
        let key = KeyPair::generate().map_err(|error| generating(&error))?;
        let mut hosts = request.hosts.clone();
        let mut purposes = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if request.usage == CertificateUse::Member {
            hosts.insert(0, MEMBER_NAME.to_owned());
            purposes.push(ExtendedKeyUsagePurpose::ClientAuth);
        } else if hosts.iter().any(|host| host.eq_ignore_ascii_case(MEMBER_NAME)) {
            let reason = format!("{MEMBER_NAME} is for the members of the cluster");
            return Err(IdentityError::Generate(reason));
        }
        let mut params = params(&request.name, not_after, &hosts)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = purposes;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(|error| generating(&error))?;
        Identity::from_pem(&certificate.pem(), &key.serialize_pem())
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The secret: write it to a file that only its owner can read.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

fn params(
    name: &str,
    not_after: OffsetDateTime,
    hosts: &[String],
) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::new(hosts.to_vec()).map_err(|error| generating(&error))?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "tidelog");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::now_utc() - Duration::days(BACKDATE_DAYS);
    params.not_after = not_after;
    Ok(params)
}

fn in_days(days: u32) -> Result<OffsetDateTime, IdentityError> {
    OffsetDateTime::now_utc()
        .checked_add(Duration::days(i64::from(days)))
        .ok_or_else(|| IdentityError::Generate(format!("{days} days is too long")))
}

fn generating(error: &rcgen::Error) -> IdentityError {
    IdentityError::Generate(error.to_string())
}
