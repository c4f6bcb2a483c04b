use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidelog_link::{LinkServer, LinkServerOptions, Services};
use tidelog_meta::Role;
use tidelog_model::{ClusterId, ErrorCode, LeaderEpoch, Offset, PartitionId, TopicId};
use tidelog_peer::{LogReport, StoreControl, StoreError};
use tidelog_runtime::{CancellationToken, SystemClock};
use tidelog_wire::{Authority, CertificateRequest, CertificateUse, TransportSettings};
use tokio::net::TcpListener;

use super::*;

/// Reached only by a test that fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// A store that answers; a ping with token 1 is never answered.
struct Played {
    boot: u64,
    pings: AtomicU64,
}

#[async_trait]
impl StoreControl for Played {
    async fn ping(&self, ping: Ping) -> Result<Pong, StoreError> {
        self.pings.fetch_add(1, Ordering::Relaxed);
        if ping.token == 1 {
            std::future::pending::<()>().await;
        }
        Ok(Pong { directory: directory(), boot: self.boot, fit: true, resigned: Vec::new() })
    }

    async fn report(&self, partitions: Vec<TopicPartition>) -> Result<LogReports, StoreError> {
        let log = |partition| LogReport { partition, last_epoch: LeaderEpoch(3), log_end: Offset(9) };
        let logs = partitions.into_iter().map(log).collect();
        Ok(LogReports { directory: directory(), boot: self.boot, logs })
    }

    async fn hand_over(&self, token: u64, _: Vec<HandOver>) -> Result<(), StoreError> {
        Err(StoreError::new(ErrorCode::NotController, format!("token {token} is old")))
    }

    async fn sizes(&self) -> Result<Vec<PartitionBytes>, StoreError> {
        Ok(vec![PartitionBytes { partition: partition(), bytes: 77 }])
    }
}

struct Scene {
    authority: Authority,
    supervisor: Supervisor,
    stores: LinkStores,
}

fn scene() -> Scene {
    let authority = Authority::create("tests", 2).unwrap();
    let supervisor = Supervisor::new();
    let stores = LinkStores::new(member(&authority), "store-9", &supervisor);
    Scene { authority, supervisor, stores }
}

impl Scene {
    /// A store's internal port, at this address or at any that is free.
    fn serve(&self, boot: u64, listen: &str) -> (LinkServer, Arc<Played>) {
        let played = Arc::new(Played { boot, pings: AtomicU64::new(0) });
        let options = LinkServerOptions {
            listen: listen.parse().unwrap(),
            tls: member(&self.authority),
            cluster: ClusterId::from_bytes([1; 16]),
            software: "tests".to_owned(),
            frames: ByteBudget::new(1024 * 1024),
            settings: TransportSettings::default(),
            clock: SystemClock::shared(),
        };
        let services = Services {
            cluster: None,
            partitions: None,
            topics: None,
            control: Some(Arc::clone(&played) as _),
            followers: None,
            drain: CancellationToken::new(),
            replies: ByteBudget::new(1024 * 1024),
        };
        (LinkServer::start(options, services, &self.supervisor).unwrap(), played)
    }

    async fn ping(&self, live: &Live, token: u64) -> Result<Pong, Unreachable> {
        within(self.stores.ping(live, Ping { controller: NodeId(9), token })).await
    }
}

fn member(authority: &Authority) -> ClusterTls {
    let request = CertificateRequest {
        name: "store".to_owned(),
        hosts: Vec::new(),
        usage: CertificateUse::Member,
        valid_days: 1,
    };
    ClusterTls::new(authority.issue(&request).unwrap(), authority.certificate_pem()).unwrap()
}

fn directory() -> DirectoryId {
    DirectoryId::from_bytes([4; 16])
}

fn partition() -> TopicPartition {
    TopicPartition::new(TopicId::from_bytes([7; 16]), PartitionId(0))
}

fn live(boot: u64, address: std::net::SocketAddr) -> Live {
    Live {
        node: NodeId(4),
        directory: directory(),
        boot,
        address: address.to_string(),
        rack: None,
        software: "tests".to_owned(),
        roles: vec![Role::Store],
        draining: false,
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("nothing happened within the deadline")
}

#[tokio::test]
async fn every_call_reaches_the_store_and_comes_back() {
    let scene = scene();
    let (server, _) = scene.serve(2, "127.0.0.1:0");
    let live = live(2, server.local_addr());
    assert_eq!(scene.ping(&live, 2).await.unwrap().boot, 2);
    let reports = within(scene.stores.report(&live, vec![partition()])).await.unwrap();
    assert_eq!((reports.boot, reports.logs[0].log_end), (2, Offset(9)));
    assert_eq!(within(scene.stores.sizes(&live)).await.unwrap()[0].bytes, 77);
    let moved = HandOver { partition: partition(), epoch: LeaderEpoch(1), to: NodeId(2) };
    let refused = within(scene.stores.hand_over(&live, 5, vec![moved])).await.unwrap_err();
    let Unreachable::Refused(error) = refused else { panic!("{refused}") };
    assert_eq!(error, StoreError::new(ErrorCode::NotController, "token 5 is old"));
}

#[tokio::test]
async fn a_process_that_ended_is_gone_and_its_connections_close() {
    let scene = scene();
    let (server, _) = scene.serve(2, "127.0.0.1:0");
    let live = live(2, server.local_addr());
    // Nothing was connected yet, so nothing closes.
    let never = tokio::time::timeout(Duration::from_millis(20), scene.stores.closed(&live)).await;
    assert!(never.is_err());
    scene.ping(&live, 2).await.unwrap();
    let closed = scene.stores.closed(&live);
    server.shut_down(DEADLINE).await;
    within(closed).await;
    let gone = scene.ping(&live, 4).await.unwrap_err();
    assert!(matches!(gone, Unreachable::Gone(_)), "{gone}");
}

#[tokio::test]
async fn silence_is_not_taken_for_an_end() {
    let scene = scene();
    // The host takes the connection, and nobody shakes hands.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = live(2, mute.local_addr().unwrap());
    let silent = scene.ping(&live, 2).await.unwrap_err();
    assert!(matches!(silent, Unreachable::Silent(_)), "{silent}");
    // A name that leads nowhere says nothing of the process either.
    let nowhere = Live { address: "no-such-host.invalid:1".to_owned(), ..live };
    let silent = scene.ping(&nowhere, 2).await.unwrap_err();
    assert!(matches!(silent, Unreachable::Silent(_)), "{silent}");
}

#[tokio::test]
async fn a_store_of_another_cluster_is_not_spoken_to() {
    let (ours, theirs) = (scene(), scene());
    let (server, played) = theirs.serve(2, "127.0.0.1:0");
    let silent = ours.ping(&live(2, server.local_addr()), 2).await.unwrap_err();
    assert!(matches!(silent, Unreachable::Silent(_)), "{silent}");
    assert_eq!(played.pings.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_store_that_was_started_again_is_connected_to_anew() {
    let scene = scene();
    let (first, played) = scene.serve(2, "127.0.0.1:0");
    let address = first.local_addr();
    scene.ping(&live(2, address), 2).await.unwrap();
    scene.ping(&live(2, address), 2).await.unwrap();
    first.shut_down(DEADLINE).await;
    let (_second, again) = scene.serve(3, &address.to_string());
    assert_eq!(scene.ping(&live(3, address), 2).await.unwrap().boot, 3);
    let pings = |played: &Played| played.pings.load(Ordering::Relaxed);
    assert_eq!((pings(&played), pings(&again)), (2, 1));
}

#[tokio::test]
async fn a_call_that_is_given_up_holds_up_no_other() {
    let scene = scene();
    let (server, _) = scene.serve(2, "127.0.0.1:0");
    let live = live(2, server.local_addr());
    let held = tokio::time::timeout(Duration::from_millis(50), scene.ping(&live, 1)).await;
    assert!(held.is_err());
    scene.ping(&live, 2).await.unwrap();
}
