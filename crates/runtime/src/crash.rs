//! Crash points: places where a test may kill the process, as if the power had gone.
//!
//! A step that must survive a crash is followed by [`crash_point!`](crate::crash_point). With the
//! feature `failpoints`, `FAILPOINTS="store::after-upload=return(kill)"` in the environment makes the
//! process send itself SIGKILL there; `3*off->return(kill)` lets three passes go by first. Without the
//! feature the macro expands to nothing that runs.

/// Kills this process with SIGKILL if the failpoint of this name says `return(kill)`.
#[macro_export]
macro_rules! crash_point {
    ($name:expr) => {
        $crate::crash::hit($name)
    };
}

/// What [`crash_point!`](crate::crash_point) calls.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
#[allow(clippy::inline_always)] // It is empty: nothing of it may remain on a hot path.
pub fn hit(_name: &'static str) {}

/// What [`crash_point!`](crate::crash_point) calls.
#[cfg(feature = "failpoints")]
pub fn hit(name: &'static str) {
    if fail::eval(name, |argument| argument.as_deref() == Some("kill")) == Some(true) {
        tracing::warn!(name, "killed at a crash point");
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // SIGKILL may reach another thread first; this one must not go one step further.
        loop {
            std::thread::park();
        }
    }
}

/// What the failpoint of this name returns, if it says `return(…)`; nothing without the feature.
#[cfg(not(feature = "failpoints"))]
pub fn told(_name: &'static str) -> Option<String> {
    None
}

/// What the failpoint of this name returns, if it says `return(…)`; nothing without the feature.
#[cfg(feature = "failpoints")]
pub fn told(name: &'static str) -> Option<String> {
    fail::eval(name, Option::unwrap_or_default)
}

/// Reads `FAILPOINTS` from the environment, for the life of the process; call it once, in `main`.
pub fn arm_from_environment() {
    #[cfg(feature = "failpoints")]
    std::mem::forget(fail::FailScenario::setup());
}
