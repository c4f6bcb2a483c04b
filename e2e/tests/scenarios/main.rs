//! What Tidelog must show end to end, one claim a test. Everything runs against real processes.

mod bad_input;
mod damage;
mod hostile;
mod kill;
mod offload_crash;
mod refusals;
mod roundtrip;
mod seam;
mod soak;
mod workload;
