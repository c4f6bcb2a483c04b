//! Changes of everything that the image is made of, from watches.

use super::Image;
use crate::{Changes, Meta, MetaError, Watch, WatchError};
use futures::future::select_all;

/// Watches on every prefix of the image.
#[derive(Debug)]
pub struct Feed {
    watches: Vec<Watch>,
}

/// What comes next.
#[derive(Debug)]
pub enum News {
    Changes(Changes),
    /// Changes may have been missed: the image must be built anew, with [`Feed::open`].
    Gap(WatchError),
    /// The metadata store is closed.
    Closed,
}

impl Feed {
    /// Brings the image up to date and follows it from there.
    pub async fn open(meta: &dyn Meta, image: &mut Image) -> Result<Self, MetaError> {
        let mut watches = Vec::new();
        for prefix in Image::prefixes() {
            let listing = meta.list(&prefix).await?;
            watches.push(meta.watch(&prefix, listing.revision.next()).await?);
            image.replace(&prefix, &listing);
        }
        Ok(Self { watches })
    }

    /// Cancelling the call loses nothing.
    pub async fn next(&mut self) -> News {
        let next = self.watches.iter_mut().map(|watch| Box::pin(watch.next()));
        match select_all(next).await.0 {
            Ok(changes) => News::Changes(changes),
            Err(WatchError::Closed) => News::Closed,
            Err(error) => News::Gap(error),
        }
    }
}
