//! What Tidelog must show end to end, one claim a test. Everything runs against real processes.

mod bad_input;
mod cluster;
mod damage;
mod hostile;
mod kill;
mod network;
mod offload_crash;
mod recorded;
mod refusals;
mod roles;
mod roundtrip;
mod s3_faults;
mod seam;
mod soak;
mod stalled;
mod workload;
