//! Copying forward: what must stay of a file that goes is appended to the newest one.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use tidelog_format::journal::Entry;
use tidelog_model::TopicPartition;

use super::Worker;
use super::retention::Usage;
use crate::append::{Append, Reservation};
use crate::files::JournalFile;
use crate::space::cost_of;
use crate::writer::Queued;

/// How many bytes of copies are under way at once.
const COPY_BYTES: u64 = 1024 * 1024;

/// How often a waiting keeper looks again: for room, or whether the writer waits for the keeper.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// After so many looks there is no room for copies.
const LOOKS_FOR_ROOM: usize = 50;

impl Worker<'_> {
    /// Copies what only this file has, and returns when it is durable elsewhere. False if there is no
    /// room, or something cannot be read or written; what was copied until then does no harm.
    pub(super) fn copy_forward(&mut self, file: &Arc<JournalFile>, usage: &Usage) -> bool {
        let mut frames = Vec::new();
        for (partition, piece, from) in &usage.uncovered {
            match self.entries_from(file, *partition, piece, *from) {
                Ok(entries) => frames.extend(entries.into_iter().map(|entry| (*partition, entry))),
                Err(error) => return Self::cannot(&error),
            }
        }
        frames.sort_unstable_by_key(|(_, entry)| entry.position);
        let mut rest = &frames[..];
        while !rest.is_empty() {
            let mut room = 0;
            let count = rest.iter().take_while(|(_, entry)| {
                let first = room == 0;
                room += cost_of(entry.payload_bytes as usize);
                first || room <= self.shared.space.copy_room().min(COPY_BYTES)
            });
            let (now, later) = rest.split_at(count.count());
            if !self.copy_part(file, now) {
                return false;
            }
            rest = later;
        }
        true
    }

    fn copy_part(&mut self, file: &JournalFile, frames: &[(TopicPartition, Entry)]) -> bool {
        let mut batches = Vec::with_capacity(frames.len());
        if let Err(error) = self.reader.frames(file, frames, &mut |_, batch| batches.push(batch)) {
            return Self::cannot(&error);
        }
        let Some(room) = self.room_for(&batches) else { return false };
        let count = batches.len();
        let (done, completed) = sync_channel(count);
        for (((partition, entry), batch), room) in frames.iter().zip(batches).zip(room) {
            self.push_copy(Append::copy(*partition, entry, batch, file.sequence), room, done.clone());
        }
        let mut copied = 0;
        while copied < count {
            match completed.recv_timeout(LOOK_EVERY) {
                Ok(true) => copied += 1,
                Ok(false) | Err(RecvTimeoutError::Disconnected) => return false,
                // It waits for a file that only the keeper can make: the copies come later.
                Err(RecvTimeoutError::Timeout) if self.shared.keeper.writer_waits() => return false,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        true
    }

    /// Room for copies; where appends that are under way have it, waits a little for them to be done.
    fn room_for(&self, batches: &[Bytes]) -> Option<Vec<Reservation>> {
        for _ in 0..LOOKS_FOR_ROOM {
            let room = batches.iter().map(|batch| self.shared.space.reserve_copy(batch.len())).collect();
            if let Some(room) = room {
                return Some(room);
            }
            if !self.shared.keeper.pause(LOOK_EVERY) {
                break;
            }
        }
        None
    }

    fn push_copy(&self, append: Append, room: Reservation, done: SyncSender<bool>) {
        self.shared.queue.push(Queued::Append {
            append,
            done: Box::new(move |outcome| {
                // The keeper may have given up waiting.
                let _ = done.try_send(outcome.is_ok());
            }),
            reservation: Some(room),
        });
    }

    fn cannot(error: &dyn std::fmt::Display) -> bool {
        tracing::error!(%error, "copying records out of the oldest journal file; the file stays");
        false
    }
}
