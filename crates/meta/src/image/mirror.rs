//! An image that keeps itself up to date, for those who only look at it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::watch;

use super::{Feed, Image, News, Subject};
use crate::{Event, MetaError, SharedMeta};

/// After a gap or an unreachable store, listings are at least so far apart.
const LIST_AGAIN: Duration = Duration::from_millis(500);

/// Is told of every change, in order, on the mirror's task: it must not wait.
pub trait Observer: Send + Sync {
    /// These entries changed, were put or are gone. The image is as after all of them.
    fn changed(&self, image: &Image, subjects: &[Subject]);

    /// Changes may have been missed: anything may be other than it was.
    fn listed(&self, image: &Image);
}

/// An [`Image`] of the cluster that follows the metadata store. It may be behind by what is on its way,
/// and is as it was while the metadata store cannot be reached.
pub struct Mirror {
    image: RwLock<Image>,
    versions: watch::Sender<u64>,
    /// False from when changes may have been missed until everything was listed again.
    current: AtomicBool,
}

impl Mirror {
    /// Lists the cluster; what is returned beside the mirror follows it, and ends only when the metadata
    /// store is closed.
    pub async fn open(
        meta: SharedMeta,
        observer: Option<Arc<dyn Observer>>,
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + Send + 'static), MetaError> {
        let mut image = Image::default();
        let feed = Feed::open(&*meta, &mut image).await?;
        let mirror = Arc::new(Self {
            image: RwLock::new(image),
            versions: watch::Sender::new(0),
            current: AtomicBool::new(true),
        });
        if let Some(observer) = &observer {
            observer.listed(&mirror.image());
        }
        let following = Arc::clone(&mirror).follow(meta, feed, observer);
        Ok((mirror, following))
    }

    /// The cluster as it is known now. Not to be held across an await.
    pub fn image(&self) -> RwLockReadGuard<'_, Image> {
        self.image.read()
    }

    /// Changes with the image. Look at the image after it was marked as seen, and nothing is missed.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    /// Whether nothing that the metadata store delivered was missed. It says nothing of a metadata store that
    /// does not answer: a lease does.
    pub fn is_current(&self) -> bool {
        self.current.load(Ordering::Relaxed)
    }

    async fn follow(self: Arc<Self>, meta: SharedMeta, feed: Feed, observer: Option<Arc<dyn Observer>>) {
        let mut feed = Some(feed);
        loop {
            let Some(open) = &mut feed else {
                feed = self.list(&meta, observer.as_deref()).await;
                if feed.is_none() {
                    #[expect(clippy::disallowed_methods, reason = "a back-off")]
                    tokio::time::sleep(LIST_AGAIN).await;
                }
                continue;
            };
            match open.next().await {
                News::Changes(changes) => self.apply(&changes.events, observer.as_deref()),
                News::Gap(error) => {
                    tracing::info!(%error, "changes of the cluster were missed; it is listed again");
                    self.current.store(false, Ordering::Relaxed);
                    feed = None;
                }
                News::Closed => {
                    self.current.store(false, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    fn apply(&self, events: &[Event], observer: Option<&dyn Observer>) {
        let mut image = self.image.write();
        for event in events {
            image.apply(event);
        }
        drop(image);
        if let Some(observer) = observer {
            let subjects: Vec<_> = events.iter().filter_map(|event| Subject::of(event.key())).collect();
            observer.changed(&self.image(), &subjects);
        }
        self.versions.send_modify(|version| *version += 1);
    }

    async fn list(&self, meta: &SharedMeta, observer: Option<&dyn Observer>) -> Option<Feed> {
        // What is known serves until everything is listed.
        let mut image = self.image.read().clone();
        match Feed::open(&**meta, &mut image).await {
            Ok(feed) => {
                *self.image.write() = image;
                self.current.store(true, Ordering::Relaxed);
                if let Some(observer) = observer {
                    observer.listed(&self.image());
                }
                self.versions.send_modify(|version| *version += 1);
                Some(feed)
            }
            Err(error) => {
                tracing::warn!(%error, "the cluster cannot be listed; it is tried again");
                None
            }
        }
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").finish_non_exhaustive()
    }
}
