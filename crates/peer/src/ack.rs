//! The answer to an append: it comes after the call that ordered the batch, when the disk has it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tidelog_model::{ErrorCode, Offset, TimestampMs};
use tokio::sync::oneshot;

use crate::StoreError;

/// Where an acknowledged batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// Offset of the batch's first record. For a repeated batch, the offset it got the first time.
    pub base_offset: Offset,
    /// The server's time of append, where the topic records that instead of the producer's.
    pub append_time: Option<TimestampMs>,
    /// First offset that the partition still has.
    pub log_start: Offset,
}

/// Resolves once the batch is durable, or once it is certain or unknowable that it is not.
///
/// Dropping it withdraws nothing: the batch is in order already.
#[derive(Debug)]
#[must_use = "a batch is not durable before its acknowledgement"]
pub struct Ack(State);

#[derive(Debug)]
enum State {
    Ready(Option<Result<Produced, StoreError>>),
    Waiting(oneshot::Receiver<Result<Produced, StoreError>>),
}

/// The store's end of an [`Ack`]. Dropped without an answer, it answers "outcome unknown".
#[derive(Debug)]
pub struct AckSender(oneshot::Sender<Result<Produced, StoreError>>);

impl Ack {
    /// An acknowledgement that is to come.
    pub fn pending() -> (AckSender, Self) {
        let (sender, receiver) = oneshot::channel();
        (AckSender(sender), Self(State::Waiting(receiver)))
    }

    /// An acknowledgement that is there already.
    pub fn ready(result: Result<Produced, StoreError>) -> Self {
        Self(State::Ready(Some(result)))
    }
}

impl AckSender {
    /// Answers; it does not matter whether anyone still listens.
    pub fn send(self, result: Result<Produced, StoreError>) {
        let _ = self.0.send(result);
    }
}

impl Future for Ack {
    type Output = Result<Produced, StoreError>;

    /// # Panics
    /// When polled again after it resolved.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(result) => Poll::Ready(result.take().expect("polled after it resolved")),
            State::Waiting(receiver) => Pin::new(receiver).poll(context).map(|answer| {
                answer.unwrap_or_else(|_| {
                    let message = "the store stopped before it answered; the outcome is unknown";
                    Err(StoreError::new(ErrorCode::StorageError, message))
                })
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCED: Produced = Produced { base_offset: Offset(7), append_time: None, log_start: Offset(0) };

    #[tokio::test]
    async fn an_answer_reaches_who_waits() {
        let (sender, ack) = Ack::pending();
        sender.send(Ok(PRODUCED));
        assert_eq!(ack.await, Ok(PRODUCED));
        assert_eq!(Ack::ready(Ok(PRODUCED)).await, Ok(PRODUCED));
    }

    #[tokio::test]
    async fn a_store_that_goes_away_leaves_the_outcome_unknown() {
        let (sender, ack) = Ack::pending();
        drop(sender);
        assert!(!ack.await.unwrap_err().has_no_side_effects());
    }
}
