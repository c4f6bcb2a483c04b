//! What a batch from a socket must be before it may have a place in a log.
//!
//! Checks come cheapest first. What is stored is what came in, with three named exceptions: the topic
//! keeps the time of append, the topic chooses the codec, and offsets and epoch are set later.

use bytes::BytesMut;
use tidelog_format::batch::{self, Batch, BatchError, BatchHeader};
use tidelog_model::{CompressionType, ErrorCode, TimestampMs, TimestampType, TopicConfig};
use tidelog_peer::StoreError;

use crate::partition::timestamps;

/// A batch that is fit to be appended.
#[derive(Debug)]
pub(crate) struct Validated {
    pub(crate) bytes: BytesMut,
    pub(crate) header: BatchHeader,
    /// The time of append, where the topic keeps that instead of the producer's timestamps.
    pub(crate) append_time: Option<TimestampMs>,
}

/// Checks a batch and brings it into the form in which the topic keeps it.
pub(crate) async fn validate(
    mut bytes: BytesMut,
    config: &TopicConfig,
    now: TimestampMs,
) -> Result<Validated, StoreError> {
    check_size(bytes.len(), config)?;
    let mut header = batch::verify(&bytes).map_err(|error| refused(&error))?;
    header.check_produced().map_err(|error| invalid(&error))?;
    if header.attributes.is_transactional() {
        let message = "the batch is part of a transaction, and this version has none";
        return Err(StoreError::new(ErrorCode::InvalidRecord, message));
    }
    let mut rewritten = false;
    let stamps = config.message_timestamp_type == TimestampType::LogAppendTime;
    if !stamps {
        check_timestamps(&header, config, now)?;
    }
    if let CompressionType::Codec(codec) = config.compression_type
        && header.compression() != codec
    {
        let batch = Batch::parse(bytes.freeze()).map_err(|error| refused(&error))?;
        let work = move || batch::recompress(&batch, codec);
        bytes = off_the_runtime(work).await?.map_err(|error| refused(&error))?;
        check_size(bytes.len(), config)?;
        rewritten = true;
    }
    if stamps {
        batch::stamp_append_time(&mut bytes, now);
        rewritten = true;
    }
    if rewritten {
        header = batch::header(&bytes).map_err(|error| refused(&error))?;
    }
    Ok(Validated { bytes, header, append_time: stamps.then_some(now) })
}

fn check_size(bytes: usize, config: &TopicConfig) -> Result<(), StoreError> {
    let max = config.max_message_bytes;
    if bytes <= max {
        return Ok(());
    }
    let message = format!("the batch is {bytes} bytes large, max.message.bytes={max} are allowed");
    Err(StoreError::new(ErrorCode::MessageTooLarge, message))
}

fn check_timestamps(header: &BatchHeader, config: &TopicConfig, now: TimestampMs) -> Result<(), StoreError> {
    if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
        let message = "the batch claims the server's time of append, which only the server sets";
        return Err(StoreError::new(ErrorCode::InvalidTimestamp, message));
    }
    for timestamp in [header.base_timestamp, header.max_timestamp] {
        timestamps::check(timestamp, now, config)
            .map_err(|error| StoreError::new(ErrorCode::InvalidTimestamp, error.to_string()))?;
    }
    Ok(())
}

/// Codecs may take longer than a runtime thread may be kept from others.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| StoreError::new(ErrorCode::ShuttingDown, "the server is shutting down"))
}

fn refused(error: &BatchError) -> StoreError {
    StoreError::new(error.code(), error.to_string())
}

/// The bytes arrived as they were sent, and what was sent is not acceptable: no use in trying again.
fn invalid(error: &BatchError) -> StoreError {
    StoreError::new(ErrorCode::InvalidRecord, error.to_string())
}

#[cfg(test)]
mod tests {
    use tidelog_format::batch::{BatchBuilder, BatchOptions};
    use tidelog_model::Compression;

    use super::*;

    const NOW: TimestampMs = TimestampMs(10_000_000);

    fn batch(compression: Compression, timestamp: i64) -> BytesMut {
        let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
        for _ in 0..20 {
            builder.push(TimestampMs(timestamp), Some(b"key"), Some(b"a value"), &[]).unwrap();
        }
        builder.finish()
    }

    fn config(settings: &[(&str, &str)]) -> TopicConfig {
        TopicConfig::default().with(settings.iter().copied()).unwrap()
    }

    async fn code(bytes: BytesMut, settings: &[(&str, &str)]) -> ErrorCode {
        validate(bytes, &config(settings), NOW).await.unwrap_err().code
    }

    #[tokio::test]
    async fn a_sound_batch_is_kept_as_it_came() {
        let bytes = batch(Compression::Lz4, NOW.0);
        let validated = validate(bytes.clone(), &config(&[]), NOW).await.unwrap();
        assert_eq!((validated.bytes, validated.append_time), (bytes, None));
        assert_eq!(validated.header.record_count, 20);
    }

    #[tokio::test]
    async fn each_fault_has_its_code() {
        let mut flipped = batch(Compression::None, NOW.0);
        *flipped.last_mut().unwrap() ^= 1;
        assert_eq!(code(flipped, &[]).await, ErrorCode::CorruptMessage);
        let mut cut = batch(Compression::None, NOW.0);
        cut.truncate(80);
        assert_eq!(code(cut, &[]).await, ErrorCode::CorruptMessage);
        let mut codec = batch(Compression::None, NOW.0);
        codec[22] |= 7;
        assert_eq!(code(codec, &[]).await, ErrorCode::UnsupportedCompressionType);
        let mut huge = batch(Compression::None, NOW.0);
        huge[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(code(huge, &[]).await, ErrorCode::MessageTooLarge);
        let late = batch(Compression::None, NOW.0 + 3_600_001);
        assert_eq!(code(late, &[]).await, ErrorCode::InvalidTimestamp);
        let mut large = BatchBuilder::new(BatchOptions::default());
        large.push(NOW, None, Some(&[7; 4000]), &[]).unwrap();
        let limit = [("max.message.bytes", "2000")];
        assert_eq!(code(large.finish(), &limit).await, ErrorCode::MessageTooLarge);
    }

    #[tokio::test]
    async fn the_servers_time_replaces_the_producers() {
        let settings = config(&[("message.timestamp.type", "LogAppendTime")]);
        let validated = validate(batch(Compression::None, 5), &settings, NOW).await.unwrap();
        assert_eq!(validated.append_time, Some(NOW));
        let header = batch::verify(&validated.bytes).unwrap();
        assert_eq!(header.max_timestamp, NOW);
        assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(header, validated.header);
        assert_eq!(code(validated.bytes, &[]).await, ErrorCode::InvalidTimestamp);
    }

    #[tokio::test]
    async fn the_topics_codec_replaces_the_producers() {
        for target in ["zstd", "gzip", "snappy", "lz4", "uncompressed"] {
            let settings = config(&[("compression.type", target)]);
            for source in Compression::ALL {
                let validated = validate(batch(source, NOW.0), &settings, NOW).await.unwrap();
                assert_eq!(batch::verify(&validated.bytes).unwrap(), validated.header);
                let name = if target == "uncompressed" { "none" } else { target };
                assert_eq!(validated.header.compression().name(), name);
                let records = Batch::parse(validated.bytes.freeze()).unwrap().records().unwrap();
                assert_eq!(records.count(), 20);
            }
        }
    }
}
