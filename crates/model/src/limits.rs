//! The bounds that hold everywhere, each named once. Sizes are in bytes unless the name says otherwise.

/// Longest topic name (Kafka's limit).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Most partitions a topic can have.
pub const PARTITIONS_PER_TOPIC_MAX: u32 = 100_000;

/// Most replicas that a topic can want of each partition.
pub const REPLICATION_FACTOR_MAX: u32 = 32;

/// Largest record batch that any topic can allow (`max.message.bytes` is at most this).
pub const BATCH_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What one batch may grow to when it is decompressed.
pub const BATCH_DECOMPRESSED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How many times larger than its compressed form a batch may become; past it, decompression stops.
/// zstd and gzip reach about 1,000 on runs of one byte.
pub const DECOMPRESSION_RATIO_MAX: usize = 2_000;

/// Most records in one batch.
pub const RECORDS_PER_BATCH_MAX: usize = 1_000_000;

/// Most headers on one record.
pub const HEADERS_PER_RECORD_MAX: usize = 10_000;

/// How many of a producer's newest batches are remembered per partition, and so how many may be in
/// flight (Kafka's limit for idempotent producers).
pub const PRODUCER_BATCHES_REMEMBERED: usize = 5;
