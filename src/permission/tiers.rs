//! How freely an operation may be done by anybody: the tier table of this deployment.
//!
//! The table grants nothing. It only sets the least tier of what somebody is permitted, and the answer for an operation
//! that no rule names is the table's default, FORBIDDEN unless configured.

use serde::Deserialize;

use super::name::{Action, Resource};
use super::scope::{ActionPattern, Scope};
use super::set::Permission;
use super::tier::Tier;
use super::warning::{Warning, shadowed};
use crate::pattern::Pattern;

/// The section `tiers` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TierTable {
    /// The tier of an operation that no rule matches.
    pub default: Tier,
    /// In any order: where several match, the strictest applies.
    pub rules: Vec<TierRule>,
}

/// One rule, written `{resource: "documents/**", action: delete, tier: supervised}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WrittenRule")]
pub struct TierRule {
    /// Which operations.
    pub scope: Scope,
    /// How freely they may be done, at most.
    pub tier: Tier,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    resource: Pattern,
    action: ActionPattern,
    tier: Tier,
}

impl TierTable {
    /// The tier of doing `action` to `resource`: the strictest of all rules that match, the default if none does.
    ///
    /// Allocates nothing.
    pub fn tier_of(&self, resource: &Resource, action: &Action) -> Tier {
        let matching = self
            .rules
            .iter()
            .filter(|rule| rule.scope.matches(resource, action));
        matching.map(|rule| rule.tier).max().unwrap_or(self.default)
    }

    /// The rules that can never take effect.
    pub fn warnings(&self) -> Vec<Warning> {
        let as_permissions = self
            .rules
            .iter()
            .map(|rule| Permission::new(rule.scope.clone(), rule.tier));
        shadowed(&as_permissions.collect::<Vec<_>>())
    }
}

impl Default for TierTable {
    /// No rules: everything is FORBIDDEN.
    fn default() -> Self {
        Self {
            default: Tier::Forbidden,
            rules: Vec::new(),
        }
    }
}

impl From<WrittenRule> for TierRule {
    fn from(written: WrittenRule) -> Self {
        let WrittenRule {
            resource,
            action,
            tier,
        } = written;
        let scope = Scope { resource, action };
        Self { scope, tier }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"
default: forbidden
rules:
  - {resource: "**", action: read, tier: free}
  - {resource: "documents/**", action: update, tier: direct}
  - {resource: "documents/**", action: delete, tier: gateway}
  - {resource: "billing/**", action: "*", tier: exclude}
"#;

    fn table(yaml: &str) -> TierTable {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn tier(table: &TierTable, resource: &str, action: &str) -> Tier {
        table.tier_of(&resource.parse().unwrap(), &action.parse().unwrap())
    }

    #[test]
    fn the_strictest_matching_rule_applies_whatever_its_place() {
        let mut table = table(EXAMPLE);
        for _ in 0..table.rules.len() {
            table.rules.rotate_left(1);
            assert_eq!(tier(&table, "documents/42", "read"), Tier::Free);
            assert_eq!(tier(&table, "documents", "update"), Tier::Free);
            assert_eq!(tier(&table, "documents/42", "delete"), Tier::Supervised);
            assert_eq!(tier(&table, "billing/7", "read"), Tier::Forbidden);
        }
    }

    #[test]
    fn the_default_applies_only_where_no_rule_matches() {
        let mut table = table(EXAMPLE);
        assert_eq!(tier(&table, "documents/42", "publish"), Tier::Forbidden);
        table.default = Tier::Supervised;
        assert_eq!(tier(&table, "documents/42", "publish"), Tier::Supervised);
        assert_eq!(tier(&table, "documents/42", "read"), Tier::Free);
    }

    #[test]
    fn without_configuration_everything_is_forbidden() {
        assert_eq!(table("{}"), TierTable::default());
        let read = tier(&TierTable::default(), "documents", "read");
        assert_eq!(read, Tier::Forbidden);
    }

    #[test]
    fn mistakes_are_refused_with_their_cause() {
        for (yaml, cause) in [
            ("{default: absent}", "`absent` is not a tier"),
            ("{defualt: free}", "defualt"),
            ("{rules: [{resource: a, action: read, teir: free}]}", "teir"),
            ("{rules: [{resource: a, action: read}]}", "tier"),
            (
                "{rules: [{resource: a*, action: read, tier: free}]}",
                "`*` must be a whole segment: `a*`",
            ),
        ] {
            let error = serde_saphyr::from_str::<TierTable>(yaml).unwrap_err();
            assert!(error.to_string().contains(cause), "{yaml}: {error}");
        }
    }

    #[test]
    fn a_rule_that_a_stricter_one_covers_is_pointed_out() {
        assert_eq!(table(EXAMPLE).warnings(), []);
        let shadowing = table(
            r#"{rules: [
                {resource: "billing/*", action: read, tier: free},
                {resource: "billing/**", action: "*", tier: forbidden},
            ]}"#,
        );
        let warnings: Vec<_> = shadowing
            .warnings()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            warnings,
            [
                "`billing/*:read` never takes effect: `billing/**:*@forbidden` covers it and is stricter"
            ]
        );
    }
}
