//! `attache delegate`, `attache token`, `attache tasks`, `attache revoke`: authority from the terminal, as a person with the session that is
//! kept, or as an agent with its certificate.
//!
//! Nothing is decided here. A token goes into a file that nobody else may read, or is printed where that is asked for.

mod delegate;
mod door;
mod revoke;
mod tasks;
mod token;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::clock::Timestamp;
use crate::delegation::token::Token as Text;
use crate::grpc::{ClientError, MandateRef};
use crate::text::harmless;

use super::dial::DialError;
use super::session::FileError;
use super::{BAD_CONFIG, complain, private_file, small_runtime};

pub(super) use delegate::Delegate;
pub(super) use revoke::Revoke;
pub(super) use tasks::Tasks;
pub(super) use token::Token;

/// Why a command about mandates did not do its work.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// The server did not answer, or refused for a reason that says enough.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// The server refused, and there is something to do about it.
    #[error("{message}; {advice}")]
    Refused {
        message: String,
        advice: &'static str,
    },
    /// There is no session to use.
    #[error(transparent)]
    Session(#[from] FileError),
    /// The server can't be dialled.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// A flag says what can't be.
    #[error("{0}")]
    Flag(&'static str),
    /// A token's file can't be used.
    #[error("cannot use {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl CommandError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Dial(_) | Self::Flag(_) | Self::Server(ClientError::Address(_)) => BAD_CONFIG,
            Self::Server(_) | Self::Refused { .. } | Self::Session(_) | Self::File { .. } => 1,
        }
    }

    /// An answer that is none, with what to do next where that can be told from the reason.
    fn of_server(error: ClientError) -> Self {
        let told = match &error {
            ClientError::Refused { reason, message } => {
                advice(reason).map(|advice| (message.clone(), advice))
            }
            _ => None,
        };
        match told {
            Some((message, advice)) => Self::Refused { message, advice },
            None => Self::Server(error),
        }
    }
}

/// What to do about a refusal.
fn advice(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "SESSION_INVALID" => "log in with `attache login EMAIL`",
        "CALLER_UNTRUSTED" => "use a certificate that is valid now, of a trust domain known there",
        "NOT_FOUND" => "check the name, and that you are the one who holds it",
        "PARENT_INACTIVE" | "TOKEN_REVOKED" => {
            "it has ended with a task or session above it; ask for a new delegation"
        }
        "TOKEN_EXPIRED" => "have a fresh one issued with `attache token --grant ID`",
        "SCOPE_EMPTY" => "see what you hold with `attache whoami`, and what is left with --dry-run",
        "SCOPE_EXCEEDED" => "leave --exact out to hand on what is held",
        "DELEGATION_NOT_ALLOWED" => {
            "look at delegation.agents in the configuration of that attache"
        }
        "AUDIENCE_NOT_ALLOWED" => "name a service that the parent is for",
        "TASK_UNAVAILABLE" => "choose a name that was not used before",
        "AGENT_ID_TAKEN" => "choose another name for the agent with --as",
        _ => return None,
    })
}

/// Runs a command to its end, and says what is wrong where something is.
fn run(work: impl Future<Output = Result<ExitCode, CommandError>>) -> ExitCode {
    let runtime = match small_runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    match runtime.block_on(work) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// What a grant's id or a token's file stands for; `None` where neither is given.
fn mandate(
    grant: Option<&str>,
    token_file: Option<&Path>,
) -> Result<Option<MandateRef>, CommandError> {
    match (grant, token_file) {
        (Some(grant), _) => Ok(Some(MandateRef::Grant(grant.to_owned()))),
        (None, Some(path)) => Ok(Some(MandateRef::Token(read_token(path)?))),
        (None, None) => Ok(None),
    }
}

fn read_token(path: &Path) -> Result<Text, CommandError> {
    let unusable = |source| CommandError::File {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unusable)?;
    file.take(MOST_OF_A_TOKEN)
        .read_to_string(&mut text)
        .map_err(unusable)?;
    Ok(Text::new(text.trim().to_owned()))
}

fn write_token(path: &Path, token: &Text) -> Result<(), CommandError> {
    let written = private_file::replace(path, token.expose().as_bytes());
    written.map_err(|source| CommandError::File {
        path: path.to_owned(),
        source,
    })
}

/// Prints a line for people; what somebody else wrote in it moves no cursor.
#[expect(clippy::print_stdout, reason = "the answer of the command")]
fn show(line: &str) {
    println!("{}", harmless(line));
}

/// When something ends, to the second.
fn until(expires: u64) -> Timestamp {
    Timestamp::from_unix_seconds(expires)
}

/// More than any token has.
const MOST_OF_A_TOKEN: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_written_for_its_owner_alone_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        write_token(&path, &Text::new("a.b.c".to_owned())).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(read_token(&path).unwrap().expose(), "a.b.c");
        assert!(read_token(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_refusal_says_what_to_do_next() {
        let refused = ClientError::Refused {
            reason: "SESSION_INVALID".to_owned(),
            message: "the session is none".to_owned(),
        };
        let error = CommandError::of_server(refused);
        assert_eq!(
            error.to_string(),
            "the session is none; log in with `attache login EMAIL`"
        );
        assert_eq!(error.exit_code(), 1);
    }
}
