//! A replay: a partition's batches in order, with many ranges in flight.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tidelog_format::batch;
use tidelog_format::pointer::Pointer;
use tidelog_model::{Offset, TopicPartition};
use tokio::task::JoinSet;

use super::plan::Plan;
use super::readahead::{Found, Held, Slot};
use super::{ColdReader, ReadOptions};
use crate::error::ColdError;

/// Ranges ahead at first. Whoever wants one batch should not pay for sixteen ranges.
const RANGES_AHEAD_FIRST: usize = 2;

/// Batches of a partition, from an offset to the tiered end of a pointer.
pub struct BatchStream {
    reader: ColdReader,
    tp: TopicPartition,
    pointer: Pointer,
    options: ReadOptions,
    /// The first offset that was not handed on yet.
    position: Offset,
    plan: Option<Plan>,
    /// Ranges that come next, in order; the first is being read.
    queue: VecDeque<Arc<Slot>>,
    /// The next block of the first range.
    block: usize,
    fetches: JoinSet<()>,
    /// How many ranges may be in the queue.
    pub(super) window: usize,
}

impl fmt::Debug for BatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchStream")
            .field("tp", &self.tp)
            .field("position", &self.position)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

impl BatchStream {
    pub(super) fn new(
        reader: ColdReader,
        tp: TopicPartition,
        pointer: Pointer,
        from: Offset,
        options: ReadOptions,
    ) -> Self {
        let window = RANGES_AHEAD_FIRST.min(options.ranges_ahead.max(1));
        let (queue, fetches) = (VecDeque::new(), JoinSet::new());
        Self { reader, tp, pointer, options, position: from, plan: None, queue, block: 0, fetches, window }
    }

    /// The offset from which [`BatchStream::next`] goes on.
    pub fn offset(&self) -> Offset {
        self.position
    }

    /// The pointer that is being read: the one given, or a newer one that was asked for since.
    pub fn pointer(&self) -> &Pointer {
        &self.pointer
    }

    /// The next whole batches: those of one block, as a slice of what was fetched. The very first begin
    /// with the batch that contains the offset asked for. `None` at the end.
    ///
    /// Cancelling loses nothing. After an error the next call tries the same offset again.
    pub async fn next(&mut self) -> Option<Result<Bytes, ColdError>> {
        loop {
            match self.step().await {
                Ok(found) => return found.map(Ok),
                Err(error) => {
                    self.restart();
                    if !self.refresh(&error).await {
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    fn end(&self) -> Offset {
        self.options.end.map_or(self.pointer.tiered_end, |end| end.min(self.pointer.tiered_end))
    }

    async fn step(&mut self) -> Result<Option<Bytes>, ColdError> {
        self.check_range()?;
        loop {
            if self.position >= self.end() {
                self.restart();
                return Ok(None);
            }
            self.look_ahead().await?;
            let Some(head) = self.queue.front().cloned() else { return Ok(None) };
            match head.look() {
                Found::Ready(bytes) => {
                    if let Some(batches) = self.take_block(&head, &bytes)? {
                        return Ok(Some(batches));
                    }
                }
                Found::Fetching => {
                    self.widen();
                    self.look_ahead().await?;
                    self.wait_for(&head).await;
                }
                Found::Absent => {
                    self.widen();
                    let held = self.reader.inner.readahead.demand(head.bytes()).await;
                    self.fetch(&head, held);
                }
                Found::Failed(error) => return Err(error),
            }
        }
    }

    fn check_range(&self) -> Result<(), ColdError> {
        let Pointer { log_start, tiered_end, .. } = self.pointer;
        if (log_start..=tiered_end).contains(&self.position) {
            return Ok(());
        }
        Err(ColdError::OutOfRange { tp: self.tp, offset: self.position, log_start, tiered_end })
    }

    /// The next block of the first range, cut to what was asked for; `None` when nothing of it was, or
    /// the range has no more.
    fn take_block(&mut self, head: &Slot, bytes: &Bytes) -> Result<Option<Bytes>, ColdError> {
        let blocks = head.segment.blocks(head.range);
        let Some(block) = blocks.get(self.block) else {
            self.queue.pop_front();
            self.block = 0;
            return Ok(None);
        };
        self.block += 1;
        let end = self.end();
        if block.last_offset < self.position {
            return Ok(None);
        }
        if block.first_offset >= end {
            self.position = end;
            return Ok(None);
        }
        let at = (block.position - head.segment.bytes(head.range).start) as usize;
        let content = bytes.slice(at..at + block.bytes as usize);
        let inside = block.first_offset >= self.position && block.last_offset < end;
        let batches = if inside { content } else { self.cut(head, &content, end)? };
        self.position = (block.last_offset + 1).min(end);
        if self.block == blocks.len() {
            self.queue.pop_front();
            self.block = 0;
        }
        Ok(Some(batches).filter(|batches| !batches.is_empty()))
    }

    /// The batches that reach from the position on, and begin before `end`.
    fn cut(&self, head: &Slot, content: &Bytes, end: Offset) -> Result<Bytes, ColdError> {
        let (mut first, mut last, mut at) = (None, 0, 0);
        while at < content.len() {
            let header = batch::header(&content[at..]).map_err(|error| ColdError::Corrupt {
                key: head.segment.key.clone(),
                range: head.segment.bytes(head.range),
                detail: error.to_string(),
            })?;
            if header.base_offset >= end {
                break;
            }
            if header.next_offset() > self.position {
                first.get_or_insert(at);
            }
            at += header.batch_bytes;
            last = at;
        }
        Ok(first.map_or_else(Bytes::new, |first| content.slice(first..last)))
    }

    /// Puts ranges into the queue and begins to fetch them, as far as there is memory to spare. The
    /// first one is put there in any case.
    async fn look_ahead(&mut self) -> Result<(), ColdError> {
        while let Some(fetched) = self.fetches.try_join_next() {
            ended(fetched);
        }
        let end = self.end();
        while self.queue.len() < self.window {
            let plan = self.plan.get_or_insert_with(|| Plan::new(self.tp, self.pointer, self.position, end));
            let first = self.queue.is_empty();
            let Some(slot) = plan.next(&self.reader.inner, self.window / 2, first).await? else { break };
            match self.reader.inner.readahead.spare(slot.bytes()) {
                Some(held) => self.fetch(&slot, held),
                None if first => {}
                None => {
                    plan.put_back();
                    break;
                }
            }
            self.queue.push_back(slot);
        }
        Ok(())
    }

    async fn wait_for(&mut self, slot: &Slot) {
        tokio::select! {
            () = slot.changed() => {}
            Some(fetched) = self.fetches.join_next() => ended(fetched),
        }
    }

    fn fetch(&mut self, slot: &Arc<Slot>, held: Held) {
        slot.fetching();
        let (inner, slot) = (self.reader.inner.clone(), slot.clone());
        self.fetches.spawn(async move {
            let fetched = inner.fetcher.range(&slot.segment, slot.range).await;
            inner.readahead.fill(&slot, fetched, held);
        });
    }

    /// The reader had to wait: more should be in flight.
    fn widen(&mut self) {
        self.window = (2 * self.window).min(self.options.ranges_ahead.max(1));
    }

    /// Forgets everything but the position.
    fn restart(&mut self) {
        self.plan = None;
        self.queue.clear();
        self.block = 0;
        self.fetches = JoinSet::new();
    }

    /// After an object was missing: whether there is a newer pointer to go on with.
    async fn refresh(&mut self, error: &ColdError) -> bool {
        let Some(pointers) = self.options.pointers.clone().filter(|_| error.is_missing()) else {
            return false;
        };
        let version = |pointer: &Pointer| (pointer.incarnation, pointer.epoch, pointer.sequence);
        match pointers.pointer(self.tp).await {
            Some(pointer) if version(&pointer) > version(&self.pointer) => {
                self.pointer = pointer;
                true
            }
            _ => false,
        }
    }
}

/// A fetch that panicked would be waited for in vain.
fn ended(fetched: Result<(), tokio::task::JoinError>) {
    if let Err(error) = fetched
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
