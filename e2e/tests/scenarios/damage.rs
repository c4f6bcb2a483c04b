//! Damaged files are found, named, and never served.

use std::fs;
use std::path::PathBuf;

use tidelog_e2e::damage::{files_below, find, flip_bit, used_bytes, zero};
use tidelog_e2e::input::{Input, short_lines};
use tidelog_e2e::{Cli, Server, ServerOptions, Workspace};

const LINES: usize = 400;

/// Lines that can be found in a file again, one batch each when produced by [`one_by_one`].
fn line(number: usize) -> String {
    format!("damage-scenario-line-{number:06}-{}\n", "x".repeat(200))
}

/// Several produces, hence several batches, uncompressed.
fn one_by_one(cli: &Cli, topic: &str, batches: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for batch in 0..batches {
        let lines: String = (batch * LINES..(batch + 1) * LINES).map(line).collect();
        cli.produce(topic, 0, "none", lines.as_bytes());
        all.extend_from_slice(lines.as_bytes());
    }
    all
}

fn journal_files(server: &Server) -> Vec<PathBuf> {
    let mut files = files_below(server.data_dir());
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    files
}

/// The journal file that holds this text, and where.
fn place_in_journal(server: &Server, text: &str) -> (PathBuf, u64) {
    journal_files(server)
        .into_iter()
        .find_map(|path| find(&path, text.as_bytes()).map(|at| (path, at)))
        .unwrap_or_else(|| panic!("no journal file holds {text:?}"))
}

#[test]
fn a_torn_journal_tail_is_cut_and_what_is_before_it_served() {
    let workspace = Workspace::new();
    let mut server = Server::start(&workspace, ServerOptions::default());
    let cli = server.cli();
    cli.create_topic("torn", 1, &[]);
    let mut all = one_by_one(&cli, "torn", 4);
    // Wherever the cut falls in the last batch, what was before it comes back whole.
    for (round, missing) in [1, 7, 4095, 4096, 30_000].into_iter().enumerate() {
        // Every start begins a file with its leaderships; the tail that is torn is that of the newest.
        let before = all.len();
        let first = (4 + round) * LINES;
        let batch: Vec<u8> = (first..first + LINES).flat_map(|number| line(number).into_bytes()).collect();
        cli.produce("torn", 0, "none", &batch);
        all.extend_from_slice(&batch);
        server.kill();
        let last = line(first + LINES - 1);
        let (file, at) = place_in_journal(&server, last.trim_end());
        let end = at + last.len() as u64;
        zero(&file, end - missing.min(end), used_bytes(&file).max(end));
        server.restart();
        let output = cli.consume("torn", 0);
        assert!(all.starts_with(&output), "a cut of {missing} bytes: what is served is not a prefix");
        assert!(output.len() >= before, "a cut of {missing} bytes took earlier batches too");
        // The journal goes on: append what was lost again for the next cut.
        let rest = &all[output.len()..];
        if !rest.is_empty() {
            cli.produce("torn", 0, "none", rest);
        }
        assert!(cli.consume("torn", 0) == all, "a cut of {missing} bytes: appending does not go on");
    }
}

#[test]
fn a_flipped_bit_in_the_middle_of_the_journal_is_named_and_never_served() {
    let workspace = Workspace::new();
    let mut server = Server::start(&workspace, ServerOptions::default());
    let cli = server.cli();
    cli.create_topic("flipped", 1, &[]);
    cli.create_topic("neighbour", 1, &[]);
    let all = one_by_one(&cli, "flipped", 6);
    let neighbour = short_lines().head(100_000);
    cli.produce("neighbour", 0, "zstd", &neighbour.bytes);
    server.kill();
    let (file, at) = place_in_journal(&server, line(LINES + 17).trim_end());
    flip_bit(&file, at + 40);

    if let Err(refusal) = server.try_restart() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        refusal.says(&["corrupt|damaged", &name]);
        return;
    }
    let read = cli.run(&["consume", "flipped", "--partition", "0", "--offset", "start", "-e"]);
    let read = read.refused(&["corrupt|damaged"]);
    assert!(all.starts_with(&read.stdout), "damaged records were served");
    assert!(cli.consume("neighbour", 0) == neighbour.bytes, "the neighbour suffers");
}

/// A server whose two topics are only in the bucket, and the objects below the bucket's directory.
fn offloaded(workspace: &Workspace) -> (Server, Vec<u8>, Input) {
    let server = Server::start(workspace, ServerOptions::default());
    let cli = server.cli();
    cli.create_topic("flipped", 1, &[]);
    let all = one_by_one(&cli, "flipped", 4);
    cli.offload("flipped");
    cli.evict("flipped");
    cli.create_topic("neighbour", 1, &[]);
    let neighbour = short_lines().head(100_000);
    cli.produce("neighbour", 0, "zstd", &neighbour.bytes);
    cli.offload("neighbour");
    cli.evict("neighbour");
    (server, all, neighbour)
}

#[track_caller]
fn assert_named_and_not_served(server: &mut Server, all: &[u8], neighbour: &Input, object: &str) {
    // Restarted, so that no cache answers.
    server.kill();
    let _ = fs::remove_dir_all(server.data_dir().join("cache"));
    server.restart();
    let cli = server.cli();
    let read = cli.run(&["consume", "flipped", "--partition", "0", "--offset", "start", "-e"]);
    let read = read.refused(&["corrupt|damaged|checksum"]);
    assert!(all.starts_with(&read.stdout), "damaged records were served");
    assert!(cli.consume("neighbour", 0) == neighbour.bytes, "the neighbour suffers");
    let verify = cli.run(&["bucket", "verify", &server.bucket_url()]);
    assert_ne!(verify.code, 0, "bucket verify found nothing");
    let said = format!("{}{}", verify.text(), verify.stderr);
    assert!(said.contains(object), "bucket verify should name {object}; it said:\n{said}");
}

#[test]
fn a_flipped_bit_in_a_segment_is_named_and_never_served() {
    let workspace = Workspace::new();
    let (mut server, all, neighbour) = offloaded(&workspace);
    let text = line(2 * LINES + 3);
    let (object, at) = files_below(&server.bucket_dir())
        .into_iter()
        .find_map(|path| find(&path, text.trim_end().as_bytes()).map(|at| (path, at)))
        .expect("a segment with the line");
    flip_bit(&object, at + 60);
    let name = object.file_name().unwrap().to_string_lossy().into_owned();
    assert_named_and_not_served(&mut server, &all, &neighbour, &name);
}

#[test]
fn a_flipped_bit_in_a_manifest_is_named_and_never_served() {
    let workspace = Workspace::new();
    let (mut server, all, neighbour) = offloaded(&workspace);
    let cli = server.cli();
    let topic_id = cli.json(&["topic", "describe", "flipped", "-o", "json"])["id"]
        .as_str()
        .expect("a topic has an id")
        .replace('-', "");
    let root = files_below(&server.bucket_dir())
        .into_iter()
        .rfind(|path| {
            let path = path.to_string_lossy();
            path.contains(&topic_id) && (path.contains("manifest") || path.contains("root"))
        })
        .expect("a manifest root of the topic");
    flip_bit(&root, fs::metadata(&root).unwrap().len() / 2);
    let name = root.file_name().unwrap().to_string_lossy().into_owned();
    assert_named_and_not_served(&mut server, &all, &neighbour, &name);
}
