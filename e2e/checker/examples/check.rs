//! Judges a history file: `cargo run -p tidelog-checker --example check FILE`.

#![expect(clippy::print_stdout, reason = "a command says what it found")]
#![expect(clippy::disallowed_methods, reason = "the command line is the outside")]

use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

use tidelog_checker::{check, read};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("the name of a history file, please")?;
    let history = read(BufReader::new(File::open(&path)?))?;
    let report = check(&history);
    println!("{report}");
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
