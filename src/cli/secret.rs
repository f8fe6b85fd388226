//! Reading a password: from the terminal without showing it, else as the first line of standard input. Never from an
//! argument or the environment, where others on the host could see it.

use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::humans::{HashError, Password};

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    /// Nothing can be read.
    #[error(
        "cannot read a password; type it at a terminal, or send it as the first line of standard input"
    )]
    Read(#[source] io::Error),
    /// Too short or too long.
    #[error("no usable password")]
    Length(#[source] HashError),
    /// The second one is another one.
    #[error("the two passwords differ; try again")]
    Differs,
}

/// A password, after `prompt` where a person types it.
pub(super) fn password(prompt: &str) -> Result<Password, SecretError> {
    let typed = if io::stdin().is_terminal() {
        unseen(prompt)
    } else {
        line(io::stdin().lock())
    };
    let typed = typed.map_err(SecretError::Read)?;
    Password::new(typed).map_err(SecretError::Length)
}

/// A password that a person types twice, so that a slip of the finger is not kept; from standard input once.
pub(super) fn new_password() -> Result<Password, SecretError> {
    let first = password("Password: ")?;
    if !io::stdin().is_terminal() || first.is_same_as(&password("Again: ")?) {
        return Ok(first);
    }
    Err(SecretError::Differs)
}

/// What is typed at the terminal, which shows nothing of it.
fn unseen(prompt: &str) -> io::Result<Vec<u8>> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    terminal.write_all(prompt.as_bytes())?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let _seen_again = Restore(&terminal, before);
    line(&terminal)
}

/// Gives the terminal its echo back, however reading ended.
struct Restore<'a>(&'a std::fs::File, Termios);

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that went away.
        let _gone = tcsetattr(self.0, OptionalActions::Flush, &self.1);
    }
}

/// The first line, without its end.
fn line(from: impl Read) -> io::Result<Vec<u8>> {
    let mut typed = Vec::new();
    BufReader::new(from.take(MOST)).read_until(b'\n', &mut typed)?;
    if typed.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if typed.last() == Some(&b'\n') {
        typed.pop();
    }
    if typed.last() == Some(&b'\r') {
        typed.pop();
    }
    Ok(typed)
}

/// More than any password has.
const MOST: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password_whatever_follows_and_however_it_ends() {
        for text in [
            "correct horse",
            "correct horse\n",
            "correct horse\r\n",
            "correct horse\nmore",
        ] {
            assert_eq!(line(text.as_bytes()).unwrap(), b"correct horse", "{text:?}");
        }
        assert!(line("".as_bytes()).is_err());
    }
}
