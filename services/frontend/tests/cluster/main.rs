//! A router over stores that are played, behind real link servers, with a real metadata store.

mod produce;
mod read;
mod store;
mod topics;
mod watched;
mod world;
