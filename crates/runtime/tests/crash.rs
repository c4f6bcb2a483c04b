//! A crash point kills the process that reaches it, so each test is its own child.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};

use tidelog_runtime::crash_point;

const PASSES: &str = "TIDELOG_CRASH_TEST_PASSES";

/// Runs this very test again, as a process that passes the crash point a few times.
fn child(passes: u32, failpoints: &str) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_crash_point_kills_when_and_only_when_it_is_told_to"])
        .env(PASSES, passes.to_string())
        .env("FAILPOINTS", failpoints)
        .status()
        .unwrap()
}

#[test]
fn a_crash_point_kills_when_and_only_when_it_is_told_to() {
    if let Ok(passes) = std::env::var(PASSES) {
        tidelog_runtime::crash::arm_from_environment();
        for _ in 0..passes.parse::<u32>().unwrap() {
            crash_point!("test::step");
        }
        return;
    }
    assert_eq!(child(1, "test::step=return(kill)").signal(), Some(9));
    assert_eq!(child(3, "test::step=2*off->return(kill)").signal(), Some(9));
    assert!(child(2, "test::step=2*off->return(kill)").success());
    assert!(child(3, "test::other-step=return(kill)").success());
    assert!(child(3, "test::step=return(other)").success());
}
