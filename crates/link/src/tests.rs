//! Two processes' ends in one, over real sockets with real certificates.

mod calls;
mod cluster;
mod mesh;
mod replication;
mod store;
pub(crate) mod values;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidelog_model::{
    Clock, ClusterId, DirectoryId, NodeId, PartitionId, TimestampMs, TopicId, TopicPartition,
};
use tidelog_replica::{Instance, ReplicaId};
use tidelog_runtime::{CancellationToken, Supervisor};
use tidelog_wire::{
    Authority, ByteBudget, CertificateRequest, CertificateUse, ClusterTls, TransportSettings,
};
use tokio::time::timeout;

use crate::{LinkServer, LinkServerOptions, Remote, RemoteOptions, Services};

/// Long enough for anything on loopback; reached only by a test that fails.
const DEADLINE: Duration = Duration::from_secs(20);

const MIB: usize = 1024 * 1024;

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(1_700_000_000_000)
    }
}

struct Pair {
    server: LinkServer,
    remote: Remote,
    supervisor: Supervisor,
}

impl Pair {
    fn start(services: Services) -> Self {
        let supervisor = Supervisor::new();
        let tls = member();
        let listen = "127.0.0.1:0".parse().unwrap();
        let server = LinkServer::start(serving(listen, &tls, 64 * MIB), services, &supervisor).unwrap();
        let addr = server.local_addr().to_string();
        let remote = Remote::new(RemoteOptions::new(addr, tls, ByteBudget::new(64 * MIB)), &supervisor);
        Self { server, remote, supervisor }
    }

    async fn stop(self) {
        self.server.shut_down(DEADLINE).await;
        drop(self.remote);
        self.supervisor.shut_down(DEADLINE).await.unwrap();
        assert_eq!(self.supervisor.verdict(), None);
    }
}

/// A port that lets `frames_bytes` of received frames in.
fn serving(listen: SocketAddr, tls: &ClusterTls, frames_bytes: usize) -> LinkServerOptions {
    LinkServerOptions {
        listen,
        tls: tls.clone(),
        cluster: ClusterId::from_bytes([1; 16]),
        software: "tests/1".to_owned(),
        frames: ByteBudget::new(frames_bytes),
        settings: TransportSettings::default(),
        clock: Arc::new(FixedClock),
    }
}

fn member() -> ClusterTls {
    let authority = Authority::create("tests", 2).unwrap();
    let request = CertificateRequest {
        name: "store-1".to_owned(),
        hosts: Vec::new(),
        usage: CertificateUse::Member,
        valid_days: 1,
    };
    ClusterTls::new(authority.issue(&request).unwrap(), authority.certificate_pem()).unwrap()
}

fn nobody() -> Services {
    Services {
        partitions: None,
        topics: None,
        control: None,
        cluster: None,
        followers: None,
        drain: CancellationToken::new(),
        replies: ByteBudget::new(MIB),
    }
}

pub(crate) fn partition(n: u32) -> TopicPartition {
    TopicPartition::new(TopicId::from_bytes([7; 16]), PartitionId(n))
}

pub(crate) fn instance(node: u32) -> Instance {
    let replica = ReplicaId { node: NodeId(node), directory: DirectoryId::from_bytes([node as u8; 16]) };
    Instance { replica, boot: 3 }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("nothing happened within the deadline")
}
