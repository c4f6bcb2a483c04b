//! Subscriptions: one partition's records, pushed as fast as the client reads.
//!
//! The store is asked first. It answers with batches, or with "the bucket has it" and a pointer, and
//! then the bucket is read up to that pointer's end before the store is asked again: the seam between
//! the tiers may move under the reader in either direction. The client's flow control is the
//! back-pressure: while it does not read, nothing is fetched.
//!
//! The client keeps its side of the stream open as long as it wants the subscription.

mod run;
mod start;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidelog_format::pointer::Pointer;
use tidelog_model::{ErrorCode, Offset, TopicPartition};
use tidelog_peer::{Fetch, Fetched, Isolation, Marks, StoreError};
use tidelog_proto::v1;
use tidelog_wire::{BytePermit, CloseCode, Frame, FrameKind, FrameReceiver, FrameSender, Stream, WireError};

use crate::edge::Edge;
use crate::error;
use run::{Position, RunError, cut};

/// How long one call to the store waits for a record.
const LONG_POLL: Duration = Duration::from_secs(30);

/// A subscription begins with reads of this size and doubles them while the client keeps up: it needs
/// nobody's leave to hold this much, and the common budget's for more.
const READ_BYTES_MIN: usize = 64 * 1024;

/// The largest payload that a client can ask for.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many times in a row the store may point to the bucket without any progress: its answer and the
/// bucket's contents are looked at a moment apart.
const IDLE_TURNS_MAX: usize = 3;

/// How a subscription ends.
enum End {
    /// As it was asked to.
    Done,
    /// The client has finished its side, or is gone.
    Left,
    /// The client broke the protocol.
    Misused(WireError),
    Failed(v1::Error),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Failed(error::of_store(error))
    }
}

impl From<WireError> for End {
    fn from(_: WireError) -> Self {
        Self::Left
    }
}

pub(crate) async fn serve(mut stream: Stream, first: &Frame, edge: &Arc<Edge>) {
    let subscribe: v1::Subscribe = match first.decode(FrameKind::Subscribe) {
        Ok(subscribe) => subscribe,
        Err(error) => return stream.give_up(&error).await,
    };
    let Stream { send, recv } = &mut stream;
    let end = tokio::select! {
        biased;
        () = edge.drain.cancelled() => End::Failed(error::shutting_down()),
        end = client_leaves(recv) => end,
        end = feed(subscribe, send, edge) => end,
    };
    match end {
        End::Done => stream.finish().await,
        End::Left => stream.reset(CloseCode::CANCELLED),
        End::Misused(error) => stream.give_up(&error).await,
        End::Failed(error) => stream.fail(&error, CloseCode::CANCELLED).await,
    }
}

/// Resolves when the client ends the subscription, properly or not.
async fn client_leaves(recv: &mut FrameReceiver) -> End {
    match recv.recv().await {
        Ok(Some(frame)) => End::Misused(WireError::Unexpected { found: frame.kind as u8 }),
        Ok(None) | Err(WireError::Reset(_)) => End::Left,
        Err(error) => End::Misused(error),
    }
}

async fn feed(subscribe: v1::Subscribe, send: &mut FrameSender, edge: &Arc<Edge>) -> End {
    let result = async {
        let (mut feed, subscribed) = start::open(subscribe, edge).await.map_err(End::Failed)?;
        send.send(FrameKind::Subscribed, &subscribed, &[]).await?;
        feed.run(send).await
    };
    result.await.err().unwrap_or(End::Done)
}

/// A subscription under way.
struct Feed {
    edge: Arc<Edge>,
    partition: TopicPartition,
    isolation: Isolation,
    position: Position,
    /// How much to fetch next, and at most.
    read_bytes: usize,
    read_bytes_max: usize,
    /// The client knows that it has everything.
    caught_up: bool,
    idle_turns: usize,
}

impl Feed {
    async fn run(&mut self, send: &mut FrameSender) -> Result<(), End> {
        while !self.position.is_done() {
            let (read_bytes, permit) = self.room();
            match self.fetch(read_bytes).await? {
                Fetched::Batches { batches, marks } => {
                    self.idle_turns = 0;
                    self.caught_up = false;
                    self.send_runs(batches, &marks, v1::Tier::Hot, read_bytes, send).await?;
                    drop(permit);
                }
                Fetched::Tiered { pointer, marks } => {
                    drop(permit);
                    self.caught_up = false;
                    self.replay(pointer, &marks, send).await?;
                }
                Fetched::Nothing { marks } => {
                    drop(permit);
                    self.on_nothing(&marks, send).await?;
                }
            }
        }
        let end = v1::End { offset: self.position.next.0 };
        send.send(FrameKind::End, &end, &[]).await?;
        Ok(())
    }

    /// How much may be read now. Beyond the minimum it comes from the budget of all subscriptions, so
    /// that a thousand clients that stall hold no more than that; those that do not are served in
    /// smaller pieces meanwhile. One that waits for new records holds nothing.
    fn room(&self) -> (usize, BytePermit) {
        let mut bytes = if self.caught_up { READ_BYTES_MIN } else { self.read_bytes };
        while bytes > READ_BYTES_MIN {
            if let Some(permit) = self.edge.reads.try_acquire(bytes) {
                return (bytes, permit);
            }
            bytes /= 2;
        }
        (bytes, BytePermit::none())
    }

    async fn fetch(&self, max_bytes: usize) -> Result<Fetched, End> {
        let fetch = Fetch {
            partition: self.partition,
            from: self.position.next,
            max_bytes,
            max_wait: self.caught_up.then_some(LONG_POLL),
            isolation: self.isolation,
            follower: false,
        };
        Ok(self.edge.store.fetch(fetch).await?)
    }

    async fn on_nothing(&mut self, marks: &Marks, send: &mut FrameSender) -> Result<(), End> {
        if !self.caught_up {
            self.say_caught_up(marks, send);
            send.flush().await?;
        }
        Ok(())
    }

    fn say_caught_up(&mut self, marks: &Marks, send: &mut FrameSender) {
        self.caught_up = true;
        let caught_up = v1::CaughtUp { offset: self.position.next.0, high_watermark: marks.high_watermark.0 };
        send.push(FrameKind::CaughtUp, &caught_up, &[]);
    }

    /// Sends what the bucket has, up to the pointer's end.
    async fn replay(&mut self, pointer: Pointer, marks: &Marks, send: &mut FrameSender) -> Result<(), End> {
        let before = self.position.next;
        let mut batches = self.edge.cold.stream(self.partition, pointer, before);
        while !self.position.is_done() && self.position.next < pointer.tiered_end {
            let Some(run) = batches.next().await else { break };
            let (read_bytes, permit) = self.room();
            let run = match run {
                Ok(run) => run,
                // The manifest may have been replaced meanwhile; the store knows the newest.
                Err(_) if self.position.next > before => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.send_runs(vec![run], marks, v1::Tier::Cold, read_bytes, send).await?;
            drop(permit);
        }
        if self.position.next > before {
            self.idle_turns = 0;
            return Ok(());
        }
        self.idle_turns += 1;
        if self.idle_turns < IDLE_TURNS_MAX {
            return Ok(());
        }
        let message = format!(
            "the store says that the bucket has offset {before} of {}, which ends at {}",
            self.partition, pointer.tiered_end
        );
        Err(StoreError::new(ErrorCode::BucketCorrupt, message).into())
    }

    async fn send_runs(
        &mut self,
        runs: Vec<Bytes>,
        marks: &Marks,
        tier: v1::Tier,
        read_bytes: usize,
        send: &mut FrameSender,
    ) -> Result<(), End> {
        let mut gathered = Gathered::default();
        let mut sent_bytes = 0;
        for run in runs {
            let pieces = cut(&run, &mut self.position, read_bytes);
            for piece in pieces.map_err(|error| self.damaged(&error, tier))? {
                if gathered.bytes > 0 && gathered.bytes + piece.bytes.len() > read_bytes {
                    gathered.push(marks, tier, send);
                    send.flush().await?;
                }
                gathered.bytes += piece.bytes.len();
                sent_bytes += piece.bytes.len() as u64;
                gathered.next = piece.next;
                gathered.pieces.push(piece.bytes);
            }
        }
        if gathered.bytes > 0 {
            gathered.push(marks, tier, send);
        }
        // It leaves with the records, and saves asking the store for nothing.
        if tier == v1::Tier::Hot && self.position.next >= marks.visible_end(self.isolation) {
            self.say_caught_up(marks, send);
        }
        send.flush().await?;
        match tier {
            v1::Tier::Cold => self.edge.metrics.cold_bytes.inc_by(sent_bytes),
            _ => self.edge.metrics.hot_bytes.inc_by(sent_bytes),
        };
        // The client took it all: the next read may be larger.
        self.read_bytes = (self.read_bytes * 2).min(self.read_bytes_max);
        Ok(())
    }

    fn damaged(&self, error: &RunError, tier: v1::Tier) -> End {
        let code = match tier {
            v1::Tier::Cold => ErrorCode::BucketCorrupt,
            _ => ErrorCode::JournalCorrupt,
        };
        StoreError::new(code, format!("{}: {error}", self.partition)).into()
    }
}

/// Pieces that go out in one frame.
#[derive(Default)]
struct Gathered {
    pieces: Vec<Bytes>,
    bytes: usize,
    next: Offset,
}

impl Gathered {
    fn push(&mut self, marks: &Marks, tier: v1::Tier, send: &mut FrameSender) {
        let header = v1::Records {
            next_offset: self.next.0,
            log_start: marks.log_start.0,
            high_watermark: marks.high_watermark.0,
            last_stable: marks.last_stable.0,
            tier: tier.into(),
        };
        send.push(FrameKind::Records, &header, &self.pieces);
        self.pieces.clear();
        self.bytes = 0;
    }
}
