//! `attache login`: opens a session and keeps it.

use std::process::ExitCode;

use clap::Args;
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::grpc::SessionClient;
use crate::humans::Email;

use super::file::SessionFile;
use super::{CommandError, run, until};
use crate::cli::secret;

/// Log in as a person and keep the session
#[derive(Debug, Args)]
#[command(after_help = "\
The password is asked for at the terminal, or is the first line of standard input; never an argument. \
With `attache serve --dev`: attache login alice@example.com --address unix:/tmp/attache-dev.sock

Exit code: 0 logged in, 1 refused, not reachable, or the session can't be kept, 2 wrong use.")]
pub(in crate::cli) struct Login {
    /// Your address, as alice@example.com
    #[arg(value_name = "EMAIL")]
    email: Email,
    /// Unix socket of attache, one of `listen.ext_authz`
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "ATTACHE_ADDRESS",
        default_value = "unix:/run/attache/ext_authz.sock"
    )]
    address: String,
    /// Print the session's token, for programs; whoever has it is you
    #[arg(long)]
    print_token: bool,
    #[command(flatten)]
    file: SessionFile,
}

impl Login {
    pub(in crate::cli) fn run(self) -> ExitCode {
        run(self.log_in())
    }

    #[expect(clippy::print_stdout, reason = "the answer of the command")]
    async fn log_in(self) -> Result<(), CommandError> {
        // Before the password: nobody should type it for nothing.
        let mut client = SessionClient::connect(&self.address).await?;
        let password = secret::password("Password: ")?;
        let mut rng: StdRng = rand::make_rng();
        let request_id = format!("{:032x}", rng.random::<u128>());
        let opened = client.log_in(&self.email, &password, request_id).await;
        let (session, handle) = opened?;
        let path = match self.file.write(&self.address, &handle) {
            Ok(path) => path,
            Err(error) => {
                // Nobody could ever use it: not even its owner.
                let _ended = client.log_out(&handle).await;
                return Err(error.into());
            }
        };
        if self.print_token {
            println!("{}", handle.reveal());
            return Ok(());
        }
        let (person, role) = (&session.person, &session.role);
        println!(
            "logged in as {person} (role {role}) until {}",
            until(&session)
        );
        println!("session kept in {}", path.display());
        Ok(())
    }
}
