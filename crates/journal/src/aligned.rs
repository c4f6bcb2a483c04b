#![allow(unsafe_code)]
//! Memory that direct I/O accepts: aligned to the block size.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use tidelog_format::journal::BLOCK_BYTES;

/// A buffer of whole blocks, zeroed when it is made.
#[derive(Debug)]
pub(crate) struct AlignedBuf {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the buffer owns its memory alone, and hands it out under the borrow rules only.
unsafe impl Send for AlignedBuf {}
// SAFETY: as above; a shared reference only reads.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// A buffer of at least `bytes`, rounded up to whole blocks.
    pub(crate) fn new(bytes: usize) -> Self {
        let bytes = bytes.max(1).next_multiple_of(BLOCK_BYTES);
        let layout = layout(bytes);
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, bytes }
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, BLOCK_BYTES).expect("buffers are smaller than half the address space")
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` points at `bytes` initialised bytes that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.start.as_ptr(), layout(self.bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_whole_zeroed_blocks_on_block_boundaries() {
        for bytes in [1, BLOCK_BYTES, BLOCK_BYTES + 1, 1 << 20] {
            let mut buffer = AlignedBuf::new(bytes);
            assert_eq!(buffer.as_ptr().addr() % BLOCK_BYTES, 0);
            assert_eq!(buffer.len(), bytes.next_multiple_of(BLOCK_BYTES));
            assert!(buffer.iter().all(|&byte| byte == 0));
            buffer.fill(7);
        }
    }
}
