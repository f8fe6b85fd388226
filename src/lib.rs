//! attache, a sidecar authorizer for service meshes.

pub mod audit;
pub mod clock;
pub mod identity;
pub mod pattern;
pub mod permission;
pub mod policy;
