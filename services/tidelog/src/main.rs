//! The tidelog binary: server and command line.
//!
//! Results go to standard output, everything else to standard error; every end has its exit code
//! ([`exit::Code`]).

#![allow(unreachable_pub)] // Nothing of a binary can be reached from outside.

mod bench;
mod bucket;
mod certs;
mod cli;
mod cluster;
mod config_command;
mod connection;
mod consume;
mod dev;
mod exit;
mod operate;
mod output;
mod private_file;
mod produce;
mod progress;
mod roles;
mod settings;
mod storage;
mod topic;

use std::process::ExitCode;

use clap::Parser as _;

/// Chosen by measurement: docs/adr/0009-allocator.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    tidelog_runtime::crash::arm_from_environment();
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return exit::report(&anyhow::Error::new(error).context("the threads cannot be started"));
        }
    };
    let outcome = runtime.block_on(async {
        let outcome = cli::run(cli).await;
        connection::say_good_bye().await;
        outcome
    });
    // A thread may be waiting for standard input; nobody waits for it.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code.into(),
        Err(error) => exit::report(&error),
    }
}
