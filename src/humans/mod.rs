//! People, and how they show who they are: for development, users with a password who stand in the configuration.
//!
//! Says who somebody is, never what they may do beyond the name of their role. Refuses without saying why: a wrong password
//! and an unknown address look the same and cost the same. A password is in memory for as long as it is looked at; it is
//! shown by no `Debug`, and no record and no log line takes one.

mod config;
mod email;
mod limit;
mod login;
mod password;

pub use config::{Config, LocalUser, People};
pub use email::{Email, EmailError};
pub use login::{LoginError, LoginLimits, Logins};
pub use password::{HashError, Password, PasswordHash};
