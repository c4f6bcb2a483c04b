//! `tidelog storage`: where records are, and moving them.

use clap::Subcommand;
use serde::Serialize;
use tidelog::PartitionStorage;

use crate::connection::ConnectionArgs;
use crate::exit::Code;
use crate::output::{self, Lean, Output, OutputArgs};
use crate::progress::Progress;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show where the records of each partition are.
    Describe {
        topic: String,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Upload what is not in the bucket yet; return when that is committed.
    Offload {
        topic: String,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Drop the local copy of what is in the bucket.
    Evict {
        topic: String,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

pub async fn run(command: Command) -> anyhow::Result<Code> {
    match command {
        Command::Describe { topic, output, connection } => {
            let admin = connection.connect().await?.admin();
            describe(&admin.describe_storage(&topic).await?, output.output)?;
        }
        Command::Offload { topic, connection } => {
            let admin = connection.connect().await?.admin();
            let progress = Progress::wait(format!("offloading {topic}"));
            admin.offload(&topic).await?;
            drop(progress);
            output::say(&format!("{topic} is in the bucket, up to what was readable when this began"));
        }
        Command::Evict { topic, connection } => {
            let admin = connection.connect().await?.admin();
            admin.evict(&topic).await?;
            output::say(&format!("the local copy of what the bucket has of {topic} is dropped"));
        }
    }
    Ok(Code::Success)
}

/// A partition under the names that the documentation uses.
#[derive(Serialize)]
struct Row {
    partition: u32,
    log_start_offset: u64,
    local_start_offset: u64,
    tiered_end_offset: u64,
    high_watermark: u64,
    log_end_offset: u64,
    local_bytes: u64,
    bucket_bytes: u64,
    segments: u64,
    untiered_bytes: u64,
    untiered_ms: u64,
}

const COLUMNS: [&str; 11] = [
    "partition",
    "log_start_offset",
    "local_start_offset",
    "tiered_end_offset",
    "high_watermark",
    "log_end_offset",
    "local_bytes",
    "bucket_bytes",
    "segments",
    "untiered_bytes",
    "untiered_ms",
];

impl Row {
    fn of(storage: &PartitionStorage) -> Self {
        Self {
            partition: storage.partition.0,
            log_start_offset: storage.log_start.0,
            local_start_offset: storage.local_start.0,
            tiered_end_offset: storage.tiered_end.0,
            high_watermark: storage.high_watermark.0,
            log_end_offset: storage.log_end.0,
            local_bytes: storage.local_bytes,
            bucket_bytes: storage.bucket_bytes,
            segments: storage.segments,
            untiered_bytes: storage.untiered_bytes,
            untiered_ms: storage.untiered_ms,
        }
    }

    fn cells(&self) -> Vec<String> {
        let numbers = [
            u64::from(self.partition),
            self.log_start_offset,
            self.local_start_offset,
            self.tiered_end_offset,
            self.high_watermark,
            self.log_end_offset,
            self.local_bytes,
            self.bucket_bytes,
            self.segments,
            self.untiered_bytes,
            self.untiered_ms,
        ];
        numbers.iter().map(u64::to_string).collect()
    }
}

fn describe(partitions: &[PartitionStorage], output: Output) -> anyhow::Result<()> {
    let rows: Vec<Row> = partitions.iter().map(Row::of).collect();
    match output {
        Output::Json => output::print_json(&rows),
        Output::Table => {
            let columns = COLUMNS.map(|name| (name, Lean::Number));
            output::print(&output::table(&columns, rows.iter().map(Row::cells)))
        }
    }
}
