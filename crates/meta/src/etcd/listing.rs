//! Listings in pages, all of one revision.

use etcd_client::{Client, GetOptions, GetResponse};

use super::fault::Fault;
use super::{Shared, convert};
use crate::limits::check_list;
use crate::{Listing, MetaError, Revision};

/// Entries in a page; fewer are asked for when those are too large for one message.
const PAGE_ENTRIES: i64 = 1000;

/// Largest answer that is taken; a page of one entry always fits.
pub(super) const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How often a listing is begun anew because its revision was compacted meanwhile.
const ATTEMPTS_MAX: u32 = 4;

impl Shared {
    pub(super) async fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        for _ in 0..ATTEMPTS_MAX {
            if let Some(listing) = self.pages(prefix).await? {
                return Ok(listing);
            }
        }
        Err(MetaError::Unavailable("a listing was overtaken by compaction again and again".to_owned()))
    }

    /// `None` when the listing's revision was compacted before its end.
    async fn pages(&self, prefix: &str) -> Result<Option<Listing>, MetaError> {
        let prefix = format!("{}{prefix}", self.prefix);
        let end = convert::end_of(&prefix);
        let floor = self.identity.floor()?;
        let (mut start, mut revision) = (prefix.into_bytes(), None);
        let (mut entries, mut bytes, mut limit) = (Vec::new(), 0, PAGE_ENTRIES);
        loop {
            let mut page = match self.page(&start, &end, limit, revision).await {
                Ok(page) => page,
                Err(Fault::Compacted) => return Ok(None),
                Err(Fault::TooLarge(_)) if limit > 1 => {
                    limit = (limit / 8).max(1);
                    continue;
                }
                Err(fault) => return Err(fault.into_error()),
            };
            self.counters.read();
            let at = self.identity.check(floor, page.header())?;
            // The first page says of which revision all others have to be.
            let revision = *revision.get_or_insert(at);
            let more = page.more();
            for found in page.take_kvs() {
                start = found.key().to_vec();
                let entry = convert::entry(found, &self.prefix)?;
                bytes += entry.bytes();
                check_list(bytes)?;
                entries.push(entry);
            }
            if !more {
                return Ok(Some(Listing { revision, entries }));
            }
            // The first key after the last one that was read.
            start.push(0);
        }
    }

    async fn page(
        &self,
        start: &[u8],
        end: &[u8],
        limit: i64,
        revision: Option<Revision>,
    ) -> Result<GetResponse, Fault> {
        let at = revision.map_or(0, convert::number);
        let options = GetOptions::new().with_range(end).with_limit(limit).with_revision(at);
        self.repeat(|client: Client| {
            let options = options.clone();
            let mut kv = client.kv_client().max_decoding_message_size(ANSWER_BYTES_MAX);
            async move { kv.get(start, Some(options)).await }
        })
        .await
    }
}
