//! The bytes: record batches, journal frames, segments, manifests.
