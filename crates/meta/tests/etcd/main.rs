//! The metadata store on a real etcd: the conformance suite, faults, access, and what goes wrong with it.
//!
//! `etcd` comes from `TIDELOG_TOOLS` or the `PATH`; without it, the tests fail and say how to get it.

mod access;
mod faults;
mod identity;
mod suite;
mod support;
mod watches;
