//! The Rust SDK: produce to and consume from Tidelog.
