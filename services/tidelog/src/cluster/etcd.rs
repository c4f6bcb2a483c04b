//! The cluster's etcd, as the settings name it.

use std::sync::Arc;
use std::time::Duration;

use tidelog_meta::etcd::{Credentials, EtcdUrl, OptionsError, TlsFiles};
use tidelog_meta::{
    Cluster, Etcd, EtcdOptions, MetaError, Mirror, SharedMeta, TypedMeta as _, WatchError, keys,
};
use tidelog_runtime::{Readiness, Supervisor};

use crate::settings::Settings;

/// How long to wait before an etcd that could not be reached is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Why etcd cannot be named like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error("all members are spoken to over TLS or not one of them: name all with https:// or none")]
    MixedSchemes,
}

/// The options that the settings amount to.
pub fn options(settings: &Settings) -> Result<EtcdOptions, NameError> {
    let (mut secure, mut plain, mut members) = (false, false, Vec::new());
    for endpoint in &settings.meta_endpoints {
        let member = match endpoint.split_once("://") {
            Some(("https", member)) => {
                secure = true;
                member
            }
            Some(("http", member)) => {
                plain = true;
                member
            }
            Some(_) => return Err(OptionsError::Endpoint(endpoint.clone()).into()),
            None => endpoint,
        };
        members.push(member.trim_end_matches('/'));
    }
    if secure && plain {
        return Err(NameError::MixedSchemes);
    }
    let url: EtcdUrl = format!("etcd://{}/{}", members.join(","), settings.meta_prefix.0).parse()?;
    let mut options = EtcdOptions::new(url);
    let identity = settings.meta_certificate.clone().zip(settings.meta_key.clone());
    if secure || settings.meta_ca.is_some() || identity.is_some() {
        options.tls = Some(TlsFiles { authorities: settings.meta_ca.clone(), identity });
    }
    if !settings.meta_user.is_empty() {
        let (user, password) = (settings.meta_user.clone(), settings.meta_password.password());
        options.credentials = Some(Credentials { user, password });
    }
    Ok(options)
}

/// Connects. An etcd that does not answer is waited for, which `part` of the readiness says; one that
/// refuses us is an error.
pub async fn open(
    settings: &Settings,
    readiness: &Readiness,
    part: &'static str,
) -> anyhow::Result<SharedMeta> {
    let options = options(settings)?;
    let members = options.endpoints.join(", ");
    loop {
        match Etcd::open(options.clone()).await {
            Ok(etcd) => {
                tracing::info!(members, "etcd answers");
                return Ok(Arc::new(etcd));
            }
            Err(error) if error.is_retryable() => again(readiness, part, &error).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// The cluster's record. Where there is none yet it is waited for, which `part` of the readiness says.
pub async fn cluster(
    meta: &SharedMeta,
    readiness: &Readiness,
    part: &'static str,
) -> Result<Cluster, MetaError> {
    loop {
        match find(meta, readiness, part).await {
            Ok(cluster) => return Ok(cluster),
            Err(error) if error.is_retryable() => again(readiness, part, &error).await,
            Err(error) => return Err(error),
        }
    }
}

async fn find(meta: &SharedMeta, readiness: &Readiness, part: &'static str) -> Result<Cluster, MetaError> {
    let key = keys::cluster();
    loop {
        // The listing's revision says from where on to watch.
        let listing = meta.list(key.as_str()).await?;
        if let Some(stored) = meta.read(&key).await? {
            return Ok(stored.value);
        }
        let reason = "there is no cluster in etcd yet: start its first store";
        tracing::info!("{reason}");
        readiness.not_ready(part, reason);
        let mut watch = meta.watch(key.as_str(), listing.revision.next()).await?;
        match watch.next().await {
            Ok(_) | Err(WatchError::Compacted { .. }) => {}
            Err(WatchError::Closed) => return Err(MetaError::Closed),
            Err(WatchError::Failed(error)) => return Err(error),
        }
    }
}

/// Lists the cluster and keeps up with it.
pub async fn mirror(
    meta: &SharedMeta,
    readiness: &Readiness,
    part: &'static str,
    supervisor: &Supervisor,
) -> Result<Arc<Mirror>, MetaError> {
    loop {
        match Mirror::open(Arc::clone(meta), None).await {
            Ok((mirror, following)) => {
                supervisor.spawn_until_cancelled("image", following);
                return Ok(mirror);
            }
            Err(error) if error.is_retryable() => again(readiness, part, &error).await,
            Err(error) => return Err(error),
        }
    }
}

/// Says that etcd is waited for, and waits.
async fn again(readiness: &Readiness, part: &'static str, error: &MetaError) {
    tracing::warn!(%error, "etcd cannot be asked; it is tried again");
    readiness.not_ready(part, error.to_string());
    #[expect(clippy::disallowed_methods, reason = "back-off")]
    tokio::time::sleep(PAUSE).await;
}

#[cfg(test)]
mod tests {
    use tidelog_runtime::config::Layers;

    use super::*;

    fn of(file: &str) -> EtcdOptions {
        let layers = Layers::new().toml("file f", &format!("[meta]\n{file}")).unwrap();
        options(&Settings::load(&layers, |_, _| ()).unwrap().0).unwrap()
    }

    #[test]
    fn settings_become_options() {
        let plain = of("endpoints = ['a', 'http://b:1/', '[::1]:2']\nprefix = 'blue/'");
        assert_eq!(plain.endpoints, ["a:2379", "b:1", "[::1]:2"]);
        assert_eq!(
            (plain.prefix.as_str(), plain.tls.is_none(), plain.credentials.is_none()),
            ("blue", true, true)
        );
        let trusted = of("endpoints = ['a']\nca = 'ca.pem'\nuser = 'u'\npassword = 'p'");
        assert_eq!(trusted.prefix, "tidelog");
        assert_eq!(trusted.tls.unwrap().authorities.unwrap().to_str(), Some("ca.pem"));
        assert_eq!(trusted.credentials.unwrap().user, "u");
        let system = of("endpoints = ['https://a', 'https://b']");
        assert!(system.tls.is_some_and(|tls| tls.authorities.is_none() && tls.identity.is_none()));
    }
}
