//! The hot tier's journal, as the settings describe it.

use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use tidelog_journal::{JournalConfig, RecoveryReport};
use tidelog_model::NodeId;
use tidelog_runtime::SystemClock;
use tidelog_store::StoreOptions;

use crate::settings::Settings;

/// The journal below the data directory.
pub fn config(settings: &Settings, data_dir: &Path) -> JournalConfig {
    let mut config = JournalConfig::new(data_dir.join("journal"), SystemClock::shared());
    config.file_bytes = settings.journal_file_bytes.0;
    config.budget_bytes = settings.journal_budget_bytes.0;
    config.group_bytes_max = settings.journal_group_bytes.as_usize();
    config.queue_bytes_max = settings.journal_queue_bytes.as_usize();
    config.tail_cache_bytes = settings.journal_tail_cache_bytes.as_usize();
    config.index_cache_bytes = settings.journal_index_cache_bytes.as_usize();
    config.local_age_ms = settings.journal_local_age.map(tidelog_runtime::config::Span::as_ms);
    config.direct = settings.journal_direct.0;
    config.on_damage = settings.journal_on_damage.0;
    config.reader_threads = settings.journal_reader_threads;
    config
}

/// What a store of this number is opened with.
pub fn store_options(settings: &Settings, node: NodeId) -> StoreOptions {
    StoreOptions {
        node,
        room_timeout: settings.journal_room_timeout.duration(),
        offload_memory_bytes: settings.offload_memory_bytes.as_usize(),
        offload_requests: settings.offload_requests,
        offload_bytes_per_second: settings
            .offload_bytes_per_second
            .and_then(|bytes| NonZeroU64::new(bytes.0)),
    }
}

/// Says what the journal's recovery found.
pub fn log_recovery(report: &RecoveryReport, took: Duration) {
    let RecoveryReport { files, bytes, replayed_frames, secured_bytes, .. } = *report;
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(took_ms, files, bytes, replayed_frames, secured_bytes, "the store is open");
    if let Some((path, position)) = &report.torn {
        let path = path.display();
        tracing::warn!(%path, position, "the newest journal file ends in an incomplete write, which was cut off");
    }
    for path in &report.reindexed {
        tracing::warn!(path = %path.display(), "the index of a journal file was made anew");
    }
    for damage in &report.damage {
        let (path, position) = (damage.path.display(), damage.position);
        tracing::error!(%path, position, reason = damage.reason, in_bucket = damage.is_covered, "damage in the journal");
    }
}
