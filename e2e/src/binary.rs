//! Where the `tidelog` binary is.

use std::path::PathBuf;

/// The binary of the same build as the running test.
///
/// # Panics
/// When it was not built: cargo builds a binary only for the tests of its own package, so the
/// Makefile builds it beforehand.
pub fn tidelog_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TIDELOG_BINARY") {
        return path.into();
    }
    // target/<profile>/deps/scenarios-<hash>
    let test = std::env::current_exe().expect("a running test has a path");
    let binary = test.ancestors().nth(2).expect("tests run from target/<profile>/deps").join("tidelog");
    assert!(
        binary.is_file(),
        "{} is missing: build it first (`make e2e` does), or name one in TIDELOG_BINARY",
        binary.display()
    );
    binary
}
