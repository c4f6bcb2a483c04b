//! The bucket: immutable roots, each with all batches below its end and the epochs they belong to.

use tidelog_model::Offset;
use tidelog_replica::EpochStart;

use crate::log::Batch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RootId(pub usize);

/// What a manifest root leads to, its state object included.
#[derive(Clone, Debug, Default)]
pub(crate) struct Root {
    pub(crate) batches: Vec<Batch>,
    pub(crate) epochs: Vec<EpochStart>,
}

impl Root {
    pub(crate) fn end(&self) -> Offset {
        self.batches.last().map_or(Offset::ZERO, Batch::next)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Bucket {
    roots: Vec<Root>,
}

impl Bucket {
    pub(crate) fn upload(&mut self, root: Root) -> RootId {
        self.roots.push(root);
        RootId(self.roots.len() - 1)
    }

    pub(crate) fn root(&self, id: RootId) -> &Root {
        &self.roots[id.0]
    }
}
