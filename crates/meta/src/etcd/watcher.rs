//! A watch on etcd that survives what happens to its connection.
//!
//! It remembers the revision it needs next, and begins there again after every interruption: nothing is
//! missed, and what comes twice is dropped. When etcd has thrown that revision away, it says so. What is
//! buffered is one message: etcd splits larger ones, and keeps what nobody takes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::proto::{PbEvent, PbWatchResponse};
use etcd_client::{KeyValue, ResponseHeader, WatchOptions, WatchResponse, WatchStream};
use tokio::time::timeout;

use super::connect::Link;
use super::fault::Fault;
use super::repeat::back_off;
use super::{Shared, convert};
use crate::{Changes, Event, MetaError, Revision, WatchError, WatchSource};

/// Pauses between attempts to begin again, doubling from the first to the last.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Refusals in a row after which a watch believes that it has no permission. etcd also says so to one
/// whose token has expired.
const DENIALS_MAX: u32 = 2;

pub(super) struct Watcher {
    shared: Arc<Shared>,
    /// With the prefix of all keys.
    prefix: String,
    /// The first revision that has not been delivered, or is in none of the fields below.
    next: Revision,
    running: Option<Running>,
    /// Delivered by etcd, in whole transactions.
    ready: VecDeque<Changes>,
    /// A transaction that may not be whole yet.
    partial: Option<Changes>,
    /// Attempts since etcd last delivered anything.
    attempts: u32,
    denials: u32,
    pause: Duration,
}

struct Running {
    stream: WatchStream,
    link: Link,
}

/// Why a watch has to be begun again.
enum Break {
    Interrupted(Fault),
    Over(WatchError),
}

impl From<MetaError> for Break {
    fn from(error: MetaError) -> Self {
        if error.is_retryable() {
            Self::Interrupted(Fault::NotDone(error.to_string()))
        } else {
            Self::Over(WatchError::Failed(error))
        }
    }
}

impl Watcher {
    pub(super) fn new(shared: Arc<Shared>, prefix: &str, from: Revision) -> Self {
        Self {
            prefix: format!("{}{prefix}", shared.prefix),
            shared,
            next: from.max(Revision(1)),
            running: None,
            ready: VecDeque::new(),
            partial: None,
            attempts: 0,
            denials: 0,
            pause: PAUSE_MIN,
        }
    }

    /// Begins at `next`.
    async fn begin(&mut self) -> Result<(), Break> {
        if self.attempts > 0 {
            // An etcd that was restored would wait with us for revisions that will mean something else.
            self.shared.prove().await?;
            self.shared.counters.resumed_watch();
        }
        self.attempts += 1;
        let link = self.shared.connections.current().await.map_err(broken)?;
        let options = WatchOptions::new()
            .with_range(convert::end_of(&self.prefix))
            .with_start_revision(convert::number(self.next))
            // Not the progress that can be asked for: etcd 3.4 may send that ahead of changes it owes.
            .with_progress_notify()
            .with_fragment();
        let mut client = link.client().watch_client();
        let stream = match timeout(self.shared.timeout, client.watch(&*self.prefix, Some(options))).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let fault = Fault::of(error);
                return Err(self.interrupted(&link, fault));
            }
            Err(_) => {
                let fault = Fault::Lost("a watch was not begun in time".to_owned());
                return Err(self.interrupted(&link, fault));
            }
        };
        self.running = Some(Running { stream, link });
        Ok(())
    }

    fn interrupted(&self, link: &Link, fault: Fault) -> Break {
        if fault.blames_connection() {
            self.shared.give_up(link, &fault);
        }
        broken(fault)
    }

    /// Takes the next message of etcd.
    async fn receive(&mut self) -> Result<(), Break> {
        let Some(Running { stream, link }) = &mut self.running else { return Ok(()) };
        let message = tokio::select! {
            biased;
            message = stream.message() => message,
            () = link.given_up() => return Err(Break::Interrupted(Fault::NotDone("moved".to_owned()))),
        };
        match message {
            Ok(Some(message)) => self.take(message),
            Ok(None) => {
                let link = link.clone();
                Err(self.interrupted(&link, Fault::Lost("etcd ended a watch".to_owned())))
            }
            Err(error) => {
                let link = link.clone();
                Err(self.interrupted(&link, Fault::of(error)))
            }
        }
    }

    fn take(&mut self, WatchResponse(message): WatchResponse) -> Result<(), Break> {
        let header = message.header.map(ResponseHeader);
        let revision = self.shared.identity.check_watch(header.as_ref())?;
        if message.canceled {
            return Err(self.canceled(&message));
        }
        if message.created {
            return Ok(());
        }
        (self.attempts, self.denials, self.pause) = (1, 0, PAUSE_MIN);
        if message.events.is_empty() && !message.fragment {
            // Progress: everything up to here has been delivered.
            self.next = self.next.max(revision.next());
        }
        for event in message.events {
            self.add(event)?;
        }
        if !message.fragment {
            self.complete();
        }
        Ok(())
    }

    fn canceled(&mut self, message: &PbWatchResponse) -> Break {
        if message.compact_revision > 0 {
            let oldest = convert::revision(message.compact_revision);
            return Break::Over(WatchError::Compacted { oldest });
        }
        let reason = message.cancel_reason.clone();
        if reason.contains("permission denied") {
            self.denials += 1;
            if self.denials >= DENIALS_MAX {
                return Break::Over(WatchError::Failed(MetaError::Denied(reason)));
            }
            if let Some(Running { link, .. }) = &self.running {
                // A new connection brings a new token.
                self.shared.give_up(link, &Fault::NotDone(reason.clone()));
            }
        }
        Break::Interrupted(Fault::NotDone(reason))
    }

    fn add(&mut self, event: PbEvent) -> Result<(), MetaError> {
        let Some(found) = event.kv else {
            return Err(MetaError::Failed("etcd sent an event without a key".to_owned()));
        };
        let revision = convert::revision(found.mod_revision);
        if revision < self.next {
            return Ok(());
        }
        let event = match event.r#type {
            DELETE => Event::Delete { key: convert::key(&found.key, &self.shared.prefix)?, revision },
            _ => Event::Put(convert::entry(KeyValue(found), &self.shared.prefix)?),
        };
        match &mut self.partial {
            Some(changes) if changes.revision == revision => changes.events.push(event),
            _ => {
                self.complete();
                self.partial = Some(Changes { revision, events: vec![event] });
            }
        }
        Ok(())
    }

    /// The transaction that was being put together is whole.
    fn complete(&mut self) {
        if let Some(changes) = self.partial.take() {
            self.next = changes.revision.next();
            self.shared.counters.change();
            self.ready.push_back(changes);
        }
    }

    /// Prepares to begin again, after a pause.
    async fn recover(&mut self, cause: Break) -> Result<(), WatchError> {
        self.running = None;
        self.partial = None;
        match cause {
            Break::Over(error) => Err(error),
            Break::Interrupted(fault) => {
                tracing::debug!(prefix = self.prefix, ?fault, "a watch is begun again");
                let pause = self.pause;
                self.pause = (pause * 2).min(PAUSE_MAX);
                back_off(pause).await;
                Ok(())
            }
        }
    }
}

/// `Event.EventType.DELETE` in `mvccpb/kv.proto`.
const DELETE: i32 = 1;

fn broken(fault: Fault) -> Break {
    match fault {
        Fault::Refused(error) => Break::Over(WatchError::Failed(error)),
        fault => Break::Interrupted(fault),
    }
}

#[async_trait]
impl WatchSource for Watcher {
    async fn next(&mut self) -> Result<Changes, WatchError> {
        loop {
            if let Some(changes) = self.ready.pop_front() {
                return Ok(changes);
            }
            let step = if self.running.is_none() { self.begin().await } else { self.receive().await };
            if let Err(cause) = step {
                self.recover(cause).await?;
            }
        }
    }
}
