//! A store as a whole: on a real journal, with the metadata on disk and a bucket in memory.

mod recovery;
mod serving;
mod support;
mod tiering;
