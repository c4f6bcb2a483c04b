//! What a leader knows of its partition's part in the bucket.

use tidelog_format::pointer::Pointer;
use tidelog_format::state::ProducerEntry;
use tidelog_meta::Revision;
use tidelog_model::Offset;

/// Producer states at the tiered end are kept in memory up to this many; beyond it the bucket's state
/// object is read again for the next offload.
pub(crate) const PRODUCERS_KEPT_MAX: usize = 64;

/// The committed pointer and what the next commit will be compared with.
#[derive(Clone, Debug)]
pub(crate) struct Tiered {
    pub(crate) pointer_revision: Revision,
    pointer: Option<Pointer>,
    /// The producers as of the tiered end, when they are known and few.
    producers: Option<Vec<ProducerEntry>>,
}

impl Tiered {
    /// What the metadata store says. The producers at the tiered end are in the state object.
    pub(crate) fn stored(pointer: Option<(Pointer, Revision)>) -> Self {
        let (pointer, pointer_revision) = pointer.unzip();
        let producers = if pointer.is_none() { Some(Vec::new()) } else { None };
        let pointer_revision = pointer_revision.unwrap_or(Revision::NONE);
        Self { pointer_revision, pointer, producers }
    }

    pub(crate) fn pointer(&self) -> Option<Pointer> {
        self.pointer
    }

    /// First offset that is not in the bucket.
    pub(crate) fn end(&self, log_start: Offset) -> Offset {
        self.pointer.map_or(log_start, |pointer| pointer.tiered_end)
    }

    /// The producers as of the tiered end, unless they have to be read from the bucket.
    pub(crate) fn producers(&self) -> Option<Vec<ProducerEntry>> {
        self.producers.clone()
    }

    /// A new pointer was committed.
    pub(crate) fn commit(&mut self, pointer: Pointer, revision: Revision, producers: &[ProducerEntry]) {
        self.pointer = Some(pointer);
        self.pointer_revision = revision;
        self.producers = (producers.len() <= PRODUCERS_KEPT_MAX).then(|| producers.to_vec());
    }
}
