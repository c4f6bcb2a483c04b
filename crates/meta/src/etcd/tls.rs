//! Certificates from files, and finding out why they are not accepted.

use std::path::Path;
use std::sync::Arc;

use etcd_client::{Certificate, Identity, TlsOptions};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::TlsFiles;
use super::fault::of_tls;
use crate::MetaError;

/// Largest file that is taken for certificates or a key.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

pub(super) async fn load(files: &TlsFiles) -> Result<TlsOptions, MetaError> {
    let mut config = TlsOptions::new();
    config = match &files.authorities {
        Some(path) => config.ca_certificate(Certificate::from_pem(read_certificates(path).await?)),
        None => config.with_native_roots(),
    };
    if let Some((certificate, key)) = &files.identity {
        config = config.identity(Identity::from_pem(read_certificates(certificate).await?, read(key).await?));
    }
    Ok(config)
}

/// A file that has a certificate; without this, one that has none would only show as a peer that nobody
/// trusts.
async fn read_certificates(path: &Path) -> Result<Vec<u8>, MetaError> {
    let pem = read(path).await?;
    match CertificateDer::from_pem_slice(&pem) {
        Ok(_) => Ok(pem),
        Err(error) => Err(untrusted(path, &format!("no certificate in PEM: {error}"))),
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, MetaError> {
    let failed = |error: std::io::Error| untrusted(path, &error.to_string());
    let size = tokio::fs::metadata(path).await.map_err(failed)?.len();
    if size > FILE_BYTES_MAX {
        return Err(untrusted(path, &format!("{size} bytes are too many for certificates or a key")));
    }
    tokio::fs::read(path).await.map_err(failed)
}

fn untrusted(path: &Path, reason: &str) -> MetaError {
    MetaError::Untrusted(format!("{}: {reason}", path.display()))
}

/// Why a member ends connections that it has just agreed to. TLS 1.3 tells a client that its certificate
/// is not accepted after the handshake, when the HTTP library throws the reason away. `None` when it does
/// not end them, or for another reason.
pub(super) async fn refusal(files: &TlsFiles, member: &str) -> Option<String> {
    let config = client_config(files).await?;
    let (host, _) = member.rsplit_once(':')?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()?;
    let tcp = TcpStream::connect(member).await.ok()?;
    let ended = match TlsConnector::from(Arc::new(config)).connect(name, tcp).await {
        Ok(mut tls) => tls.read(&mut [0]).await.err()?,
        Err(error) => error,
    };
    of_tls(&ended)
}

/// Only for an authority that is named: the system's are the library's business.
async fn client_config(files: &TlsFiles) -> Option<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let authorities = read(files.authorities.as_ref()?).await.ok()?;
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&authorities).filter_map(Result::ok));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let builder = builder.with_root_certificates(roots);
    let mut config = match &files.identity {
        Some((certificate, key)) => {
            let (certificate, key) = (read(certificate).await.ok()?, read(key).await.ok()?);
            let chain = CertificateDer::pem_slice_iter(&certificate).collect::<Result<_, _>>().ok()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(&key).ok()?).ok()?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Some(config)
}
