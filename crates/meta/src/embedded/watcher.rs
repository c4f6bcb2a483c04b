//! A watch on the embedded store: it reads the shared history where it stands, so it needs no queue.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::image::Since;
use super::{News, Shared};
use crate::{Changes, Revision, WatchError, WatchSource};

pub(super) struct Watcher {
    shared: Arc<Shared>,
    prefix: Box<str>,
    next: Revision,
    news: watch::Receiver<News>,
}

impl Watcher {
    pub(super) fn new(shared: Arc<Shared>, prefix: &str, from: Revision) -> Self {
        let news = shared.news.subscribe();
        Self { shared, prefix: prefix.into(), next: from, news }
    }
}

#[async_trait]
impl WatchSource for Watcher {
    async fn next(&mut self) -> Result<Changes, WatchError> {
        loop {
            // Marked as seen before the history is read: what comes in between wakes us again.
            let ended = self.news.borrow_and_update().ended;
            match self.shared.image.read().since(self.next, &self.prefix) {
                Since::Changes(changes) => {
                    self.next = changes.revision.next();
                    self.shared.counters.change();
                    return Ok(changes);
                }
                Since::Nothing { next } => self.next = next,
                Since::Compacted { oldest } => return Err(WatchError::Compacted { oldest }),
            }
            if ended || self.news.changed().await.is_err() {
                return Err(WatchError::Closed);
            }
        }
    }
}
