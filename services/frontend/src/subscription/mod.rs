//! Subscriptions: one partition's records, pushed as fast as the client reads.
//!
//! The store is asked first. It answers with batches, or with "the bucket has it" and a pointer, and
//! then the bucket is read up to that pointer's end before the store is asked again: the seam between
//! the tiers may move under the reader in either direction. The client's flow control is the
//! back-pressure: while it does not read, nothing is fetched.
//!
//! The client keeps its side of the stream open as long as it wants the subscription.

mod end;
mod gathered;
mod room;
mod run;
mod start;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidelog_format::pointer::Pointer;
use tidelog_model::{ErrorCode, Offset, TopicPartition};
use tidelog_peer::{Fetch, Fetched, Isolation, Marks, OffsetSpec, StoreError};
use tidelog_proto::v1;
use tidelog_wire::{BytePermit, CloseCode, Frame, FrameKind, FrameReceiver, FrameSender, Stream, WireError};
use tokio::time::timeout;

use crate::edge::Edge;
use crate::error;
use end::{EndWatch, Next};
use gathered::Gathered;
use room::READ_BYTES_MIN;
pub(crate) use room::Reads;
use run::{Position, RunError, cut};

/// How long one call to the store waits for a record.
const LONG_POLL: Duration = Duration::from_secs(30);

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
    /// The client does not read, and what it holds up is needed for those who do.
    Stalled,
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
        End::Left | End::Stalled => stream.reset(CloseCode::CANCELLED),
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
    end: EndWatch,
    /// The newest that any answer told: what clients are told does not go back.
    marks: Marks,
    /// A batch that there was no room for: so much is taken before it is asked for again.
    needed_bytes: usize,
    idle_turns: usize,
}

impl Feed {
    async fn run(&mut self, send: &mut FrameSender) -> Result<(), End> {
        while !self.position.is_done() {
            let (read_bytes, permit) = self.room().await;
            let found = self.fetch(read_bytes).await?;
            self.marks = self.marks.newest(*found.marks());
            let bytes = found.bytes();
            match found {
                Fetched::Batches { batches, .. } => {
                    let Some(permit) = self.hold(permit, bytes) else { continue };
                    self.idle_turns = 0;
                    let next = self.send_runs(batches, v1::Tier::Hot, read_bytes, &permit, send).await?;
                    drop(permit);
                    self.confirm(next, send).await?;
                }
                Fetched::Tiered { pointer, .. } => {
                    self.end.on_behind();
                    self.replay(pointer, permit, send).await?;
                }
                Fetched::Nothing { .. } => {
                    drop(permit);
                    let next = self.end.on_nothing(self.position.next, self.visible_end());
                    self.say_caught_up(next, send);
                    send.flush().await?;
                    self.confirm(next, send).await?;
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
    async fn room(&mut self) -> (usize, BytePermit) {
        match std::mem::take(&mut self.needed_bytes) {
            0 if self.end.waits() => (READ_BYTES_MIN.min(self.read_bytes_max), BytePermit::none()),
            0 => self.edge.reads.some(self.read_bytes),
            needed => (needed, self.edge.reads.all(needed).await),
        }
    }

    /// `None` when there is no room for what was read: it is to be dropped.
    fn hold(&mut self, permit: BytePermit, bytes: usize) -> Option<BytePermit> {
        let held = self.edge.reads.extend(permit, bytes);
        if held.is_none() {
            self.needed_bytes = bytes;
        }
        held
    }

    async fn fetch(&self, max_bytes: usize) -> Result<Fetched, End> {
        let fetch = Fetch {
            partition: self.partition,
            from: self.position.next,
            max_bytes,
            max_wait: self.end.waits().then_some(LONG_POLL),
            isolation: self.isolation,
            follower: false,
        };
        Ok(self.edge.store.fetch(fetch).await?)
    }

    fn visible_end(&self) -> Offset {
        self.marks.visible_end(self.isolation)
    }

    /// Asks the leader whether this is the end, if need be, and tells the client.
    async fn confirm(&mut self, next: Next, send: &mut FrameSender) -> Result<(), End> {
        if next != Next::Confirm {
            return Ok(());
        }
        let end = self.edge.store.list_offset(self.partition, OffsetSpec::End, self.isolation).await?;
        let end = end.map_or(self.position.next, |end| end.offset);
        let next = self.end.on_confirmed(self.position.next, end);
        self.say_caught_up(next, send);
        Ok(send.flush().await?)
    }

    fn say_caught_up(&mut self, next: Next, send: &mut FrameSender) {
        if next == Next::Say {
            let high_watermark = self.marks.high_watermark.max(self.position.next).0;
            let caught_up = v1::CaughtUp { offset: self.position.next.0, high_watermark };
            send.push(FrameKind::CaughtUp, &caught_up, &[]);
        }
    }

    /// Sends what the bucket has, up to the pointer's end. `permit` is good for a run that there was no
    /// room for.
    async fn replay(
        &mut self,
        pointer: Pointer,
        permit: BytePermit,
        send: &mut FrameSender,
    ) -> Result<(), End> {
        let before = self.position.next;
        let mut batches = self.edge.cold.stream(self.partition, pointer, before);
        let mut permit = Some(permit);
        while !self.position.is_done() && self.position.next < pointer.tiered_end {
            let Some(run) = batches.next().await else { break };
            let run = match run {
                Ok(run) => run,
                // The manifest may have been replaced meanwhile; the store knows the newest.
                Err(_) if self.position.next > before => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let room = permit.take().unwrap_or_else(BytePermit::none);
            let Some(held) = self.hold(room, run.len()) else { return Ok(()) };
            self.send_runs(vec![run], v1::Tier::Cold, self.read_bytes, &held, send).await?;
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
        tier: v1::Tier,
        read_bytes: usize,
        held: &BytePermit,
        send: &mut FrameSender,
    ) -> Result<Next, End> {
        let mut gathered = Gathered::default();
        let mut sent_bytes = 0;
        for run in runs {
            let pieces = cut(&run, &mut self.position, read_bytes);
            for piece in pieces.map_err(|error| self.damaged(&error, tier))? {
                if gathered.is_full(&piece, read_bytes) {
                    gathered.push(&self.marks, tier, send);
                    self.flush(held, send).await?;
                }
                sent_bytes += piece.bytes.len() as u64;
                gathered.take(piece);
            }
        }
        gathered.push(&self.marks, tier, send);
        let next = match tier {
            v1::Tier::Cold => Next::GoOn,
            _ => self.end.on_records(self.position.next, self.visible_end()),
        };
        // It leaves with the records.
        self.say_caught_up(next, send);
        self.flush(held, send).await?;
        match tier {
            v1::Tier::Cold => self.edge.metrics.cold_bytes.inc_by(sent_bytes),
            _ => self.edge.metrics.hot_bytes.inc_by(sent_bytes),
        };
        // The client took it all: the next read may be larger.
        self.read_bytes = (self.read_bytes * 2).min(self.read_bytes_max);
        Ok(next)
    }

    /// Waits while the client does not read, unless what it holds of the budget is needed.
    async fn flush(&self, held: &BytePermit, send: &mut FrameSender) -> Result<(), End> {
        loop {
            let before = send.queued_bytes();
            match timeout(self.edge.options.stall_timeout, send.flush()).await {
                Ok(flushed) => return Ok(flushed?),
                Err(_) if send.queued_bytes() < before => {}
                Err(_) if held.bytes() > 0 && self.edge.reads.is_wanted() => return Err(End::Stalled),
                Err(_) => {}
            }
        }
    }

    fn damaged(&self, error: &RunError, tier: v1::Tier) -> End {
        let code = match tier {
            v1::Tier::Cold => ErrorCode::BucketCorrupt,
            _ => ErrorCode::JournalCorrupt,
        };
        StoreError::new(code, format!("{}: {error}", self.partition)).into()
    }
}
