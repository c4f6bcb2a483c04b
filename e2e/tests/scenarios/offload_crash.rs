//! An offload may die at any of its steps: nothing is lost, nothing is doubled, and the next one works.

use std::time::Duration;

use tidelog_e2e::input::{Input, short_lines};
use tidelog_e2e::{Cli, Seaweed, Server, ServerOptions, Workspace};

/// Every step of an offload and of the eviction after it, in their order.
const OFFLOAD_STEPS: [&str; 5] = [
    "store::offload-begun",
    "store::offload-segment-uploaded",
    "store::offload-manifest-uploaded",
    "store::offload-before-commit",
    "store::offload-after-commit",
];
const EVICT_STEPS: [&str; 2] = ["store::evict-before", "store::evict-after"];

/// A topic of two partitions and what each must hold.
struct Topic<'a> {
    cli: &'a Cli,
    expected: [Vec<u8>; 2],
}

impl Topic<'_> {
    fn produce(&mut self, input: &Input, round: usize, rounds: usize) {
        for (partition, expected) in self.expected.iter_mut().enumerate() {
            let part = input.share(round * 2 + partition, rounds * 2);
            self.cli.produce("steps", partition as u32, "lz4", &part.bytes);
            expected.extend_from_slice(&part.bytes);
        }
    }

    #[track_caller]
    fn assert_identical(&self, when: &str) {
        for (partition, expected) in self.expected.iter().enumerate() {
            let output = self.cli.consume("steps", partition as u32);
            assert!(output == *expected, "{when}: partition {partition} differs");
        }
    }
}

fn survives_a_kill_at_any_step(workspace: &Workspace, options: ServerOptions) {
    let mut server = Server::start(workspace, options);
    let cli = server.cli();
    let input = short_lines();
    cli.create_topic("steps", 2, &[]);
    let mut topic = Topic { cli: &cli, expected: [Vec::new(), Vec::new()] };

    let rounds = OFFLOAD_STEPS.len() + EVICT_STEPS.len();
    for (round, step) in OFFLOAD_STEPS.iter().chain(&EVICT_STEPS).enumerate() {
        topic.produce(&input, round, rounds);
        let command = if EVICT_STEPS.contains(step) { "evict" } else { "offload" };
        if command == "evict" {
            cli.offload("steps");
        }
        server.kill();
        server.options_mut().env.push(("FAILPOINTS".to_owned(), format!("{step}=return(kill)")));
        server.restart();
        // Its answer can be an error or a lost connection; what counts is what is there afterwards.
        let mut waiting = cli.command(&["storage", command, "steps"]).spawn().expect("a command starts");
        server.killed_itself(Duration::from_secs(30));
        let _ = waiting.kill();
        let _ = waiting.wait();
        server.options_mut().env.retain(|(name, _)| name != "FAILPOINTS");
        server.restart();
        topic.assert_identical(&format!("{step}, restarted"));
        cli.offload("steps");
        cli.evict("steps");
        cli.storage("steps").assert_only_in_bucket();
        topic.assert_identical(&format!("{step}, from the bucket"));
    }
    let _ = cli.run(&["bucket", "verify", &server.bucket_url()]).ok();
}

#[test]
fn a_kill_at_any_step_of_an_offload_to_a_directory_loses_nothing() {
    survives_a_kill_at_any_step(&Workspace::new(), ServerOptions::default());
}

#[test]
fn a_kill_at_any_step_of_an_offload_to_a_real_s3_server_loses_nothing() {
    let workspace = Workspace::new();
    let seaweed = Seaweed::start(&workspace);
    survives_a_kill_at_any_step(&workspace, ServerOptions::default().seaweed(&seaweed, "crash"));
}
