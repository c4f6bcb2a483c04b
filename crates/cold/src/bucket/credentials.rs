//! AWS credentials from wherever AWS tools find them: variables, profile files, web identity,
//! credential processes, container and instance roles.
//!
//! `object_store` asks for credentials with every request; the chain behind `aws-config` may have to
//! ask a server. So what was found is kept until shortly before it expires.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use parking_lot::RwLock;
use tokio::sync::Mutex;

/// How long before they expire credentials are replaced.
const REFRESH_BEFORE_EXPIRY: Duration = Duration::from_mins(5);

/// The region of servers that have none.
const REGION_FALLBACK: &str = "us-east-1";

/// The region that variables or the profile name. Instance metadata is not asked: off AWS that only
/// costs a timeout.
pub(super) async fn region() -> String {
    let chain = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new());
    chain.region().await.map_or_else(|| REGION_FALLBACK.to_owned(), |region| region.to_string())
}

/// The default chain of the AWS tools.
pub(super) async fn default_chain(region: String) -> ChainCredentials<DefaultCredentialsChain> {
    let region = aws_config::Region::new(region);
    ChainCredentials::new(DefaultCredentialsChain::builder().region(region).build().await)
}

#[derive(Clone)]
struct Known {
    credential: Arc<AwsCredential>,
    expires: Option<SystemTime>,
}

impl Known {
    fn lasts(&self, time: Duration) -> bool {
        self.expires.is_none_or(|expires| SystemTime::now() + time < expires)
    }
}

/// Hands credentials of an AWS provider to `object_store`.
pub(super) struct ChainCredentials<P> {
    provider: P,
    known: RwLock<Option<Known>>,
    /// Held while asking, so that many requests ask once.
    asking: Mutex<()>,
}

impl<P> ChainCredentials<P> {
    fn new(provider: P) -> Self {
        Self { provider, known: RwLock::new(None), asking: Mutex::new(()) }
    }

    fn known(&self, lasting: Duration) -> Option<Arc<AwsCredential>> {
        self.known.read().as_ref().filter(|known| known.lasts(lasting)).map(|known| known.credential.clone())
    }
}

impl<P> fmt::Debug for ChainCredentials<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChainCredentials")
    }
}

#[async_trait]
impl<P: ProvideCredentials> CredentialProvider for ChainCredentials<P> {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        if let Some(credential) = self.known(REFRESH_BEFORE_EXPIRY) {
            return Ok(credential);
        }
        let _asking = self.asking.lock().await;
        if let Some(credential) = self.known(REFRESH_BEFORE_EXPIRY) {
            return Ok(credential);
        }
        match self.provider.provide_credentials().await {
            Ok(found) => {
                let credential = Arc::new(AwsCredential {
                    key_id: found.access_key_id().to_owned(),
                    secret_key: found.secret_access_key().to_owned(),
                    token: found.session_token().map(str::to_owned),
                });
                *self.known.write() = Some(Known { credential: credential.clone(), expires: found.expiry() });
                Ok(credential)
            }
            // Whoever issues them may be away for a while: what is still valid goes on being used.
            Err(error) => self.known(Duration::ZERO).ok_or_else(|| refused(&error)),
        }
    }
}

fn refused(error: &CredentialsError) -> object_store::Error {
    let transient = matches!(error, CredentialsError::ProviderTimedOut(_));
    let cause = std::iter::successors(Some(error as &dyn std::error::Error), |cause| (*cause).source());
    let cause = cause.last().map(ToString::to_string).unwrap_or_default();
    let text = format!(
        "no AWS credentials could be had from the environment, the profile files, or a container's or \
         instance's role ({cause})"
    );
    if transient {
        let source = std::io::Error::new(std::io::ErrorKind::TimedOut, text);
        return object_store::Error::Generic { store: "S3", source: Box::new(source) };
    }
    object_store::Error::Unauthenticated { path: "the bucket".to_owned(), source: text.into() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_credential_types::Credentials;
    use aws_credential_types::provider::future;

    use super::*;

    /// Issues numbered keys, each valid for so long; fails once it has issued `most`.
    #[derive(Debug)]
    struct Issuer {
        issued: AtomicUsize,
        most: usize,
        valid: Duration,
    }

    impl ProvideCredentials for Issuer {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let number = self.issued.fetch_add(1, Ordering::SeqCst);
            future::ProvideCredentials::ready(if number < self.most {
                let expires = Some(SystemTime::now() + self.valid);
                Ok(Credentials::new(format!("key-{number}"), "secret", None, expires, "test"))
            } else {
                Err(CredentialsError::not_loaded("away"))
            })
        }
    }

    fn chain(most: usize, valid_secs: u64) -> ChainCredentials<Issuer> {
        let valid = Duration::from_secs(valid_secs);
        ChainCredentials::new(Issuer { issued: AtomicUsize::new(0), most, valid })
    }

    #[tokio::test]
    async fn credentials_are_asked_for_once_while_they_last() {
        let chain = chain(1, 3600);
        for _ in 0..3 {
            assert_eq!(chain.get_credential().await.unwrap().key_id, "key-0");
        }
        assert_eq!(chain.provider.issued.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn credentials_are_renewed_before_they_expire() {
        let chain = chain(2, 60);
        assert_eq!(chain.get_credential().await.unwrap().key_id, "key-0");
        assert_eq!(chain.get_credential().await.unwrap().key_id, "key-1");
    }

    #[tokio::test]
    async fn valid_credentials_outlive_their_issuer() {
        let chain = chain(1, 60);
        assert_eq!(chain.get_credential().await.unwrap().key_id, "key-0");
        assert_eq!(chain.get_credential().await.unwrap().key_id, "key-0");
    }

    #[tokio::test]
    async fn missing_credentials_are_an_error_that_says_where_they_were_sought() {
        let error = chain(0, 0).get_credential().await.unwrap_err();
        assert!(matches!(error, object_store::Error::Unauthenticated { .. }));
        assert!(error.to_string().contains("profile files"));
    }
}
