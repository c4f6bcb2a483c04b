//! Listings, in the order of keys whatever the store.
//!
//! Object stores list in that order, page by page. A directory tree on disk does not: it is walked one
//! directory at a time, each sorted, so that what is held is one directory per level.

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use super::error::{BucketError, Operation};
use super::{Bucket, ObjectInfo};

/// Objects as a listing gives them.
pub type Objects = BoxStream<'static, Result<ObjectInfo, BucketError>>;

pub(super) fn list(bucket: &Bucket, prefix: &str, after: Option<&str>) -> Objects {
    let path = match bucket.path(Operation::List, prefix.trim_end_matches('/')) {
        Ok(path) => path,
        Err(error) => return stream::once(async { Err(error) }).boxed(),
    };
    let path = (!path.is_root()).then_some(path);
    let found = match (bucket.ordered, after) {
        (false, _) => walk(bucket.clone(), path),
        (true, None) => bucket.store.list(path.as_ref()),
        (true, Some(after)) => match bucket.path(Operation::List, after) {
            Ok(after) => bucket.store.list_with_offset(path.as_ref(), &after),
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        },
    };
    let after = after.map(str::to_owned);
    let (bucket, prefix) = (bucket.clone(), prefix.to_owned());
    found
        .map(move |object| match object {
            Ok(meta) => Ok(bucket.info(&meta)),
            Err(error) => Err(BucketError::from_store(Operation::List, &prefix, &error)),
        })
        .try_filter(move |object| {
            futures::future::ready(after.as_ref().is_none_or(|after| object.key > *after))
        })
        .boxed()
}

enum Found {
    Object(ObjectMeta),
    Directory(Path),
}

impl Found {
    /// Sorts a directory where its content's keys belong.
    fn sort_key(&self) -> String {
        match self {
            Self::Object(meta) => meta.location.as_ref().to_owned(),
            Self::Directory(path) => format!("{path}/"),
        }
    }
}

fn walk(bucket: Bucket, path: Option<Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
    let start = vec![Found::Directory(path.unwrap_or_default())];
    stream::try_unfold((bucket, start), |(bucket, mut left)| async move {
        while let Some(next) = left.pop() {
            match next {
                Found::Object(meta) => return Ok(Some((meta, (bucket, left)))),
                Found::Directory(path) => {
                    let content = match bucket.store.list_with_delimiter(Some(&path)).await {
                        Ok(content) => content,
                        // It was emptied and removed while this went on.
                        Err(object_store::Error::NotFound { .. }) => continue,
                        Err(error) => return Err(error),
                    };
                    let mut found: Vec<Found> = content.objects.into_iter().map(Found::Object).collect();
                    found.extend(content.common_prefixes.into_iter().map(Found::Directory));
                    found.sort_by_cached_key(|found| std::cmp::Reverse(found.sort_key()));
                    left.append(&mut found);
                }
            }
        }
        Ok(None)
    })
    .boxed()
}
