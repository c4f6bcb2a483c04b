//! One run, from a setup to an outcome. A failed assertion of the machine is an outcome, too.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::agenda::Micros;
use crate::checks::{Invariant, Violation};
use crate::setup::Setup;
use crate::world::World;

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub violation: Option<Violation>,
    pub steps: u64,
    pub virtual_time: Micros,
    pub appended: u64,
    pub acknowledged: u64,
    pub elections: u64,
    /// Everything that happened, when that was asked for.
    pub trace: String,
}

/// Runs a setup to its end, or to the first promise that is broken.
pub fn run(setup: &Setup, traced: bool) -> Outcome {
    let trace = traced.then(|| Rc::new(RefCell::new(String::new())));
    let world = World::new(setup.clone(), trace.clone());
    let mut outcome = match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(outcome) => outcome,
        Err(panic) => {
            let said = panic.downcast_ref::<String>().cloned();
            let said = said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            let violation = Violation {
                at: 0,
                invariant: Invariant::Asserted,
                what: said.unwrap_or_else(|| "a panic that says nothing".to_owned()),
            };
            Outcome { violation: Some(violation), ..Outcome::default() }
        }
    };
    outcome.trace = trace.map(|trace| trace.take()).unwrap_or_default();
    outcome
}
