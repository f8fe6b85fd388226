//! `attache login`, `attache logout`, `attache whoami`: a person's session from the terminal.
//!
//! The session's credential is kept in a file that nobody else may read, and printed only where that is asked for.

mod file;
mod login;
mod logout;
mod whoami;

use std::process::ExitCode;

use crate::clock::Timestamp;
use crate::grpc::{ClientError, SessionClient, SessionInfo};

use super::{BAD_CONFIG, complain, small_runtime};

pub(super) use file::{FileError, Kept, SessionFile};
pub(super) use login::Login;
pub(super) use logout::Logout;
pub(super) use whoami::WhoAmI;

/// Why a command about a session did not do its work.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// The server did not answer, or refused.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// The session on file is none any more.
    #[error("the session has ended; log in again with `attache login EMAIL`")]
    Ended,
    /// The file can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no password.
    #[error(transparent)]
    Password(#[from] super::secret::SecretError),
}

impl CommandError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Password(_) | Self::Server(ClientError::Address(_)) => BAD_CONFIG,
            Self::Server(_) | Self::Ended | Self::File(_) => 1,
        }
    }

    /// What the server says of a credential on file.
    fn of_session(error: ClientError) -> Self {
        match &error {
            ClientError::Refused { reason, .. } if reason == "SESSION_INVALID" => Self::Ended,
            _ => error.into(),
        }
    }
}

/// Runs a command to its end, and says what is wrong where something is.
fn run(work: impl Future<Output = Result<(), CommandError>>) -> ExitCode {
    let runtime = match small_runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// The session on file, and a connection to where it is.
async fn on_file(
    file: &SessionFile,
    address: Option<&str>,
) -> Result<(SessionClient, Kept), CommandError> {
    let kept = file.read()?;
    let client = SessionClient::connect(address.unwrap_or(&kept.address)).await?;
    Ok((client, kept))
}

fn until(session: &SessionInfo) -> Timestamp {
    Timestamp::from_unix_seconds(session.expires)
}
