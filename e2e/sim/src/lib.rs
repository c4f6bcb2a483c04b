//! A seeded simulator: the real replication state machine (`tidelog-replica`) and the real decisions of
//! the controller (`tidelog-controller`) in a world that does its worst, on one thread, in virtual time; an
//! observer that sees everything judges the promises of `docs/architecture.md` after every step.
//!
//! A seed names a run for ever: the size of the world, its weather and clocks, and a plan of faults. A run
//! that breaks a promise is repeated with fewer faults for as long as it still breaks the same one.
//! `docs/simulator.md` says how to use it.

mod agenda;
mod bucket;
mod bugs;
mod checks;
mod disk;
mod log;
mod message;
mod metadata;
mod net;
mod plan;
mod rng;
mod run;
mod setup;
mod shrink;
mod world;

pub use agenda::Micros;
pub use bugs::{BUGS, Bug};
pub use checks::{Invariant, Violation};
pub use net::{Site, Weather};
pub use plan::{Fault, Kind};
pub use run::{Outcome, run};
pub use setup::{PartitionSetup, STEPS, Setup};
pub use shrink::shrink;
