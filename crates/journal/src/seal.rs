//! Closes a file: writes the index of what it holds behind its last group.

use std::io;

use tidelog_format::journal::{BLOCK_BYTES, Footer, FooterBuilder, Trailer, align_up};

use crate::aligned::AlignedBuf;
use crate::index::Index;
use crate::writer::{GroupWriter, OpenFile};

/// A file with more room left than this part of it gives the room back.
const CUT_PART: u64 = 8;

/// Writes the footer of the open file, all of whose groups are synced. A file that is far from full
/// is cut to what it holds.
pub(crate) fn seal(index: &Index, open: &OpenFile, groups: &mut GroupWriter) -> io::Result<Footer> {
    let file = &open.file;
    let mut builder = FooterBuilder::new(file.salt);
    index.build_footer(file.sequence, &mut builder);
    for cut in &open.truncations {
        builder.truncation(*cut);
    }
    let footer_at = open.position;
    let footer_end = footer_at + align_up(builder.bytes());
    let whole = footer_end + BLOCK_BYTES as u64;
    let left = file.bytes().saturating_sub(whole);
    // A file that recovery found cut short is made as long as its footer needs.
    let cut = left > file.bytes() / CUT_PART || whole > file.bytes() || !is_aligned(file.bytes());
    let trailer_at = if cut { footer_end } else { file.bytes() - BLOCK_BYTES as u64 };
    let trailer = Trailer {
        sequence: file.sequence,
        data_end: open.position,
        footer: footer_at,
        spans: 0,
        truncations: 0,
        entries: 0,
        previous_end: open.previous_end,
        has_checkpoint: open.has_checkpoint,
    };
    let mut block = AlignedBuf::new(BLOCK_BYTES);
    let (bytes, footer) =
        builder.finish(trailer, trailer_at, block.first_chunk_mut().expect("the buffer is one block"));
    if !bytes.is_empty() {
        groups.write_padded(&file.disk, footer_at, &bytes)?;
    }
    file.disk.write(&block, trailer_at)?;
    file.disk.sync()?;
    if cut {
        file.disk.truncate(whole)?;
        file.set_bytes(whole);
    }
    file.seal(footer.trailer);
    Ok(footer)
}

fn is_aligned(bytes: u64) -> bool {
    bytes.is_multiple_of(BLOCK_BYTES as u64)
}
