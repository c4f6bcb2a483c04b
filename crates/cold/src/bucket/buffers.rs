//! Memory that is used again.
//!
//! On virtual machines, touching memory for the first time costs about as much as reading the same
//! bytes from a disk. A replay goes through ranges of one size by the thousand, so the memory of one
//! that was dropped serves for the next.

use std::fmt;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

/// Smaller buffers are left to the allocator, which is good at them.
const POOLED_BYTES_MIN: usize = 256 * 1024;

/// How much memory lies ready at most.
const POOLED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A buffer is used for what leaves at most this part of it empty.
const WASTE_PART_MAX: usize = 4;

/// Buffers that lie ready. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Buffers {
    ready: Arc<Mutex<Ready>>,
}

#[derive(Default)]
struct Ready {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffers({} bytes ready)", self.ready.lock().bytes)
    }
}

impl Buffers {
    /// An empty buffer with room for `bytes`.
    pub(crate) fn take(&self, bytes: usize) -> Buffer {
        let content = (bytes >= POOLED_BYTES_MIN).then(|| self.ready.lock().take(bytes)).flatten();
        Buffer {
            content: content.unwrap_or_else(|| Vec::with_capacity(bytes)),
            home: Arc::downgrade(&self.ready),
        }
    }
}

impl Ready {
    fn take(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let fits = |buffer: &Vec<u8>| (bytes..=bytes + bytes / WASTE_PART_MAX).contains(&buffer.capacity());
        // The newest is the likeliest to be in some processor's cache.
        let at = self.buffers.iter().rposition(fits)?;
        let buffer = self.buffers.swap_remove(at);
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    fn give_back(&mut self, mut buffer: Vec<u8>) -> Option<Vec<u8>> {
        if self.bytes + buffer.capacity() > POOLED_BYTES_MAX {
            return Some(buffer);
        }
        buffer.clear();
        self.bytes += buffer.capacity();
        self.buffers.push(buffer);
        None
    }
}

/// Memory that goes back where it came from when it is dropped, also after it became [`Bytes`].
pub(crate) struct Buffer {
    content: Vec<u8>,
    home: Weak<Mutex<Ready>>,
}

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.content.len()
    }

    /// What still fits in without taking more memory.
    pub(crate) fn room(&self) -> usize {
        self.content.capacity() - self.content.len()
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.content.extend_from_slice(bytes);
    }

    pub(crate) fn freeze(self) -> Bytes {
        if self.content.capacity() < POOLED_BYTES_MIN {
            let mut this = self;
            return Bytes::from(std::mem::take(&mut this.content));
        }
        Bytes::from_owner(self)
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} of {} bytes)", self.content.len(), self.content.capacity())
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.content.capacity() < POOLED_BYTES_MIN {
            return;
        }
        if let Some(home) = self.home.upgrade() {
            let content = std::mem::take(&mut self.content);
            // What finds no place is freed outside of the lock.
            let surplus = home.lock().give_back(content);
            drop(surplus);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(buffers: &Buffers, bytes: usize) -> Bytes {
        let mut buffer = buffers.take(bytes);
        buffer.extend(&vec![7; bytes]);
        buffer.freeze()
    }

    #[test]
    fn memory_is_used_again_once_the_last_slice_is_gone() {
        let buffers = Buffers::default();
        let whole = filled(&buffers, 1 << 20);
        let (at, slice) = (whole.as_ptr(), whole.slice(5..10));
        drop(whole);
        assert_ne!(filled(&buffers, 1 << 20).as_ptr(), at, "a slice is still there");
        drop(slice);
        assert_eq!(filled(&buffers, 1_000_000).as_ptr(), at);
        assert_ne!(filled(&buffers, 300_000).as_ptr(), at, "it would waste most of it");
    }

    #[test]
    fn what_lies_ready_is_bounded() {
        let buffers = Buffers::default();
        let many: Vec<Bytes> = (0..20).map(|_| filled(&buffers, 4 << 20)).collect();
        drop(many);
        assert_eq!(buffers.ready.lock().bytes, POOLED_BYTES_MAX);
        drop(filled(&buffers, 100));
        assert_eq!(buffers.ready.lock().bytes, POOLED_BYTES_MAX);
    }
}
