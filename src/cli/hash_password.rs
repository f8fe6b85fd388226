//! `attache hash-password`: makes what stands in `humans.local[].password_hash`.

use std::process::ExitCode;

use clap::Args;
use rand::rngs::StdRng;

use crate::humans::PasswordHash;

use super::{BAD_CONFIG, complain, secret};

/// Make the hash of a password for `humans.local`
#[derive(Debug, Args)]
#[command(after_help = "\
The password is asked for at the terminal, or is the first line of standard input; never an argument. \
The argon2id hash is printed as a PHC string.

Exit code: 0 made, 1 there is no memory for it, 2 no password, or one of fewer than 8 or more than 1024 bytes.")]
pub(super) struct HashPassword {}

impl HashPassword {
    #[expect(clippy::print_stdout, reason = "the answer of the command")]
    pub(super) fn run(self) -> ExitCode {
        let Self {} = self;
        let password = match secret::new_password() {
            Ok(password) => password,
            Err(error) => {
                complain(&error);
                return ExitCode::from(BAD_CONFIG);
            }
        };
        let mut rng: StdRng = rand::make_rng();
        match PasswordHash::make(&password, &mut rng) {
            Ok(hash) => {
                println!("{}", hash.to_phc());
                ExitCode::SUCCESS
            }
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }
}
