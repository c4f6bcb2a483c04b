//! The controller against a real metadata store, stores that are played, and time that is played too.

mod admin;
mod balance;
mod death;
mod election;
mod harness;
mod operator;
mod trouble;
