//! attache, a sidecar authorizer for service meshes.

pub mod clock;
pub mod identity;
pub mod operation;
pub mod pattern;
pub mod permission;
pub mod policy;

mod text;
