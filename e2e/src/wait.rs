//! Waiting for a condition, with a deadline. The only place of the harness where time passes.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

const POLL_EVERY: Duration = Duration::from_millis(10);

/// Polls until `condition` gives something.
///
/// # Panics
/// When it has not within the time, with `what` in the message.
#[track_caller]
pub fn until<T>(within: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        pause();
    }
}

/// The child's exit status, or `None` when it still runs after `within`.
pub fn wait_exit(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        pause();
    }
}

/// Lets time pass: as long as a fault is to last, where that is what is tried. Not to wait for anything.
pub fn pass(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "a fault lasts for a while")]
    std::thread::sleep(time);
}

fn pause() {
    #[expect(clippy::disallowed_methods, reason = "the interval of a poll that has a deadline")]
    std::thread::sleep(POLL_EVERY);
}
