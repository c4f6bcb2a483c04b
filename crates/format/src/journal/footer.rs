//! The index at the end of a sealed file, sorted by partition, and the trailer that locates it.
//!
//! ```text
//!  footer, at a block boundary:  spans 80 each │ truncations 32 each │ entries 40 each
//!
//!  span (entries of one partition whose offsets follow each other)
//!   0 topic 16 │ 16 partition u32 │ 20 entries u32 │ 24 first_entry u32 │ 28 checksum u32 of its entries
//!  32 start u64 │ 40 end u64 │ 48 bytes u64 │ 56 max_timestamp i64 │ 64 first_append i64 │ 72 last_append i64
//!
//!  truncation
//!   0 topic 16 │ 16 partition u32 │ 20 reserved u32 0 │ 24 end u64
//!
//!  entry (one batch)
//!   0 base_offset u64 │ 8 max_timestamp i64 │ 16 append_time i64
//!  24 position u32 │ 28 payload_bytes u32 │ 32 count u32 │ 36 epoch u32
//!
//!  trailer, the file's last block
//!   0 magic 8 "TIDEFOOT" │ 8 version u16 │ 10 flags u16: bit 0: the file holds a complete checkpoint
//!  12 checksum u32 of salt, position, the trailer's other 116 bytes, spans and truncations
//!  16 sequence u64 │ 24 data_end u64 │ 32 footer u64 (position) │ 40 spans u32 │ 44 truncations u32
//!  48 entries u32 │ 52 reserved u32 │ 56 previous_end u64 │ 64 reserved 64 │ 128 zeros up to 4096
//! ```
//!
//! Spans and truncations are checked as one when a file is opened. Entries are checked span by span
//! when they are read, for they stay on disk until somebody asks.

use tidelog_model::{LeaderEpoch, Offset, PartitionId, TimestampMs, TopicId, TopicPartition};

use super::{BLOCK_BYTES, FormatError, Salt, VERSION, align_up, first, i64_at, put, u16_at, u32_at, u64_at};

pub const SPAN_BYTES: usize = 80;
pub const TRUNCATION_BYTES: usize = 32;
pub const ENTRY_BYTES: usize = 40;
/// Bytes of the trailer that mean something.
pub const TRAILER_BYTES: usize = 128;

const MAGIC: [u8; 8] = *b"TIDEFOOT";
const CHECKPOINT: u16 = 1;
const WHAT: &str = "trailer";

const _: () = assert!(BLOCK_BYTES >= TRAILER_BYTES);

/// What the footer and the trailer of a file take up at most.
pub const fn footer_bytes_max(spans: u64, truncations: u64, entries: u64) -> u64 {
    let footer =
        spans * SPAN_BYTES as u64 + truncations * TRUNCATION_BYTES as u64 + entries * ENTRY_BYTES as u64;
    align_up(footer) + BLOCK_BYTES as u64
}

/// Where one batch lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub base_offset: Offset,
    pub max_timestamp: TimestampMs,
    pub append_time: TimestampMs,
    /// Of the frame's header.
    pub position: u32,
    pub payload_bytes: u32,
    /// How many offsets the batch spans.
    pub count: u32,
    pub epoch: LeaderEpoch,
}

impl Entry {
    pub fn next_offset(&self) -> Offset {
        self.base_offset + u64::from(self.count)
    }

    pub fn encode(&self, out: &mut [u8; ENTRY_BYTES]) {
        put(out, 0, &self.base_offset.0.to_be_bytes());
        put(out, 8, &self.max_timestamp.0.to_be_bytes());
        put(out, 16, &self.append_time.0.to_be_bytes());
        put(out, 24, &self.position.to_be_bytes());
        put(out, 28, &self.payload_bytes.to_be_bytes());
        put(out, 32, &self.count.to_be_bytes());
        put(out, 36, &self.epoch.0.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self {
            base_offset: Offset(u64_at(bytes, 0)),
            max_timestamp: TimestampMs(i64_at(bytes, 8)),
            append_time: TimestampMs(i64_at(bytes, 16)),
            position: u32_at(bytes, 24),
            payload_bytes: u32_at(bytes, 28),
            count: u32_at(bytes, 32),
            epoch: LeaderEpoch(u32_at(bytes, 36)),
        }
    }
}

/// Consecutive batches of one partition in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub partition: TopicPartition,
    pub start: Offset,
    pub end: Offset,
    /// Of the batches.
    pub bytes: u64,
    pub max_timestamp: TimestampMs,
    pub first_append: TimestampMs,
    pub last_append: TimestampMs,
    pub entries: u32,
    /// Number of the first one among the footer's entries.
    pub first_entry: u32,
    /// Of the span's encoded entries.
    pub checksum: u32,
}

/// Everything of a partition from `end` on that older files hold is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncation {
    pub partition: TopicPartition,
    pub end: Offset,
}

/// What the last block of a sealed file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    pub sequence: u64,
    /// Where the groups end.
    pub data_end: u64,
    /// Where the footer begins.
    pub footer: u64,
    pub spans: u32,
    pub truncations: u32,
    pub entries: u32,
    /// Where the groups of the preceding file end.
    pub previous_end: u64,
    pub has_checkpoint: bool,
}

impl Trailer {
    /// Bytes of spans and truncations, which the trailer's checksum covers.
    pub fn directory_bytes(&self) -> usize {
        self.spans as usize * SPAN_BYTES + self.truncations as usize * TRUNCATION_BYTES
    }

    /// Where entry `number` lies in the file.
    pub fn entry_position(&self, number: u32) -> u64 {
        self.footer + (self.directory_bytes() + number as usize * ENTRY_BYTES) as u64
    }

    /// Reads the trailer, whose checksum cannot be checked before the directory is there too. What it
    /// says is within the bounds of a file of `file_bytes`.
    pub fn peek(block: &[u8], file_bytes: u64) -> Result<Self, FormatError> {
        let head = first::<TRAILER_BYTES>(WHAT, block)?;
        if head[..8] != MAGIC {
            return Err(FormatError::Magic(WHAT));
        }
        let version = u16_at(head, 8);
        if version > VERSION || version == 0 {
            return Err(FormatError::Version { found: version, supported: VERSION });
        }
        let flags = u16_at(head, 10);
        let trailer = Self {
            sequence: u64_at(head, 16),
            data_end: u64_at(head, 24),
            footer: u64_at(head, 32),
            spans: u32_at(head, 40),
            truncations: u32_at(head, 44),
            entries: u32_at(head, 48),
            previous_end: u64_at(head, 56),
            has_checkpoint: flags & CHECKPOINT != 0,
        };
        let room = file_bytes.saturating_sub(BLOCK_BYTES as u64);
        let directory = u64::from(trailer.spans) * SPAN_BYTES as u64
            + u64::from(trailer.truncations) * TRUNCATION_BYTES as u64;
        let needed = directory + u64::from(trailer.entries) * ENTRY_BYTES as u64;
        let end = trailer.footer.checked_add(needed);
        if flags & !CHECKPOINT != 0
            || trailer.data_end > trailer.footer
            || !trailer.footer.is_multiple_of(BLOCK_BYTES as u64)
            || end.is_none_or(|end| end > room)
        {
            return Err(FormatError::Invalid { what: WHAT, reason: "it points outside the file" });
        }
        Ok(trailer)
    }

    fn encode(&self, salt: Salt, position: u64, directory: &[u8], block: &mut [u8; BLOCK_BYTES]) {
        block.fill(0);
        put(block, 0, &MAGIC);
        put(block, 8, &VERSION.to_be_bytes());
        put(block, 10, &(if self.has_checkpoint { CHECKPOINT } else { 0 }).to_be_bytes());
        put(block, 16, &self.sequence.to_be_bytes());
        put(block, 24, &self.data_end.to_be_bytes());
        put(block, 32, &self.footer.to_be_bytes());
        put(block, 40, &self.spans.to_be_bytes());
        put(block, 44, &self.truncations.to_be_bytes());
        put(block, 48, &self.entries.to_be_bytes());
        put(block, 56, &self.previous_end.to_be_bytes());
        let checksum = checksum(salt, position, block, directory);
        put(block, 12, &checksum.to_be_bytes());
    }
}

fn checksum(salt: Salt, position: u64, head: &[u8], directory: &[u8]) -> u32 {
    salt.checksum_at(position).with(&head[..12]).with(&head[16..TRAILER_BYTES]).with(directory).finish()
}

/// The part of a sealed file's footer that is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    pub trailer: Trailer,
    /// Sorted by partition and start.
    pub spans: Vec<Span>,
    pub truncations: Vec<Truncation>,
}

impl Footer {
    /// Reads the footer whose trailer stands at `position`. `directory` holds at least
    /// [`Trailer::directory_bytes`].
    pub fn decode(
        trailer_block: &[u8],
        directory: &[u8],
        salt: Salt,
        position: u64,
    ) -> Result<Self, FormatError> {
        let trailer = Trailer::peek(trailer_block, position + BLOCK_BYTES as u64)?;
        let needed = trailer.directory_bytes();
        let directory = directory.get(..needed).ok_or(FormatError::Truncated {
            what: "footer",
            needed,
            have: directory.len(),
        })?;
        if u32_at(trailer_block, 12) != checksum(salt, position, trailer_block, directory) {
            return Err(FormatError::Checksum("footer"));
        }
        let (spans, truncations) = directory.split_at(trailer.spans as usize * SPAN_BYTES);
        Ok(Self {
            trailer,
            spans: spans.chunks_exact(SPAN_BYTES).map(decode_span).collect(),
            truncations: truncations.chunks_exact(TRUNCATION_BYTES).map(decode_truncation).collect(),
        })
    }
}

/// Decodes the entries of `span` from their bytes, which are checked.
pub fn read_entries(span: &Span, salt: Salt, bytes: &[u8]) -> Result<Vec<Entry>, FormatError> {
    let needed = span.entries as usize * ENTRY_BYTES;
    let bytes =
        bytes.get(..needed).ok_or(FormatError::Truncated { what: "index", needed, have: bytes.len() })?;
    if entries_checksum(salt, span.first_entry, bytes) != span.checksum {
        return Err(FormatError::Checksum("index"));
    }
    Ok(bytes.chunks_exact(ENTRY_BYTES).map(Entry::decode).collect())
}

fn entries_checksum(salt: Salt, first_entry: u32, bytes: &[u8]) -> u32 {
    salt.checksum_at(u64::from(first_entry)).with(bytes).finish()
}

/// Builds a footer, partition by partition in ascending order.
#[derive(Debug)]
pub struct FooterBuilder {
    salt: Salt,
    spans: Vec<Span>,
    truncations: Vec<Truncation>,
    entries: Vec<u8>,
}

impl FooterBuilder {
    pub fn new(salt: Salt) -> Self {
        Self { salt, spans: Vec::new(), truncations: Vec::new(), entries: Vec::new() }
    }

    /// Adds a partition's batches in order of their offsets. Returns the spans they make: a gap in
    /// the offsets begins a new one.
    pub fn partition(&mut self, partition: TopicPartition, entries: &[Entry]) -> &[Span] {
        let before = self.spans.len();
        let mut rest = entries;
        while !rest.is_empty() {
            let gap = rest.windows(2).position(|pair| pair[0].next_offset() != pair[1].base_offset);
            let (run, after) = rest.split_at(gap.map_or(rest.len(), |at| at + 1));
            self.span(partition, run);
            rest = after;
        }
        &self.spans[before..]
    }

    fn span(&mut self, partition: TopicPartition, run: &[Entry]) {
        let at = self.entries.len();
        let first_entry = (at / ENTRY_BYTES) as u32;
        self.entries.resize(at + run.len() * ENTRY_BYTES, 0);
        let encoded = &mut self.entries[at..];
        for (entry, slot) in run.iter().zip(encoded.as_chunks_mut::<ENTRY_BYTES>().0) {
            entry.encode(slot);
        }
        let (first, last) = (run[0], run[run.len() - 1]);
        self.spans.push(Span {
            partition,
            start: first.base_offset,
            end: last.next_offset(),
            bytes: run.iter().map(|entry| u64::from(entry.payload_bytes)).sum(),
            max_timestamp: run.iter().map(|entry| entry.max_timestamp).max().unwrap_or_default(),
            first_append: first.append_time,
            last_append: last.append_time,
            entries: run.len() as u32,
            first_entry,
            checksum: entries_checksum(self.salt, first_entry, encoded),
        });
    }

    pub fn truncation(&mut self, truncation: Truncation) {
        self.truncations.push(truncation);
    }

    /// What the footer takes up, without the trailer.
    pub fn bytes(&self) -> u64 {
        footer_bytes_max(self.spans.len() as u64, self.truncations.len() as u64, 0) - BLOCK_BYTES as u64
            + self.entries.len() as u64
    }

    /// The footer's bytes, the trailer's block, and the decoded form. `trailer` names the places:
    /// its counts are filled in. `position` is where the trailer will stand.
    pub fn finish(
        self,
        mut trailer: Trailer,
        position: u64,
        block: &mut [u8; BLOCK_BYTES],
    ) -> (Vec<u8>, Footer) {
        trailer.spans = self.spans.len() as u32;
        trailer.truncations = self.truncations.len() as u32;
        trailer.entries = (self.entries.len() / ENTRY_BYTES) as u32;
        let mut out = vec![0; trailer.directory_bytes()];
        let (spans, truncations) = out.split_at_mut(self.spans.len() * SPAN_BYTES);
        for (span, slot) in self.spans.iter().zip(spans.as_chunks_mut::<SPAN_BYTES>().0) {
            encode_span(span, slot);
        }
        for (cut, slot) in self.truncations.iter().zip(truncations.as_chunks_mut::<TRUNCATION_BYTES>().0) {
            put(slot, 0, cut.partition.topic.as_bytes());
            put(slot, 16, &cut.partition.partition.0.to_be_bytes());
            put(slot, 24, &cut.end.0.to_be_bytes());
        }
        trailer.encode(self.salt, position, &out, block);
        out.extend_from_slice(&self.entries);
        (out, Footer { trailer, spans: self.spans, truncations: self.truncations })
    }
}

fn encode_span(span: &Span, out: &mut [u8; SPAN_BYTES]) {
    put(out, 0, span.partition.topic.as_bytes());
    put(out, 16, &span.partition.partition.0.to_be_bytes());
    put(out, 20, &span.entries.to_be_bytes());
    put(out, 24, &span.first_entry.to_be_bytes());
    put(out, 28, &span.checksum.to_be_bytes());
    put(out, 32, &span.start.0.to_be_bytes());
    put(out, 40, &span.end.0.to_be_bytes());
    put(out, 48, &span.bytes.to_be_bytes());
    put(out, 56, &span.max_timestamp.0.to_be_bytes());
    put(out, 64, &span.first_append.0.to_be_bytes());
    put(out, 72, &span.last_append.0.to_be_bytes());
}

fn decode_partition(bytes: &[u8]) -> TopicPartition {
    TopicPartition {
        topic: TopicId::from_bytes(bytes[..16].try_into().expect("sixteen bytes")),
        partition: PartitionId(u32_at(bytes, 16)),
    }
}

fn decode_span(bytes: &[u8]) -> Span {
    Span {
        partition: decode_partition(bytes),
        entries: u32_at(bytes, 20),
        first_entry: u32_at(bytes, 24),
        checksum: u32_at(bytes, 28),
        start: Offset(u64_at(bytes, 32)),
        end: Offset(u64_at(bytes, 40)),
        bytes: u64_at(bytes, 48),
        max_timestamp: TimestampMs(i64_at(bytes, 56)),
        first_append: TimestampMs(i64_at(bytes, 64)),
        last_append: TimestampMs(i64_at(bytes, 72)),
    }
}

fn decode_truncation(bytes: &[u8]) -> Truncation {
    Truncation { partition: decode_partition(bytes), end: Offset(u64_at(bytes, 24)) }
}
