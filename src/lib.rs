//! attache, a sidecar authorizer for service meshes.
//!
//! Envoy knocks at [`grpc`]; the knock becomes our words ([`identity`], [`operation`], [`permission`]); the question goes
//! to [`authority`], the only room that decides; it asks [`policy`] (the judge), tells [`audit`] (the witness), and
//! answers with a decision; [`grpc`] turns the answer back into Envoy's words. [`socket`] lets connections in, [`tls`] keeps our
//! own certificate. [`app`] builds the house in the morning and closes it at night.

pub mod app;
pub mod audit;
pub mod authority;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delegation;
pub mod grpc;
pub mod http;
pub mod humans;
pub mod identity;
pub mod keys;
pub mod lifecycle;
pub mod operation;
pub mod pattern;
pub mod permission;
pub mod policy;
pub mod socket;
pub mod state;
pub mod telemetry;
pub mod tls;

mod text;
