//! Compiles the .proto files in pure Rust: no protoc is needed.

use std::error::Error;

const FILES: [&str; 7] = [
    "tidelog/v1/frame.proto",
    "tidelog/v1/error.proto",
    "tidelog/v1/session.proto",
    "tidelog/v1/control.proto",
    "tidelog/v1/produce.proto",
    "tidelog/v1/subscribe.proto",
    "tidelog/v1/internal.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=tidelog");
    let descriptors = protox::compile(FILES, ["."])?;
    prost_build::Config::new().bytes(["."]).btree_map(["."]).compile_fds(descriptors)?;
    Ok(())
}
