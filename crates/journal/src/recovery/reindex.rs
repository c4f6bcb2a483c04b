//! Finding a partition's batches in a sealed file whose index cannot be read.

use std::io;
use std::ops::Range;

use tidelog_format::journal::Entry;
use tidelog_model::{Offset, TopicPartition};

use super::walk::Walk;
use crate::files::JournalFile;
use crate::index::Partition;

/// The batches of `partition` that a file's footer lists for `wanted`; `None` if not all of them can
/// be found.
pub(crate) fn find_entries(
    file: &JournalFile,
    partition: TopicPartition,
    wanted: Range<Offset>,
) -> io::Result<Option<Vec<Entry>>> {
    let Some(end) = file.trailer().map(|trailer| trailer.data_end) else { return Ok(None) };
    let mut walk = Walk::new(&file.disk, file.salt, end);
    let mut found = Partition::default();
    while walk.position < end && walk.group()?.is_some() {
        while let Some(frame) = walk.frame()? {
            match frame {
                Ok(frame) if frame.header.partition == partition => {
                    found.apply(&frame.header, file.sequence, frame.position, None);
                }
                Ok(_) => {}
                Err(bad) if bad.known.is_some() => {}
                // What follows in this group cannot be found; another group may still have it all.
                Err(_) => break,
            }
        }
    }
    let entries: Vec<Entry> = found
        .open_entries(file.sequence)
        .iter()
        .filter(|entry| entry.base_offset >= wanted.start && entry.next_offset() <= wanted.end)
        .copied()
        .collect();
    let mut next = wanted.start;
    let complete =
        entries.iter().all(|entry| std::mem::replace(&mut next, entry.next_offset()) == entry.base_offset);
    Ok((complete && next == wanted.end).then_some(entries))
}
