//! `tidelog bucket`: what is in a bucket, read and checked without any server.

use std::io::Write as _;

use anyhow::Context as _;
use clap::Subcommand;
use serde::Serialize;
use tidelog_cold::bucket::{Bucket, BucketOptions};
use tidelog_cold::inspect::{self, Cat, CatOptions, Listing, Piece, Report, VerifyOptions};
use tidelog_format::batch::{self, Batch};
use tidelog_model::limits::BATCH_BYTES_MAX;
use tidelog_model::{Offset, PartitionId};

use crate::consume::render::{RecordView, Renderer, Rendering};
use crate::exit::{Code, Failure};
use crate::output::{self, Lean, Output, OutputArgs};
use crate::progress::Progress;

const URL_HELP: &str = "s3://bucket/prefix, gs://…, az://…, file:///directory or a directory's path";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the topics of a bucket; with a topic, its segments.
    Ls {
        #[arg(help = URL_HELP)]
        url: String,
        /// A topic's name or id.
        topic: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print the records of a partition.
    Cat {
        #[arg(help = URL_HELP)]
        url: String,
        /// A topic's name or id.
        topic: String,
        #[arg(long, default_value_t = 0)]
        partition: u32,
        /// The first offset; default: the log start.
        #[arg(long)]
        offset: Option<u64>,
        /// Most records.
        #[arg(long)]
        max: Option<u64>,
        /// Go on behind what is damaged or missing, say what it was, and fail at the end.
        #[arg(long)]
        skip_damaged: bool,
        /// How records are printed.
        #[arg(short, long, value_enum, default_value_t)]
        output: Rendering,
    },
    /// Read everything and check every checksum, offset and reference.
    Verify {
        #[arg(help = URL_HELP)]
        url: String,
        /// Only this topic, by name or id.
        topic: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
    },
}

pub async fn run(command: Command) -> anyhow::Result<Code> {
    match command {
        Command::Ls { url, topic, output } => {
            let bucket = open(&url).await?;
            let listing = inspect::list(&bucket, topic.as_deref()).await?;
            match topic {
                Some(_) => print_segments(&bucket, &listing, output.output).await?,
                None => print_listing(&listing, output.output)?,
            }
            Ok(Code::Success)
        }
        Command::Cat { url, topic, partition, offset, max, skip_damaged, output } => {
            let from = offset.map(Offset);
            let options = CatOptions { topic, partition: PartitionId(partition), from, skip_damaged };
            let skipped = cat(&open(&url).await?, &options, max.unwrap_or(u64::MAX), output).await?;
            if skipped == 0 {
                return Ok(Code::Success);
            }
            output::say(&format!("error: {url}: {skipped} damaged places were skipped"));
            Ok(Code::Unusable)
        }
        Command::Verify { url, topic, output } => {
            let bucket = open(&url).await?;
            let progress = Progress::bytes(None);
            let options = VerifyOptions { topic, ..VerifyOptions::default() };
            let report = inspect::verify(&bucket, &options, |checked| progress.set(checked.bytes)).await?;
            drop(progress);
            print_report(&report, output.output)?;
            if report.is_sound() {
                return Ok(Code::Success);
            }
            output::say(&format!("error: {url}: {} problems found", report.problems_total));
            Ok(Code::Unusable)
        }
    }
}

/// Opens a bucket that should be there: a directory is not made by looking at it. A directory may be
/// named by its path too.
async fn open(named: &str) -> anyhow::Result<Bucket> {
    let directory = match url::Url::parse(named) {
        Ok(url) if url.scheme() == "file" => url.to_file_path().ok(),
        Ok(_) => None,
        Err(_) => Some(std::path::absolute(named)?),
    };
    let url = match directory {
        Some(path) if !path.is_dir() => {
            return Err(Failure::error(Code::NotFound, format!("the bucket {named} is not a directory")));
        }
        Some(path) => {
            url::Url::from_directory_path(&path).map_or_else(|()| named.to_owned(), |url| url.to_string())
        }
        None => named.to_owned(),
    };
    Bucket::open(&url, &BucketOptions::default()).await.context("the bucket cannot be opened")
}

fn print_listing(listing: &Listing, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return output::print_json(listing);
    }
    let columns = [
        ("topic", Lean::Text),
        ("partition", Lean::Number),
        ("log_start_offset", Lean::Number),
        ("tiered_end_offset", Lean::Number),
        ("segments", Lean::Number),
        ("records", Lean::Number),
        ("bytes", Lean::Number),
    ];
    let rows = listing.topics.iter().flat_map(|topic| {
        let deleted = if topic.deleted_ms.is_some() { " (deleted)" } else { "" };
        let name = topic.name.as_ref().map_or_else(|| topic.id.to_string(), ToString::to_string);
        topic.partitions.iter().map(move |p| {
            vec![
                format!("{name}{deleted}"),
                p.partition.to_string(),
                p.log_start_offset.to_string(),
                p.tiered_end_offset.to_string(),
                p.segments.to_string(),
                p.records.to_string(),
                p.bytes.to_string(),
            ]
        })
    });
    output::print(&output::table(&columns, rows))?;
    say_summary(listing);
    Ok(())
}

fn say_summary(listing: &Listing) {
    let cluster =
        listing.cluster.as_ref().map_or_else(|| "no cluster".to_owned(), |c| format!("cluster {}", c.id));
    output::say(&format!("{cluster}: {} objects, {}", listing.objects, output::bytes(listing.bytes)));
    if listing.foreign_objects > 0 {
        let bytes = output::bytes(listing.foreign_bytes);
        output::say(&format!("{} more objects ({bytes}) are not Tidelog's", listing.foreign_objects));
    }
    for problem in &listing.problems {
        output::say(&format!("problem: {problem}"));
    }
}

#[derive(Serialize)]
struct PartitionSegments {
    topic: String,
    partition: PartitionId,
    segments: Vec<inspect::SegmentListing>,
}

async fn print_segments(bucket: &Bucket, listing: &Listing, output: Output) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for topic in &listing.topics {
        for partition in &topic.partitions {
            let id = topic.id.to_string();
            let segments = inspect::segments(bucket, &id, partition.partition).await?;
            let name = topic.name.as_ref().map_or(id, ToString::to_string);
            all.push(PartitionSegments { topic: name, partition: partition.partition, segments });
        }
    }
    if output == Output::Json {
        return output::print_json(&all);
    }
    let columns = [
        ("topic", Lean::Text),
        ("partition", Lean::Number),
        ("first_offset", Lean::Number),
        ("last_offset", Lean::Number),
        ("records", Lean::Number),
        ("bytes", Lean::Number),
        ("created", Lean::Text),
        ("key", Lean::Text),
    ];
    let rows = all.iter().flat_map(|partition| {
        partition.segments.iter().map(|segment| {
            vec![
                partition.topic.clone(),
                partition.partition.to_string(),
                segment.first_offset.to_string(),
                segment.last_offset.to_string(),
                segment.records.to_string(),
                segment.bytes.to_string(),
                output::time(segment.created_ms.0),
                segment.key.clone(),
            ]
        })
    });
    output::print(&output::table(&columns, rows))?;
    say_summary(listing);
    Ok(())
}

/// Prints records; how many places were skipped.
async fn cat(bucket: &Bucket, options: &CatOptions, max: u64, output: Rendering) -> anyhow::Result<u64> {
    let mut cat = Cat::open(bucket, options).await?;
    let mut renderer = Renderer::new(output, &options.topic);
    let (mut left, mut skipped) = (max, 0);
    while left > 0
        && let Some(piece) = cat.next().await?
    {
        match piece {
            Piece::Batches(run) => {
                for batch in batch::split(run, BATCH_BYTES_MAX) {
                    left -= render(&batch?, options, left, &mut renderer)?;
                }
                renderer.write_to(&mut std::io::stdout().lock())?;
            }
            Piece::Skipped(problem) => {
                output::say(&format!("skipped: {problem}"));
                skipped += 1;
            }
        }
    }
    std::io::stdout().lock().flush()?;
    Ok(skipped)
}

/// Renders a batch's records from the offset asked for on, at most `max`; says how many.
fn render(batch: &Batch, options: &CatOptions, max: u64, renderer: &mut Renderer) -> anyhow::Result<u64> {
    if batch.header().attributes.is_control() {
        return Ok(0);
    }
    let mut count = 0;
    for record in batch.records()? {
        let record = record?;
        if options.from.is_none_or(|from| record.offset >= from) && count < max {
            renderer.record(&RecordView::of(options.partition, &record));
            count += 1;
        }
    }
    Ok(count)
}

fn print_report(report: &Report, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return output::print_json(report);
    }
    let columns = [
        ("topic", Lean::Text),
        ("partition", Lean::Number),
        ("offsets", Lean::Text),
        ("segments", Lean::Number),
        ("records", Lean::Number),
        ("bytes", Lean::Number),
        ("unreferenced", Lean::Number),
        ("problems", Lean::Number),
    ];
    let rows = report.partitions.iter().map(|p| {
        vec![
            p.name.as_ref().map_or_else(|| p.topic.to_string(), ToString::to_string),
            p.partition.to_string(),
            format!("{}..{}", p.log_start_offset, p.tiered_end_offset),
            p.checked.segments.to_string(),
            p.checked.records.to_string(),
            p.checked.bytes.to_string(),
            p.unreferenced_objects.to_string(),
            p.problems.to_string(),
        ]
    });
    output::print(&output::table(&columns, rows))?;
    for problem in &report.problems {
        output::say(&format!("problem: {problem}"));
    }
    let checked = &report.checked;
    output::say(&format!(
        "checked {} objects, {}: {} records",
        checked.objects,
        output::bytes(checked.bytes),
        checked.records
    ));
    Ok(())
}
