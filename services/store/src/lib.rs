//! The store: journal, offload, idempotence.
