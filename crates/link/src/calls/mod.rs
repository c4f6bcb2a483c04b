//! Call lanes: many questions and answers on one stream, in any order.

mod client;
mod server;

pub(crate) use client::{Answer, CallFailure, CallLane};
pub(crate) use server::serve;
