//! This process's certificate as a member of its cluster.

use std::time::Duration;

use anyhow::Context as _;
use tidelog_runtime::Supervisor;
use tidelog_wire::{ClusterFiles, ClusterTls};
use tokio::time::{MissedTickBehavior, interval};

use crate::exit::Failure;
use crate::settings::Settings;

/// How often the files are looked at for a renewed certificate.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Loads the certificate; what is renewed in its files is shown to others from then on, without a restart.
pub fn load(settings: &Settings, supervisor: &Supervisor) -> anyhow::Result<ClusterTls> {
    let (Some(authorities), Some(certificate), Some(key)) =
        (settings.cluster_ca.clone(), settings.cluster_certificate.clone(), settings.cluster_key.clone())
    else {
        return Err(Failure::usage("cluster.ca, cluster.certificate and cluster.key are not set"));
    };
    let files = ClusterFiles { authorities, certificate, key };
    let tls = ClusterTls::from_files(&files)
        .context("cluster.ca, cluster.certificate, cluster.key (`tidelog certs init` and `tidelog certs issue NAME` make them)")?;
    supervisor.spawn_until_cancelled("member-certificate", follow(tls.clone(), files));
    Ok(tls)
}

async fn follow(tls: ClusterTls, files: ClusterFiles) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match tls.reload(&files) {
            Ok(false) => {}
            Ok(true) => tracing::info!("a new member's certificate is shown"),
            // Half written, perhaps.
            Err(error) => {
                tracing::warn!(%error, "the member's certificate cannot be used; the old one stays");
            }
        }
    }
}
