//! The certificate that a port shows to clients, replaceable while it is open.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{Identity, IdentityError, certified};

/// A certificate that may be replaced. Cheap to clone; clones share what [`Self::replace`] changes.
#[derive(Clone)]
pub struct Credentials(Arc<RwLock<Current>>);

struct Current {
    identity: Identity,
    shown: Arc<CertifiedKey>,
}

impl Credentials {
    /// Fails when the key is not the certificate's.
    pub fn new(identity: Identity) -> Result<Self, IdentityError> {
        let shown = certified(&identity)?;
        Ok(Self(Arc::new(RwLock::new(Current { identity, shown }))))
    }

    /// What is shown now.
    pub fn identity(&self) -> Identity {
        self.0.read().identity.clone()
    }

    /// Shows this from the next handshake on. What cannot be used changes nothing.
    pub fn replace(&self, identity: Identity) -> Result<(), IdentityError> {
        let shown = certified(&identity)?;
        *self.0.write() = Current { identity, shown };
        Ok(())
    }

    /// Reads the files again; true when there was something new in them.
    pub fn reload(&self, certificate: &Path, key: &Path) -> Result<bool, IdentityError> {
        let identity = Identity::from_files(certificate, key)?;
        if identity.is_same(&self.identity()) {
            return Ok(false);
        }
        self.replace(identity).map(|()| true)
    }
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().shown))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials").field(&self.identity()).finish()
    }
}
