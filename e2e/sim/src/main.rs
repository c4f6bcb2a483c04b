//! `tidelog-sim --seeds A..B [--steps N] [--trace] [--bug NAME] [--whole]`: runs seeds and reports the
//! first of them that breaks a promise, with the fewest faults that it takes.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program that prints")]

use std::process::ExitCode;

use tidelog_replica::Faults;
use tidelog_sim::{Outcome, STEPS, Setup, run, shrink};

const USAGE: &str = "usage: tidelog-sim --seeds A..B [--steps N] [--trace] [--bug NAME] [--whole]
  --seeds A..B   the seeds to run, B excluded; one number runs one seed
  --steps N      steps of the hostile part of each run
  --trace        print everything that happens (of one seed, or of the one that breaks a promise)
  --bug NAME     switch a deliberate bug of the state machine on
  --whole        do not look for fewer faults";

#[derive(Debug)]
struct Arguments {
    seeds: std::ops::Range<u64>,
    steps: u64,
    trace: bool,
    whole: bool,
    faults: Faults,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut total = Outcome::default();
    for seed in arguments.seeds.clone() {
        let setup = Setup::of_seed(seed, arguments.steps, arguments.faults);
        let outcome = run(&setup, arguments.trace && arguments.seeds.clone().count() == 1);
        print!("{}", outcome.trace);
        if outcome.violation.is_some() {
            report(&arguments, setup, &outcome);
            return ExitCode::FAILURE;
        }
        total.steps += outcome.steps;
        total.virtual_time += outcome.virtual_time;
        total.appended += outcome.appended;
        total.acknowledged += outcome.acknowledged;
        total.elections += outcome.elections;
    }
    println!(
        "no promise broken: seeds {:?}, {} steps, {} s of virtual time, {} batches written, {} acknowledged, \
         {} elections",
        arguments.seeds,
        total.steps,
        total.virtual_time / 1_000_000,
        total.appended,
        total.acknowledged,
        total.elections
    );
    ExitCode::SUCCESS
}

fn report(arguments: &Arguments, setup: Setup, outcome: &Outcome) {
    let Some(violation) = &outcome.violation else { return };
    println!("seed {} breaks a promise: {violation}", setup.seed);
    let smallest = if arguments.whole { setup } else { shrink(&setup, violation) };
    let again = run(&smallest, arguments.trace);
    print!("{}", again.trace);
    println!(
        "{} nodes, {:?}, {:?}, lease {} µs, drift {:?} ppm",
        smallest.nodes, smallest.partitions, smallest.weather, smallest.lease_ttl, smallest.drift_ppm
    );
    println!("{:?}", smallest.config);
    for fault in &smallest.plan {
        println!("  at {:>9} µs for {:>8} µs: {:?}", fault.at, fault.lasts, fault.kind);
    }
    if let Some(violation) = again.violation {
        println!("with these {} faults: {violation}", smallest.plan.len());
    }
    println!("repeat with: tidelog-sim --seeds {} --steps {} --trace", smallest.seed, smallest.steps);
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments =
        Arguments { seeds: 0..100, steps: STEPS, trace: false, whole: false, faults: Faults::default() };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--seeds" => arguments.seeds = seeds(&value()?)?,
            "--steps" => arguments.steps = number(&value()?)?,
            "--bug" => arguments.faults = bug(&value()?)?,
            "--trace" => arguments.trace = true,
            "--whole" => arguments.whole = true,
            _ => return Err(format!("what is {word}?")),
        }
    }
    Ok(arguments)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
    match text.split_once("..") {
        Some((from, to)) => Ok(number(from)?..number(to)?),
        None => number(text).map(|seed| seed..seed.saturating_add(1)),
    }
}

fn bug(name: &str) -> Result<Faults, String> {
    let none = Faults::default();
    tidelog_sim::BUGS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, switch)| switch(none))
        .ok_or_else(|| format!("no bug is called {name}; there are: {}", bug_names()))
}

fn bug_names() -> String {
    tidelog_sim::BUGS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
