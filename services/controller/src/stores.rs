//! How the controller reaches stores. The binary implements it over the internal port, tests by hand.

use std::fmt;

use async_trait::async_trait;
use thiserror::Error;
use tidelog_meta::Live;
use tidelog_model::TopicPartition;
use tidelog_peer::{HandOver, LogReports, PartitionBytes, Ping, Pong, StoreError};

/// Calls to the stores of the cluster, with the meaning of
/// [`StoreControl`](tidelog_peer::StoreControl). The caller sets the deadlines: every call may be
/// dropped at any time.
#[async_trait]
pub trait Stores: Send + Sync + fmt::Debug {
    async fn ping(&self, store: &Live, ping: Ping) -> Result<Pong, Unreachable>;

    async fn report(&self, store: &Live, partitions: Vec<TopicPartition>) -> Result<LogReports, Unreachable>;

    async fn hand_over(&self, store: &Live, token: u64, partitions: Vec<HandOver>)
    -> Result<(), Unreachable>;

    async fn sizes(&self, store: &Live) -> Result<Vec<PartitionBytes>, Unreachable>;

    /// Resolves when the connection that the last call to the store used has closed; never, while there
    /// is none.
    async fn closed(&self, store: &Live);
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreachable {
    /// Its host answers that nobody listens there: the process is gone.
    #[error("nobody listens: {0}")]
    Gone(String),
    /// No answer; nothing is known.
    #[error("no answer: {0}")]
    Silent(String),
    /// It answered with an error: it lives.
    #[error("refused: {0}")]
    Refused(#[from] StoreError),
}
