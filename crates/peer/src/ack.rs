//! The answer to an append: it comes after the call that ordered the batch, when the disk has it.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
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

/// Is told what became of batches, instead of one waiting [`Ack`] for each.
pub trait AckSink: Send + Sync {
    /// The answer to the batch that the sink's owner gave this number. Called on whatever task the
    /// answer arrived on, so it must not wait.
    fn answered(&self, number: u64, answer: Result<Produced, StoreError>);
}

/// The store's end of an [`Ack`]. Dropped without an answer, it answers "outcome unknown".
#[must_use = "dropping it answers that the outcome is unknown"]
pub struct AckSender(To);

enum To {
    Waiting(oneshot::Sender<Result<Produced, StoreError>>),
    Sink(Arc<dyn AckSink>, u64),
    Nobody,
}

impl Ack {
    /// An acknowledgement that is to come.
    pub fn pending() -> (AckSender, Self) {
        let (sender, receiver) = oneshot::channel();
        (AckSender(To::Waiting(sender)), Self(State::Waiting(receiver)))
    }

    /// An acknowledgement that is there already.
    pub fn ready(result: Result<Produced, StoreError>) -> Self {
        Self(State::Ready(Some(result)))
    }
}

impl AckSender {
    /// Answers to a sink, about the batch that it knows by this number.
    pub fn to_sink(sink: Arc<dyn AckSink>, number: u64) -> Self {
        Self(To::Sink(sink, number))
    }

    /// Answers; it does not matter whether anyone still listens.
    pub fn send(mut self, result: Result<Produced, StoreError>) {
        mem::replace(&mut self.0, To::Nobody).answer(result);
    }

    /// Goes without an answer: the batch was not handed over, as its sender knows by other means.
    pub fn withdraw(mut self) {
        self.0 = To::Nobody;
    }

    /// Nobody waits for the answer any more.
    pub fn is_closed(&self) -> bool {
        match &self.0 {
            To::Waiting(sender) => sender.is_closed(),
            To::Sink(..) => false,
            To::Nobody => true,
        }
    }
}

impl To {
    fn answer(self, result: Result<Produced, StoreError>) {
        match self {
            Self::Waiting(sender) => drop(sender.send(result)),
            Self::Sink(sink, number) => sink.answered(number, result),
            Self::Nobody => {}
        }
    }
}

impl Drop for AckSender {
    fn drop(&mut self) {
        // Who waits sees the dropped channel.
        if let to @ To::Sink(..) = mem::replace(&mut self.0, To::Nobody) {
            to.answer(Err(unanswered()));
        }
    }
}

impl fmt::Debug for AckSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckSender").finish_non_exhaustive()
    }
}

fn unanswered() -> StoreError {
    let message = "the store stopped before it answered; the outcome is unknown";
    StoreError::new(ErrorCode::StorageError, message)
}

impl Future for Ack {
    type Output = Result<Produced, StoreError>;

    /// # Panics
    /// When polled again after it resolved.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(result) => Poll::Ready(result.take().expect("polled after it resolved")),
            State::Waiting(receiver) => {
                Pin::new(receiver).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(unanswered())))
            }
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

    #[derive(Default)]
    struct Told(std::sync::Mutex<Vec<(u64, Option<Offset>)>>);

    impl AckSink for Told {
        fn answered(&self, number: u64, answer: Result<Produced, StoreError>) {
            self.0.lock().unwrap().push((number, answer.ok().map(|produced| produced.base_offset)));
        }
    }

    #[test]
    fn a_sink_is_told_once_unless_the_sender_was_withdrawn() {
        let told = Arc::new(Told::default());
        let sender = |number| AckSender::to_sink(told.clone(), number);
        sender(1).send(Ok(PRODUCED));
        sender(2).withdraw();
        drop(sender(3));
        assert_eq!(*told.0.lock().unwrap(), [(1, Some(Offset(7))), (3, None)]);
    }
}
