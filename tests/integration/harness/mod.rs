//! What the tests stand on: a running process, the proxy that asks it, and the eyes to look at its records.

pub(crate) mod answer;
pub(crate) mod binary;
pub(crate) mod decisions;
pub(crate) mod house;
pub(crate) mod mesh;
pub(crate) mod message;
pub(crate) mod opa;
pub(crate) mod pki;
pub(crate) mod wire;
pub(crate) mod workload;

pub(crate) use answer::Answer;
pub(crate) use house::{House, Plan, RULES};
pub(crate) use message::{ask, principal};

/// A caller with permissions for most of the operations in [`house::RULES`].
pub(crate) const REPORTING: &str = "spiffe://example.org/svc/reporting";
/// The service that requests are for.
pub(crate) const DOCUMENTS: &str = "spiffe://example.org/svc/documents";
