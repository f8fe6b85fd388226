//! `attache logout`: ends the session that is kept, with everything that rests on it, and forgets it.

use std::process::ExitCode;

use clap::Args;

use super::file::SessionFile;
use super::{CommandError, on_file, run};

/// End the session that is kept, with everything delegated under it
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code: 0 ended, now or before, 1 not logged in, or it could not be ended: then it is kept, 2 wrong use.")]
pub(in crate::cli) struct Logout {
    /// Unix socket of attache [default: where the session was opened]
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    #[command(flatten)]
    file: SessionFile,
}

impl Logout {
    pub(in crate::cli) fn run(self) -> ExitCode {
        run(self.log_out())
    }

    #[expect(clippy::print_stdout, reason = "the answer of the command")]
    async fn log_out(self) -> Result<(), CommandError> {
        let (mut client, kept) = on_file(&self.file, self.address.as_deref()).await?;
        let ended = client.log_out(&kept.handle).await;
        let tokens = match ended.map_err(CommandError::of_session) {
            // Of a server that forgot it: there is nothing left to end.
            Err(CommandError::Ended) => 0,
            ended => ended?,
        };
        self.file.remove()?;
        println!("logged out; {tokens} token(s) revoked");
        Ok(())
    }
}
