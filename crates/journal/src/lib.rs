//! The hot tier's journal on local disk.
