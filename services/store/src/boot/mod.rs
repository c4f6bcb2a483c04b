//! Starting a store: who it is, what it leads, what it remembers.

pub(crate) mod bucket;
pub(crate) mod identity;
pub(crate) mod leadership;
pub(crate) mod memory;
pub(crate) mod recovery;
pub(crate) mod refill;
pub(crate) mod replica;
