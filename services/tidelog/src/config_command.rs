//! `tidelog config`: what the server would run with, and whether it would.

use clap::Subcommand;

use crate::exit::Code;
use crate::output::{self, Lean, Output, OutputArgs};
use crate::settings::{Role, SettingsArgs};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show every setting with its value and where that comes from.
    Print {
        #[command(flatten)]
        settings: SettingsArgs,
        /// What the configuration is for.
        #[arg(long = "for", value_enum, default_value_t)]
        role: Role,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Check the configuration, and say everything that is wrong with it.
    Check {
        #[command(flatten)]
        settings: SettingsArgs,
        /// What the configuration is for.
        #[arg(long = "for", value_enum, default_value_t)]
        role: Role,
    },
}

pub fn run(command: &Command) -> anyhow::Result<Code> {
    match command {
        Command::Print { settings, role, output } => print(settings, *role, output.output)?,
        Command::Check { settings, role } => {
            settings.load(*role)?;
            output::say("the configuration is valid");
        }
    }
    Ok(Code::Success)
}

fn print(settings: &SettingsArgs, role: Role, output: Output) -> anyhow::Result<()> {
    let (_, resolved) = settings.load(role)?;
    match output {
        Output::Table => {
            let columns = [("key", Lean::Text), ("value", Lean::Text), ("source", Lean::Text)];
            let cells = |row: &tidelog_runtime::config::Row| {
                vec![row.key.to_owned(), row.value.clone(), row.source.clone()]
            };
            output::print(&output::table(&columns, resolved.rows().iter().map(cells)))
        }
        Output::Json => {
            let rows = resolved
                .rows()
                .iter()
                .map(|row| serde_json::json!({ "key": row.key, "value": row.value, "source": row.source }));
            output::print_json(&rows.collect::<Vec<_>>())
        }
    }
}
