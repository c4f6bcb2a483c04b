//! All partitions that are followed, and the memory that their recent answers take up.

use std::collections::{BTreeMap, HashMap};

use tidelog_model::{ErrorCode, Offset, TopicPartition};
use tidelog_peer::Fetched;
use tokio::time::Instant;

use super::TailOptions;
use super::followed::{Answer, Followed, Place};
use super::pieces::{Piece, pieces};
use super::ring::{Chunk, Fit};

#[derive(Debug)]
pub(super) struct State {
    options: TailOptions,
    partitions: HashMap<TopicPartition, Followed>,
    /// Every chunk of every ring, the oldest first.
    chunks: BTreeMap<u64, TopicPartition>,
    held_bytes: usize,
    next_id: u64,
    /// When a partition was last distrusted, as an id that was new then.
    distrusted: u64,
}

/// A question to the store, and what was known when it was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub partition: TopicPartition,
    pub place: Place,
    /// Names the question; later ones have larger ones.
    pub id: u64,
    high_watermark: Option<Offset>,
}

impl State {
    pub(super) fn new(options: TailOptions) -> Self {
        let (partitions, chunks) = (HashMap::new(), BTreeMap::new());
        Self { options, partitions, chunks, held_bytes: 0, next_id: 0, distrusted: 0 }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(super) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    pub(super) fn get(&self, partition: TopicPartition) -> Option<&Followed> {
        self.partitions.get(&partition)
    }

    pub(super) fn follow(&mut self, partition: TopicPartition) -> &mut Followed {
        // Of a partition that was forgotten nobody knows any more when it was distrusted.
        let distrusted = self.distrusted;
        self.partitions.entry(partition).or_insert_with(|| Followed { distrusted, ..Followed::default() })
    }

    pub(super) fn ask(&mut self, partition: TopicPartition, place: Place) -> Asked {
        let id = self.id();
        let marks = self.get(partition).and_then(|followed| followed.marks);
        Asked { partition, place, id, high_watermark: marks.map(|marks| marks.high_watermark) }
    }

    /// A flight is over, or nobody waits for it any more.
    pub(super) fn land(&mut self, asked: &Asked) {
        let Some(followed) = self.partitions.get_mut(&asked.partition) else { return };
        if followed.flights.get(&asked.place).is_some_and(|flight| flight.id == asked.id) {
            followed.flights.remove(&asked.place);
        }
        self.forget_if_idle(asked.partition);
    }

    /// Takes in what a store answered; the answer gets the newest marks that are known.
    ///
    /// What the ring has is given up unless it is certain that the store still has it: after an error
    /// the partition may be led by another, and an end lower than one that was known before the question
    /// says that records may have been taken back.
    pub(super) fn learn(&mut self, asked: &Asked, answer: &mut Answer, keep: Keep) {
        let Some(followed) = self.partitions.get_mut(&asked.partition) else { return };
        let fetched = match answer {
            Ok(fetched) => fetched,
            Err(error) if error.code == ErrorCode::RequestTimedOut => return,
            // A laggard that was overtaken by the log start.
            Err(error) if error.code == ErrorCode::OffsetOutOfRange && keep == Keep::Never => return,
            Err(_) => {
                followed.marks = None;
                return self.distrust(asked.partition);
            }
        };
        let told = *fetched.marks();
        let marks = followed.marks.map_or(told, |known| known.newest(told));
        followed.marks = Some(marks);
        *fetched.marks_mut() = marks;
        if asked.high_watermark.is_some_and(|known| told.high_watermark < known) {
            return self.distrust(asked.partition);
        }
        if keep == Keep::Always
            && let Fetched::Batches { batches, .. } = fetched
            // Whoever reads it says what is wrong with it.
            && let Ok(pieces) = pieces(batches)
        {
            self.keep(asked, pieces);
        }
    }

    /// A laggard's answer that goes past what is shared ends where that ends, so that its reader goes on
    /// with the others. One that comes close to the end is where sharing begins.
    pub(super) fn meet(&mut self, asked: &Asked, answer: &mut Answer) {
        let Ok(Fetched::Batches { batches, marks }) = answer else { return };
        let Ok(mut found) = pieces(batches) else { return };
        let (Some(first), Some(last)) = (found.first(), found.last()) else { return };
        let (first, last) = (first.base, last.next);
        if let Some(end) = self.get(asked.partition).and_then(|followed| followed.ring.end()) {
            let shared = found.partition_point(|piece| piece.next <= end);
            if shared > 0 && shared < found.len() {
                found.truncate(shared);
                *batches = found.into_iter().map(|piece| piece.bytes).collect();
            }
            return;
        }
        let left = marks.visible_end(asked.place.isolation).0.saturating_sub(last.0);
        if left <= last.0 - first.0 {
            let followed = self.follow(asked.partition);
            followed.marks = Some(followed.marks.map_or(*marks, |known| known.newest(*marks)));
            self.keep(asked, found);
            self.forget_if_idle(asked.partition);
        }
    }

    /// Drops what is too old to be asked for by those who follow, and partitions that nobody follows.
    pub(super) fn sweep(&mut self, now: Instant) {
        let keep = self.options.keep;
        while let Some((_, partition)) = self.chunks.first_key_value() {
            let partition = *partition;
            let oldest = self.get(partition).and_then(|followed| followed.ring.oldest());
            if oldest.is_some_and(|chunk| now.duration_since(chunk.came) < keep) {
                break;
            }
            self.pop(partition);
            self.forget_if_idle(partition);
        }
    }

    fn keep(&mut self, asked: &Asked, mut pieces: Vec<Piece>) {
        let partition = asked.partition;
        let followed = self.follow(partition);
        if pieces.is_empty() || asked.id < followed.distrusted {
            return;
        }
        let held_bytes = Chunk::cost(&pieces);
        match followed.ring.fit(&pieces) {
            Fit::Known => return,
            Fit::Extends(new) => drop(pieces.drain(..pieces.len() - new)),
            Fit::Apart => self.empty(partition),
            Fit::Differs => return self.distrust(partition),
        }
        let most = self.options.partition_bytes.min(self.options.total_bytes);
        if held_bytes > most {
            return self.empty(partition);
        }
        while self.follow(partition).ring.bytes() + held_bytes > most {
            self.pop(partition);
        }
        while self.held_bytes + held_bytes > self.options.total_bytes {
            let Some((_, oldest)) = self.chunks.first_key_value() else { break };
            let oldest = *oldest;
            self.pop(oldest);
            if oldest != partition {
                self.forget_if_idle(oldest);
            }
        }
        let id = self.id();
        self.held_bytes += held_bytes;
        self.chunks.insert(id, partition);
        let chunk = Chunk { id, pieces, held_bytes, came: Instant::now() };
        self.follow(partition).ring.push(chunk);
    }

    fn pop(&mut self, partition: TopicPartition) {
        let followed = self.partitions.get_mut(&partition);
        let chunk = followed.and_then(|followed| followed.ring.pop()).expect("what is popped is there");
        self.held_bytes -= chunk.held_bytes;
        self.chunks.remove(&chunk.id);
    }

    fn empty(&mut self, partition: TopicPartition) {
        while self.get(partition).is_some_and(|followed| !followed.ring.is_empty()) {
            self.pop(partition);
        }
    }

    /// Nothing that was heard before is to be served again.
    fn distrust(&mut self, partition: TopicPartition) {
        self.empty(partition);
        if let Some(followed) = self.partitions.get_mut(&partition) {
            self.next_id += 1;
            self.distrusted = self.next_id;
            followed.distrusted = self.next_id;
        }
        self.forget_if_idle(partition);
    }

    fn forget_if_idle(&mut self, partition: TopicPartition) {
        if self.get(partition).is_some_and(Followed::is_idle) {
            self.partitions.remove(&partition);
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// Whether an answer may become part of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    Always,
    /// A laggard's.
    Never,
}
