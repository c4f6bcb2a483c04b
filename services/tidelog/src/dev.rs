//! `tidelog dev`: everything in one process.

mod banner;
mod server;

use crate::exit::Code;
use crate::roles;
use crate::settings::{Role, SettingsArgs};
use server::Server;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub async fn run(args: Args) -> anyhow::Result<Code> {
    let (settings, _) = args.settings.load(Role::Dev)?;
    roles::run::<Server>(settings).await
}
