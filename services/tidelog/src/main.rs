//! The tidelog binary: server and command line.
fn main() {}
