//! A server's transport windows, counted against one budget.
//!
//! A connection begins with the minimum, which is enough for requests. Each producer session on it adds
//! what one stream may have unread, so that sessions that are not read for a while leave the rest of
//! the connection its window. (And a seventh more: quinn tells the peer of room that came free when it
//! is an eighth of the window, so that much of it may be free and not yet the peer's.) When the connection turns out to carry batches to the client, its send
//! window is raised by what the budget can spare. Both stay for as long as the connection lives.

use std::sync::Arc;

use parking_lot::Mutex;
use quinn::{Connection, VarInt};

use crate::{ByteBudget, BytePermit, TransportSettings};

/// A grant takes at most this part of what is free, so that those who come late get something too.
const SHARE: usize = 4;

/// So many sessions of one connection get a window of their own.
const SESSIONS_MAX: usize = 16;

/// What one connection has been granted.
#[derive(Debug)]
pub(super) struct Windows {
    budget: ByteBudget,
    bytes_min: u32,
    bytes_max: u32,
    stream_bytes: u32,
    receive: Arc<Mutex<Receive>>,
    send: Mutex<Option<BytePermit>>,
}

#[derive(Debug, Default)]
struct Receive {
    grants: Vec<BytePermit>,
    /// How many of them belong to a session that lives.
    used: usize,
}

/// A producer session's part of its connection's receive window.
#[derive(Debug)]
pub struct SessionWindow(Part);

#[derive(Debug)]
enum Part {
    /// Needs none: what the peer sends goes through a socket of its own.
    Socket,
    Granted(Arc<Mutex<Receive>>),
    Shared,
}

impl SessionWindow {
    pub(crate) fn of_socket() -> Self {
        Self(Part::Socket)
    }

    /// What this session leaves unread takes nothing from other streams of the connection. Otherwise it
    /// may hold all of them up, and must be read or ended.
    pub fn is_own(&self) -> bool {
        !matches!(self.0, Part::Shared)
    }
}

impl Drop for SessionWindow {
    fn drop(&mut self) {
        if let Part::Granted(receive) = &self.0 {
            receive.lock().used -= 1;
        }
    }
}

impl Windows {
    pub(super) fn new(budget: ByteBudget, settings: &TransportSettings) -> Self {
        Self {
            budget,
            bytes_min: settings.connection_window_bytes_min,
            bytes_max: settings.connection_window_bytes_max,
            stream_bytes: settings.stream_window_bytes,
            receive: Arc::default(),
            send: Mutex::default(),
        }
    }

    /// For a producer session on the connection.
    pub(super) fn widen_receive(&self, connection: &Connection) -> SessionWindow {
        let mut receive = self.receive.lock();
        if receive.used == receive.grants.len() {
            let bytes = with_unannounced(self.stream_bytes);
            let can_spare = bytes as usize <= self.budget.free_bytes() / SHARE && receive.used < SESSIONS_MAX;
            let Some(permit) = can_spare.then(|| self.budget.try_acquire(bytes as usize)).flatten() else {
                return SessionWindow(Part::Shared);
            };
            receive.grants.push(permit);
            let granted = bytes.saturating_mul(receive.grants.len() as u32);
            let window = with_unannounced(self.bytes_min).saturating_add(granted);
            connection.set_receive_window(VarInt::from_u32(window));
        }
        receive.used += 1;
        SessionWindow(Part::Granted(Arc::clone(&self.receive)))
    }

    /// For a connection that will carry batches to the client.
    pub(super) fn widen_send(&self, connection: &Connection) {
        let mut held = self.send.lock();
        if held.is_some() {
            return;
        }
        let spare = u32::try_from(self.budget.free_bytes() / SHARE).unwrap_or(u32::MAX);
        let bytes = spare.min(self.bytes_max);
        if bytes > self.bytes_min
            && let Some(permit) = self.budget.try_acquire(bytes as usize)
        {
            connection.set_send_window(u64::from(bytes));
            *held = Some(permit);
        }
    }
}

/// The window of which `bytes` are the peer's even if an eighth was not announced.
fn with_unannounced(bytes: u32) -> u32 {
    bytes.saturating_add(bytes / 7).saturating_add(1)
}
