//! Roles: what a person who has one may do. The table says what a role is now; a session knows its role by name only.
//!
//! A role that the table does not name permits nothing, and so does one without permissions.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::held::Held;
use super::id::RoleName;
use crate::permission::{Permission, PermissionSet, Warning, shadowed};

/// The section `roles` of the configuration: permissions by the name of the role, as `editor: ["documents/**:read"]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct RoleConfig(pub BTreeMap<RoleName, Vec<Permission>>);

/// What each role permits. Built by [`RoleConfig::build`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleTable(BTreeMap<RoleName, PermissionSet>);

// === impl RoleConfig ===

impl RoleConfig {
    /// The table, ready to be asked.
    pub fn build(self) -> RoleTable {
        let roles = self.0.into_iter();
        let built = roles.map(|(name, written)| (name, written.into_iter().collect()));
        RoleTable(built.collect())
    }

    /// The permissions that can never take effect, each with the role they stand in.
    pub fn warnings(&self) -> Vec<(RoleName, Warning)> {
        let of_role = |(name, written): (&RoleName, &Vec<Permission>)| {
            let name = name.clone();
            let warnings = shadowed(written).into_iter();
            warnings.map(move |warning| (name.clone(), warning))
        };
        self.0.iter().flat_map(of_role).collect()
    }
}

// === impl RoleTable ===

impl RoleTable {
    /// What the role permits at this moment; `None` where there is no such role.
    pub fn permissions(&self, role: &RoleName) -> Option<&PermissionSet> {
        self.0.get(role)
    }

    /// What a person holds by their role; `None` where there is no such role.
    pub fn held(&self, role: &RoleName) -> Option<Held> {
        self.permissions(role).map(Held::by_role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permission::Tier;

    fn read(yaml: &str) -> Result<RoleConfig, serde_saphyr::Error> {
        serde_saphyr::from_str(yaml)
    }

    #[test]
    fn a_role_permits_what_stands_in_it_and_nothing_else() {
        let config =
            read(r#"{editor: ["documents/**:read", "documents/**:delete@supervised"], idle: []}"#);
        let table = config.unwrap().build();
        let tier = |role: &str, action: &str| {
            let permissions = table.permissions(&role.parse().unwrap())?;
            let resource = "documents/1".parse().unwrap();
            Some(permissions.effective(&resource, &action.parse().unwrap()))
        };
        assert_eq!(tier("editor", "read"), Some(Tier::Free));
        assert_eq!(tier("editor", "delete"), Some(Tier::Supervised));
        assert_eq!(tier("editor", "update"), Some(Tier::Absent));
        assert_eq!(tier("idle", "read"), Some(Tier::Absent));
        assert_eq!(tier("Editor", "read"), None);
        assert!(
            RoleTable::default()
                .held(&"editor".parse().unwrap())
                .is_none()
        );
    }

    #[test]
    fn permissions_without_effect_are_pointed_out_with_their_role() {
        let config = read(r#"{a: ["x:read"], b: ["x:read", "**:*@forbidden"]}"#).unwrap();
        let warnings = config.warnings();
        let [(role, warning)] = &warnings[..] else {
            panic!("{warnings:?}");
        };
        assert_eq!(role.as_str(), "b");
        assert_eq!(
            warning.to_string(),
            "`x:read` never takes effect: `**:*@forbidden` covers it and is stricter"
        );
    }

    #[test]
    fn a_role_of_an_odd_name_or_written_twice_is_refused() {
        for odd in [
            r#"{"a b": []}"#,
            r#"{"": []}"#,
            r#"{"*": []}"#,
            "{a: [], a: []}",
            "{a: ~}",
            r#"{a: ["x"]}"#,
        ] {
            assert!(read(odd).is_err(), "{odd}");
        }
    }
}
