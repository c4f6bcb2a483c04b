//! The typed face of a metadata store: keys of [`crate::keys`] in, values out.

use async_trait::async_trait;

use crate::{Entry, Key, Meta, MetaError, Prefix, Revision, Value, ValueError};

/// A value with the revisions that later comparisons need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<V> {
    pub key: String,
    pub value: V,
    pub create_revision: Revision,
    pub mod_revision: Revision,
}

impl<V: Value> Stored<V> {
    /// Reads an entry's value, as a watch delivers it.
    pub fn from_entry(entry: &Entry) -> Result<Self, ValueError> {
        Ok(Self {
            key: entry.key.as_ref().to_owned(),
            value: V::decode(&entry.value).map_err(|error| error.at(&entry.key))?,
            create_revision: entry.create_revision,
            mod_revision: entry.mod_revision,
        })
    }
}

/// All values under a prefix, as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredList<V> {
    pub revision: Revision,
    pub items: Vec<Stored<V>>,
}

/// Typed reads on any [`Meta`].
#[async_trait]
pub trait TypedMeta: Meta {
    /// The value of a key, if there is one. A value that cannot be read is an error, never `None`.
    async fn read<V: Value>(&self, key: &Key<V>) -> Result<Option<Stored<V>>, MetaError> {
        let entry = self.get(key.as_str()).await?;
        Ok(entry.as_ref().map(Stored::from_entry).transpose()?)
    }

    /// Every value under a prefix. One that cannot be read fails the whole call.
    async fn read_all<V: Value>(&self, prefix: &Prefix<V>) -> Result<StoredList<V>, MetaError> {
        let listing = self.list(prefix.as_str()).await?;
        let items = listing.entries.iter().map(Stored::from_entry).collect::<Result<_, _>>()?;
        Ok(StoredList { revision: listing.revision, items })
    }
}

impl<M: Meta + ?Sized> TypedMeta for M {}
