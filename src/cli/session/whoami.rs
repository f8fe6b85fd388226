//! `attache whoami`: whose session is kept, and what it permits.

use std::process::ExitCode;

use clap::Args;

use super::file::SessionFile;
use super::{CommandError, on_file, run, until};

/// Show whose session is kept, and what it permits
#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 logged in, 1 not logged in, or not reachable, 2 wrong use.")]
pub(in crate::cli) struct WhoAmI {
    /// Unix socket of attache [default: where the session was opened]
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    #[command(flatten)]
    file: SessionFile,
}

impl WhoAmI {
    pub(in crate::cli) fn run(self) -> ExitCode {
        run(self.show())
    }

    #[expect(clippy::print_stdout, reason = "the answer of the command")]
    async fn show(self) -> Result<(), CommandError> {
        let (mut client, kept) = on_file(&self.file, self.address.as_deref()).await?;
        let session = client.who_am_i(&kept.handle).await;
        let session = session.map_err(CommandError::of_session)?;
        println!("person       {} (by {})", session.person, session.issuer);
        println!("role         {}", session.role);
        println!("session      {}", session.name);
        println!("until        {}", until(&session));
        let mut heading = "permissions";
        for permission in &session.permissions {
            println!("{heading:12} {permission}");
            heading = "";
        }
        Ok(())
    }
}
