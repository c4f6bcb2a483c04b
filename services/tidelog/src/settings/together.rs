//! What is wrong with settings that are each valid, taken together, and what each role needs.

use std::net::{IpAddr, SocketAddr};

use tidelog_runtime::config::Reader;

use super::{Endpoint, Role, Settings};
use crate::cluster;

/// The smallest journal budget, in files: the open one, one ready, one being read, one with history.
const BUDGET_FILES_MIN: u64 = 4;

impl Settings {
    /// Where the process stands, if that was said.
    pub fn rack(&self) -> Option<String> {
        Some(self.node_rack.clone()).filter(|rack| !rack.is_empty())
    }

    /// Notes what is wrong for a process of this role.
    pub fn check(&self, role: Role, reader: &mut Reader<'_>) {
        self.check_together(reader);
        match role {
            Role::Dev => {}
            Role::Frontend => {
                self.check_member(role, reader);
                check_reachable(
                    reader,
                    "listen",
                    self.listen_quic,
                    self.listen_advertise.as_ref(),
                    "clients",
                );
            }
            Role::Store => {
                self.check_member(role, reader);
                if self.node_id.is_none() {
                    reader.problem(
                        &["node.id"],
                        "a store needs a number that no other store of the cluster has",
                    );
                }
                let (listen, advertise) = (self.cluster_listen, self.cluster_advertise.as_ref());
                check_reachable(reader, "cluster", listen, advertise, "other processes");
            }
        }
    }

    /// What every process of a cluster needs.
    fn check_member(&self, role: Role, reader: &mut Reader<'_>) {
        if self.meta_endpoints.is_empty() {
            let reason = format!("a {role} needs etcd: name its members, such as 127.0.0.1:2379");
            reader.problem(&["meta.endpoints"], reason);
        }
        if self.bucket.is_none() {
            let reason = format!("a {role} needs a bucket that every process of the cluster reaches");
            reader.problem(&["bucket"], reason);
        }
        for (key, path, made_by) in [
            ("cluster.ca", &self.cluster_ca, "`tidelog certs init` makes the cluster's authority"),
            ("cluster.certificate", &self.cluster_certificate, "`tidelog certs issue NAME` makes NAME.pem"),
            ("cluster.key", &self.cluster_key, "`tidelog certs issue NAME` makes NAME.key"),
        ] {
            if path.is_none() {
                reader.problem(&[key], format!("a {role} needs it; {made_by}"));
            }
        }
    }

    /// What holds for every role.
    fn check_together(&self, reader: &mut Reader<'_>) {
        if self.journal_budget_bytes.0 < BUDGET_FILES_MIN * self.journal_file_bytes.0 {
            let reason = format!("the journal's budget must hold at least {BUDGET_FILES_MIN} files");
            reader.problem(&["journal.budget_bytes", "journal.file_bytes"], reason);
        }
        if self.journal_queue_bytes < self.journal_group_bytes {
            let reason = "the queue must hold at least one group";
            reader.problem(&["journal.queue_bytes", "journal.group_bytes"], reason);
        }
        if !self.journal_file_bytes.0.is_multiple_of(4096) {
            reader.problem(&["journal.file_bytes"], "it must be a multiple of 4 KiB");
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            let reason = "a certificate and its key come together, or not at all";
            reader.problem(&["tls.certificate", "tls.key"], reason);
        }
        if self.meta_certificate.is_some() != self.meta_key.is_some() {
            let reason = "a certificate and its key come together, or not at all";
            reader.problem(&["meta.certificate", "meta.key"], reason);
        }
        if self.meta_user.is_empty() != self.meta_password.is_empty() {
            reader.problem(
                &["meta.user", "meta.password"],
                "a user and a password come together, or not at all",
            );
        }
        if !self.meta_endpoints.is_empty()
            && let Err(error) = cluster::etcd::options(self)
        {
            reader.problem(&["meta.endpoints"], error.to_string());
        }
        for (key, address) in [("listen.quic", self.listen_quic), ("listen.http", self.listen_http)] {
            if !is_loopback(address.ip()) && !self.listen_anonymous {
                let reason = format!(
                    "{address} is beyond loopback, and clients are not authenticated: whoever reaches it could \
                     read and delete everything; set listen.anonymous = true if that is meant"
                );
                reader.problem(&[key], reason);
            }
        }
    }
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
    }
}

/// Whether others can connect to what they are told.
fn check_reachable(
    reader: &mut Reader<'_>,
    section: &str,
    listen: SocketAddr,
    advertise: Option<&Endpoint>,
    who: &str,
) {
    let (listen_key, advertise_key) = match section {
        "cluster" => ("cluster.listen", "cluster.advertise"),
        _ => ("listen.quic", "listen.advertise"),
    };
    match advertise {
        Some(advertised) if advertised.is_wildcard() => {
            let reason = format!("{who} cannot connect to {}: name a host that they reach", advertised.0);
            reader.problem(&[advertise_key], reason);
        }
        None if listen.ip().is_unspecified() => {
            let reason =
                format!("{who} cannot connect to {listen}: say in {advertise_key} how they reach it");
            reader.problem(&[listen_key, advertise_key], reason);
        }
        _ => {}
    }
}
