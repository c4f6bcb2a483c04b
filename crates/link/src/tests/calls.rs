use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tidelog_model::{ErrorCode, LeaderEpoch, NodeId, Offset, TopicPartition};
use tidelog_peer::{
    HandOver, LogReport, LogReports, PartitionBytes, Ping, Pong, StoreControl, StoreError, TopicRef, Topics,
};
use tokio::sync::Notify;

use super::{DEADLINE, Pair, instance, nobody, partition, within};
use crate::{LinkError, Services};

/// Answers pings with even tokens at once, and others when it is told to.
#[derive(Debug, Default)]
struct Store {
    release: Notify,
    held: Arc<AtomicUsize>,
    cancelled: Arc<Cancelled>,
}

#[derive(Debug, Default)]
struct Cancelled {
    count: AtomicUsize,
    changed: Notify,
}

/// Counts the calls that were dropped before they were done.
struct Held {
    store: Arc<Cancelled>,
    done: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.done {
            self.store.count.fetch_add(1, Ordering::SeqCst);
            self.store.changed.notify_one();
        }
    }
}

#[async_trait]
impl StoreControl for Store {
    async fn ping(&self, ping: Ping) -> Result<Pong, StoreError> {
        if ping.token % 2 == 1 {
            self.held.fetch_add(1, Ordering::SeqCst);
            let mut held = Held { store: Arc::clone(&self.cancelled), done: false };
            self.release.notified().await;
            held.done = true;
        }
        let resigned = vec![(partition(4), LeaderEpoch(9))];
        Ok(Pong { directory: instance(1).replica.directory, boot: ping.token, fit: true, resigned })
    }

    async fn report(&self, partitions: Vec<TopicPartition>) -> Result<LogReports, StoreError> {
        let log = |partition: TopicPartition| LogReport {
            partition,
            last_epoch: LeaderEpoch(partition.partition.0),
            log_end: Offset(100 + u64::from(partition.partition.0)),
        };
        let logs = partitions.into_iter().map(log).collect();
        Ok(LogReports { directory: instance(1).replica.directory, boot: 3, logs })
    }

    async fn hand_over(&self, token: u64, partitions: Vec<HandOver>) -> Result<(), StoreError> {
        let message = format!("token {token}, {} partitions", partitions.len());
        Err(StoreError::new(ErrorCode::NotController, message))
    }

    async fn sizes(&self) -> Result<Vec<PartitionBytes>, StoreError> {
        Ok(vec![PartitionBytes { partition: partition(2), bytes: 1 << 40 }])
    }
}

fn start() -> (Arc<Store>, Pair) {
    let store = Arc::<Store>::default();
    let pair = Pair::start(Services { control: Some(store.clone()), ..nobody() });
    (store, pair)
}

fn ping(token: u64) -> Ping {
    Ping { controller: NodeId(1), token }
}

#[tokio::test]
async fn calls_come_back_with_what_was_answered() {
    let (_store, pair) = start();
    let pong = within(pair.remote.ping(ping(2), DEADLINE)).await.unwrap();
    assert_eq!((pong.boot, pong.resigned), (2, vec![(partition(4), LeaderEpoch(9))]));
    let asked: Vec<_> = (0..50_000).map(partition).collect();
    let reports = within(pair.remote.report(asked.clone())).await.unwrap();
    assert_eq!(reports.logs.len(), asked.len());
    assert_eq!(reports.logs[40_000].log_end, Offset(40_100));
    let sizes = within(pair.remote.sizes()).await.unwrap();
    assert_eq!(sizes, [PartitionBytes { partition: partition(2), bytes: 1 << 40 }]);
    let moved = HandOver { partition: partition(1), epoch: LeaderEpoch(1), to: NodeId(2) };
    let refused = within(pair.remote.hand_over(5, &[moved])).await.unwrap_err();
    let LinkError::Refused(error) = refused else { panic!("{refused}") };
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::NotController, "token 5, 1 partitions"));
    pair.stop().await;
}

#[tokio::test]
async fn a_slow_call_holds_up_no_other() {
    let (store, pair) = start();
    let remote = pair.remote.clone();
    let slow = remote.ping(ping(1), DEADLINE);
    tokio::pin!(slow);
    let quick = async {
        for token in 0..100 {
            within(pair.remote.ping(ping(token * 2), DEADLINE)).await.unwrap();
        }
    };
    tokio::select! {
        _ = &mut slow => panic!("it was not released"),
        () = quick => {}
    }
    store.release.notify_one();
    assert_eq!(within(slow).await.unwrap().boot, 1);
    pair.stop().await;
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_given_up_there() {
    let (store, pair) = start();
    let slow = tokio::time::timeout(Duration::from_millis(50), pair.remote.ping(ping(1), DEADLINE));
    assert!(slow.await.is_err());
    // It may have been cancelled before it was even begun; then it never counts as held.
    within(pair.remote.ping(ping(2), DEADLINE)).await.unwrap();
    while store.cancelled.count.load(Ordering::SeqCst) < store.held.load(Ordering::SeqCst) {
        within(store.cancelled.changed.notified()).await;
    }
    pair.stop().await;
}

#[tokio::test]
async fn time_that_is_up_is_an_unknown_outcome() {
    let (_store, pair) = start();
    let error = within(pair.remote.ping(ping(1), Duration::from_millis(20))).await.unwrap_err();
    let error = StoreError::from(error);
    assert_eq!(error.code, ErrorCode::RequestTimedOut);
    assert!(!error.has_no_side_effects());
    pair.stop().await;
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_told_from_one_that_went_away() {
    let (store, pair) = start();
    let Pair { server, remote, supervisor } = pair;
    let waiting = tokio::spawn({
        let remote = remote.clone();
        async move { remote.ping(ping(1), DEADLINE).await }
    });
    while store.held.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let closed = remote.closed();
    server.shut_down(DEADLINE).await;
    within(closed).await;
    let lost = StoreError::from(within(waiting).await.unwrap().unwrap_err());
    assert!(!lost.has_no_side_effects(), "{lost}");
    let gone = StoreError::from(within(remote.ping(ping(2), DEADLINE)).await.unwrap_err());
    assert_eq!(gone.code, ErrorCode::BrokerNotAvailable);
    assert!(gone.has_no_side_effects() && gone.is_retryable(), "{gone}");
    supervisor.shut_down(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn a_service_that_a_process_does_not_have_is_refused() {
    let (_store, pair) = start();
    let error = within(pair.remote.list()).await.unwrap_err();
    assert!(error.has_no_side_effects() && !error.is_retryable(), "{error}");
    let error = within(pair.remote.get(TopicRef::Name("logs".to_owned()))).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidRequest);
    pair.stop().await;
}
