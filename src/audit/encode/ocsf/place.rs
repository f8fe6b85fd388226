//! Which class and activity of OCSF each kind of event is, and what stands in such an event.

use super::super::super::record::EventType;

/// Where a kind of event belongs.
pub(super) struct Place {
    pub(super) class: Class,
    pub(super) activity: Activity,
    pub(super) about: About,
}

/// A class of the schema.
pub(super) struct Class {
    pub(super) uid: u64,
    pub(super) name: &'static str,
    pub(super) category_uid: u64,
    pub(super) category_name: &'static str,
}

pub(super) enum Activity {
    /// Number and caption.
    Known(u64, &'static str),
    /// The one that the action of the operation is.
    OfAction,
}

/// What an event is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    Operation,
    /// Somebody who comes or goes.
    Person,
    /// Somebody whom authority is handed to.
    Holder,
    Token,
    Task,
    Key,
    Configuration,
    Policy,
    /// The policy engine.
    Engine,
    /// The trail itself.
    Trail,
}

/// The place of `event_type`. A new kind does not compile until it has one.
pub(super) const fn of(event_type: EventType) -> Place {
    use Activity::{Known, OfAction};
    let (class, activity, about) = match event_type {
        EventType::PermissionCheck | EventType::PermissionDenied => {
            (API_ACTIVITY, OfAction, About::Operation)
        }
        EventType::HumanLogin | EventType::HumanLoginFailed => {
            (AUTHENTICATION, Known(1, "Logon"), About::Person)
        }
        EventType::HumanLogout | EventType::SessionExpired => {
            (AUTHENTICATION, Known(2, "Logoff"), About::Person)
        }
        // Somebody did not get in, without a login.
        EventType::TokenRejected => (AUTHENTICATION, Known(99, "Token"), About::Person),
        EventType::AgentDelegated
        | EventType::AgentSubdelegated
        | EventType::DelegationRejected => (
            AUTHORIZE_SESSION,
            Known(1, "Assign Privileges"),
            About::Holder,
        ),
        EventType::TokenIssued => (ENTITY_MANAGEMENT, Known(1, "Create"), About::Token),
        EventType::TokenRenewed => (ENTITY_MANAGEMENT, Known(3, "Update"), About::Token),
        EventType::TokenRevoked => (ENTITY_MANAGEMENT, Known(9, "Disable"), About::Token),
        EventType::TaskCreated => (ENTITY_MANAGEMENT, Known(1, "Create"), About::Task),
        EventType::TaskCompleted => (ENTITY_MANAGEMENT, Known(11, "Deactivate"), About::Task),
        EventType::TaskRevoked => (ENTITY_MANAGEMENT, Known(9, "Disable"), About::Task),
        EventType::KeyRotated => (ENTITY_MANAGEMENT, Known(3, "Update"), About::Key),
        EventType::ConfigChanged | EventType::ConfigRejected => {
            (ENTITY_MANAGEMENT, Known(3, "Update"), About::Configuration)
        }
        EventType::PolicyLoaded | EventType::PolicyFailed => {
            (ENTITY_MANAGEMENT, Known(3, "Update"), About::Policy)
        }
        EventType::CircuitOpened => (LIFECYCLE, Known(7, "Disable"), About::Engine),
        EventType::CircuitHalfOpened => (LIFECYCLE, Known(99, "Try"), About::Engine),
        EventType::CircuitClosed => (LIFECYCLE, Known(6, "Enable"), About::Engine),
        EventType::AuditQueried => (API_ACTIVITY, OfAction, About::Operation),
        EventType::AuditStarted => (EVENT_LOG, Known(6, "Start"), About::Trail),
        EventType::AuditStopped => (EVENT_LOG, Known(7, "Stop"), About::Trail),
        EventType::AuditCheckpoint => (EVENT_LOG, Known(99, "Checkpoint"), About::Trail),
        EventType::AuditGap => (EVENT_LOG, Known(99, "Gap"), About::Trail),
    };
    Place {
        class,
        activity,
        about,
    }
}

impl Activity {
    /// Its number and caption. Actions other than the four of the schema are named as they are; none is guessed.
    pub(super) fn with(self, action: Option<&str>) -> (u64, &str) {
        match (self, action) {
            (Self::Known(id, caption), _) => (id, caption),
            (Self::OfAction, None) => (0, "Unknown"),
            (Self::OfAction, Some("create")) => (1, "Create"),
            (Self::OfAction, Some("read")) => (2, "Read"),
            (Self::OfAction, Some("update")) => (3, "Update"),
            (Self::OfAction, Some("delete")) => (4, "Delete"),
            (Self::OfAction, Some(other)) => (99, other),
        }
    }
}

const EVENT_LOG: Class = Class {
    uid: 1008,
    name: "Event Log Activity",
    category_uid: 1,
    category_name: "System Activity",
};
const AUTHENTICATION: Class = iam(3002, "Authentication");
const AUTHORIZE_SESSION: Class = iam(3003, "Authorize Session");
const ENTITY_MANAGEMENT: Class = iam(3004, "Entity Management");
const LIFECYCLE: Class = application(6002, "Application Lifecycle");
const API_ACTIVITY: Class = application(6003, "API Activity");

const fn iam(uid: u64, name: &'static str) -> Class {
    Class {
        uid,
        name,
        category_uid: 3,
        category_name: "Identity & Access Management",
    }
}

const fn application(uid: u64, name: &'static str) -> Class {
    Class {
        uid,
        name,
        category_uid: 6,
        category_name: "Application Activity",
    }
}
