//! A server's transport windows, counted against one budget.
//!
//! A connection begins with the minimum, which is enough for requests. When it turns out to carry
//! batches one way, that way's window is raised by what the budget can spare, for as long as the
//! connection lives.

use parking_lot::Mutex;
use quinn::{Connection, VarInt};

use crate::{ByteBudget, BytePermit, TransportSettings};

/// A grant takes at most this part of what is free, so that those who come late get something too.
const SHARE: usize = 4;

/// What one connection has been granted.
#[derive(Debug)]
pub(super) struct Windows {
    budget: ByteBudget,
    bytes_min: u32,
    bytes_max: u32,
    receive: Mutex<Option<BytePermit>>,
    send: Mutex<Option<BytePermit>>,
}

impl Windows {
    pub(super) fn new(budget: ByteBudget, settings: &TransportSettings) -> Self {
        Self {
            budget,
            bytes_min: settings.connection_window_bytes_min,
            bytes_max: settings.connection_window_bytes_max,
            receive: Mutex::default(),
            send: Mutex::default(),
        }
    }

    /// For a connection that will carry batches from the client.
    pub(super) fn widen_receive(&self, connection: &Connection) {
        self.grant(&self.receive, |bytes| connection.set_receive_window(VarInt::from_u32(bytes)));
    }

    /// For a connection that will carry batches to the client.
    pub(super) fn widen_send(&self, connection: &Connection) {
        self.grant(&self.send, |bytes| connection.set_send_window(u64::from(bytes)));
    }

    fn grant(&self, held: &Mutex<Option<BytePermit>>, apply: impl FnOnce(u32)) {
        let mut held = held.lock();
        if held.is_some() {
            return;
        }
        let spare = u32::try_from(self.budget.free_bytes() / SHARE).unwrap_or(u32::MAX);
        let bytes = spare.min(self.bytes_max);
        if bytes > self.bytes_min
            && let Some(permit) = self.budget.try_acquire(bytes as usize)
        {
            apply(bytes);
            *held = Some(permit);
        }
    }
}
