//! Faults by chance, from a seed, one after another and two at a time: nothing acknowledged is lost, and
//! everything works again afterwards.

use std::time::{Duration, Instant};

use tidelog_e2e::faults::Dice;
use tidelog_e2e::history::Fault;
use tidelog_e2e::{ClusterOptions, Member, pass};

use super::fleet::Fleet;

/// How many faults the short form has, and what they follow from.
const SHORT_FAULTS: u32 = 3;
const SHORT_SEED: u64 = 7;

const STORES: usize = 3;
const FRONTENDS: usize = 2;

/// What happens to a process.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Kill,
    Pause,
    Terminate,
}

/// A process that was harmed.
struct Harmed {
    member: Member,
    harm: Harm,
    fault: Fault,
}

/// What is to happen, and for how long.
struct Weather {
    dice: Dice,
}

impl Weather {
    fn victim(&mut self) -> Member {
        // Stores hold what must not be lost.
        match self.dice.below(4) {
            0 => Member::Frontend(self.dice.below(FRONTENDS as u64) as usize),
            _ => Member::Store(self.dice.below(STORES as u64) as usize),
        }
    }

    fn harm(&mut self) -> Harm {
        match self.dice.below(3) {
            0 => Harm::Kill,
            1 => Harm::Pause,
            _ => Harm::Terminate,
        }
    }

    /// From a hiccup to more than a lease of two seconds.
    fn how_long(&mut self) -> Duration {
        Duration::from_millis(self.dice.below(3_500))
    }
}

fn inflict(fleet: &mut Fleet, member: Member, harm: Harm) -> Harmed {
    let fault = fleet.recorder.fault(&format!("{harm:?} {member}"));
    match harm {
        Harm::Kill => fleet.cluster.kill(member),
        Harm::Pause => fleet.cluster.pause(member),
        Harm::Terminate => {
            let status = fleet.cluster.terminate(member);
            assert!(status.success(), "{member}: {status}:\n{}", fleet.cluster.process(member).log());
        }
    }
    Harmed { member, harm, fault }
}

fn undo(fleet: &mut Fleet, harmed: Harmed) {
    match harmed.harm {
        Harm::Kill | Harm::Terminate => fleet.cluster.spawn(harmed.member),
        Harm::Pause => fleet.cluster.resume(harmed.member),
    }
    fleet.cluster.until_member_ready(harmed.member);
    harmed.fault.heal();
}

/// One bout of bad weather: one process, or two, the second while the first is still down.
fn bout(fleet: &mut Fleet, weather: &mut Weather) {
    let first = weather.victim();
    let second = weather.victim();
    let mut harmed = vec![inflict(fleet, first, weather.harm())];
    pass(weather.how_long());
    if second != first && weather.dice.below(3) == 0 {
        harmed.push(inflict(fleet, second, weather.harm()));
        pass(weather.how_long());
    }
    if weather.dice.below(2) == 0 {
        harmed.reverse();
    }
    for one in harmed {
        undo(fleet, one);
    }
    // Sometimes the next comes before everything has healed.
    if weather.dice.below(3) == 0 {
        pass(weather.how_long());
    } else {
        fleet.until_whole();
        fleet.progress("load between faults");
    }
}

fn survive(seed: u64, goes_on: impl Fn(u32) -> bool) {
    let mut fleet = Fleet::start(&format!("random faults, seed {seed}"), 6, 3, ClusterOptions::default());
    fleet.begin();
    let mut weather = Weather { dice: Dice::new(seed, 0) };
    let mut bouts = 0;
    while goes_on(bouts) {
        bout(&mut fleet, &mut weather);
        bouts += 1;
    }
    fleet.until_whole();
    fleet.judge();
}

#[test]
fn faults_by_chance_lose_and_double_nothing() {
    survive(SHORT_SEED, |bouts| bouts < SHORT_FAULTS);
}

/// `make soak MINUTES=…`; every history is one minute long, for memory's sake.
#[test]
fn soak_random_faults() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let Some(minutes) = variable("TIDELOG_SOAK_MINUTES") else { return };
    let first = variable("TIDELOG_SOAK_SEED").unwrap_or(SHORT_SEED);
    for seed in first..first + minutes {
        say(seed);
        let began = Instant::now();
        survive(seed, |_| began.elapsed() < Duration::from_mins(1));
    }
}

#[expect(clippy::print_stderr, reason = "a seed that fails is to be found again")]
fn say(seed: u64) {
    eprintln!("random faults, TIDELOG_SOAK_SEED={seed}");
}
