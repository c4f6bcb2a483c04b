//! What `tidelog storage describe TOPIC -o json` says.

use serde_json::Value;

/// A topic's partitions, in order.
#[derive(Debug)]
pub struct Storage {
    pub partitions: Vec<PartitionStorage>,
}

#[derive(Clone, Debug)]
pub struct PartitionStorage {
    pub partition: u64,
    pub log_start: u64,
    pub local_start: u64,
    pub tiered_end: u64,
    pub high_watermark: u64,
    pub log_end: u64,
    pub local_bytes: u64,
    pub bucket_bytes: u64,
    pub segments: u64,
    pub untiered_bytes: u64,
}

impl Storage {
    /// # Panics
    /// When the answer is not of the documented form.
    #[track_caller]
    pub fn parse(value: &Value) -> Self {
        let rows = value.as_array().or_else(|| value["partitions"].as_array());
        let rows = rows.unwrap_or_else(|| panic!("no partitions in {value}"));
        let partitions = rows
            .iter()
            .map(|row| {
                let number =
                    |key: &str| row[key].as_u64().unwrap_or_else(|| panic!("{key} is not a number in {row}"));
                PartitionStorage {
                    partition: number("partition"),
                    log_start: number("log_start_offset"),
                    local_start: number("local_start_offset"),
                    tiered_end: number("tiered_end_offset"),
                    high_watermark: number("high_watermark"),
                    log_end: number("log_end_offset"),
                    local_bytes: number("local_bytes"),
                    bucket_bytes: number("bucket_bytes"),
                    segments: number("segments"),
                    untiered_bytes: number("untiered_bytes"),
                }
            })
            .collect();
        Self { partitions }
    }

    /// Records that can be read, over all partitions.
    pub fn records(&self) -> u64 {
        self.partitions.iter().map(|p| p.high_watermark - p.log_start).sum()
    }

    /// # Panics
    /// Unless everything is in the bucket and nothing on the local disk.
    #[track_caller]
    pub fn assert_only_in_bucket(&self) {
        for p in &self.partitions {
            assert_eq!(p.tiered_end, p.log_end, "not everything was offloaded: {p:?}");
            assert_eq!(p.local_start, p.log_end, "not everything was evicted: {p:?}");
            assert_eq!(p.untiered_bytes, 0, "{p:?}");
            assert!(p.log_end == p.log_start || p.segments > 0, "{p:?}");
        }
    }

    /// # Panics
    /// Unless the offsets stand in their order.
    #[track_caller]
    pub fn assert_ordered(&self) {
        for p in &self.partitions {
            assert!(p.log_start <= p.local_start, "{p:?}");
            assert!(p.local_start <= p.tiered_end.max(p.log_start), "a hole between the tiers: {p:?}");
            assert!(p.tiered_end <= p.high_watermark, "{p:?}");
            assert!(p.high_watermark <= p.log_end, "{p:?}");
        }
    }
}
