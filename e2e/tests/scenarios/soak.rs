//! The same, for long: `make soak` says how many rounds. A quick pass without it.

use tidelog_e2e::{ServerOptions, Workspace};

use crate::kill::survive_kills;
use crate::seam::move_the_seam;

pub(crate) fn rounds() -> Option<u64> {
    std::env::var("TIDELOG_SOAK_ROUNDS").ok().and_then(|text| text.parse().ok())
}

#[test]
fn soak_kills() {
    if let Some(rounds) = rounds() {
        survive_kills(rounds);
    }
}

#[test]
fn soak_seam() {
    if let Some(rounds) = rounds() {
        move_the_seam(&Workspace::new(), ServerOptions::default(), rounds);
    }
}
