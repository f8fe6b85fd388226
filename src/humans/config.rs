//! The section `humans` of the configuration: the users of development.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::email::Email;
use super::password::{Password, PasswordHash};
use crate::delegation::{Person, PersonId, RoleConfig, RoleName};

/// The `humans` section.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Users who log in here with a password; for development only.
    pub local: Vec<LocalUser>,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalUser {
    /// What they log in by.
    pub email: Email,
    /// What they are called everywhere else.
    pub id: PersonId,
    /// What they may do, by the name of a role.
    pub role: RoleName,
    /// The argon2id hash of their password, a PHC string.
    pub password_hash: PasswordHash,
}

/// Everybody who may log in, as one immutable table. Built by [`Config::build`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    by_email: BTreeMap<Email, LocalUser>,
}

// === impl Config ===

impl Config {
    /// What is wrong with it, each with its path, where `roles` are the roles there are.
    pub fn problems(&self, production: bool, roles: &RoleConfig) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if production && !self.local.is_empty() {
            let advice = "users with passwords are for development; write `mode: development`, or take them out";
            problems.push(("humans.local".to_owned(), advice.to_owned()));
        }
        if self.local.len() > MOST_USERS {
            let advice = format!("more than {MOST_USERS} users; this list is for development");
            problems.push(("humans.local".to_owned(), advice));
        }
        let (mut emails, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for (at, user) in self.local.iter().enumerate() {
            let mut wrong = |key: &str, advice: String| {
                problems.push((format!("humans.local[{at}].{key}"), advice));
            };
            if !emails.insert(&user.email) {
                wrong("email", format!("`{}` stands there twice", user.email));
            }
            if !ids.insert(&user.id) {
                wrong("id", format!("`{}` stands there twice", user.id));
            }
            if !roles.0.contains_key(&user.role) {
                wrong(
                    "role",
                    format!("there is no role `{}`; add roles.{0}", user.role),
                );
            }
            let first = self.local.first().map(|first| first.password_hash.cost());
            if first != Some(user.password_hash.cost()) {
                let advice = "costs other than the first user's (m, t, p), so that the time of a refusal would tell them apart; \
                              make all hashes the same way";
                wrong("password_hash", advice.to_owned());
            }
        }
        problems
    }

    /// The users whose password is one that everybody knows. Takes as long as so many looks at a password.
    pub fn known_passwords(&self) -> Vec<(String, String)> {
        let known = KNOWN_PASSWORDS
            .iter()
            .filter_map(|it| Password::new(it.as_bytes().to_vec()).ok());
        let known: Vec<_> = known.collect();
        let users = self.local.iter().enumerate().take(MOST_USERS);
        users
            .filter(|(_, user)| known.iter().any(|it| user.password_hash.is_of(it)))
            .map(|(at, _)| {
                let advice = "the password is the one of --dev, which everybody knows; make another hash with \
                              `attache hash-password`";
                (format!("humans.local[{at}].password_hash"), advice.to_owned())
            })
            .collect()
    }

    /// The table, ready to be asked.
    pub fn build(self) -> People {
        let users = self.local.into_iter();
        People {
            by_email: users.map(|user| (user.email.clone(), user)).collect(),
        }
    }
}

// === impl LocalUser ===

impl LocalUser {
    /// The person, vouched for by this configuration.
    pub fn person(&self) -> Person {
        Person {
            id: self.id.clone(),
            issuer: People::ISSUER.into(),
            subject: self.email.as_str().into(),
        }
    }

    /// Whether it is this person.
    fn is(&self, person: &Person) -> bool {
        self.id == person.id
            && *person.issuer == *People::ISSUER
            && *person.subject == *self.email.as_str()
    }
}

// === impl People ===

impl People {
    /// Who vouches for them: nobody but this configuration.
    pub const ISSUER: &'static str = "local";

    /// Whether nobody can log in.
    pub fn is_empty(&self) -> bool {
        self.by_email.is_empty()
    }

    /// Whether one of them has this id.
    pub fn has(&self, id: &str) -> bool {
        self.by_email.values().any(|user| user.id.as_str() == id)
    }

    /// The user of that address.
    pub fn by_email(&self, email: &Email) -> Option<&LocalUser> {
        self.by_email.get(email)
    }

    /// The role that a person has now; `None` for who is no user here any more.
    pub fn role(&self, person: &Person) -> Option<&RoleName> {
        // Looked for at every use of a token: a walk along some dozens of users, and no allocation.
        let mut users = self.by_email.values();
        let user = users.find(|user| user.is(person))?;
        Some(&user.role)
    }

    /// A hash that no password has, at the cost of everybody's; `None` where there is nobody.
    pub(super) fn nobodys_hash(&self) -> Option<PasswordHash> {
        let user = self.by_email.values().next()?;
        Some(user.password_hash.nobodys())
    }
}

/// More than a team that tries things out has.
const MOST_USERS: usize = 64;
/// The passwords of the users that `--dev` has.
const KNOWN_PASSWORDS: [&str; 1] = ["demo-password"];

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn hash(password: &str) -> String {
        let password = Password::new(password.as_bytes().to_vec()).unwrap();
        let made = PasswordHash::make(&password, &mut StdRng::seed_from_u64(1));
        made.unwrap().to_phc()
    }

    fn config(users: &[(&str, &str, &str, &str)]) -> Config {
        let user = |(email, id, role, hash): &(&str, &str, &str, &str)| {
            format!("{{email: {email}, id: {id}, role: {role}, password_hash: \"{hash}\"}}")
        };
        let users: Vec<_> = users.iter().map(user).collect();
        serde_saphyr::from_str(&format!("local: [{}]", users.join(", "))).unwrap()
    }

    fn roles() -> RoleConfig {
        serde_saphyr::from_str("{editor: [], viewer: []}").unwrap()
    }

    fn paths(problems: &[(String, String)]) -> Vec<&str> {
        problems.iter().map(|(path, _)| &**path).collect()
    }

    #[test]
    fn users_with_passwords_are_refused_in_production() {
        let (one, other) = (hash("correct horse"), hash("battery staple"));
        let config = config(&[
            ("Alice@example.org", "usr-1", "editor", &one),
            ("bob@example.org", "usr-2", "viewer", &other),
        ]);
        assert_eq!(paths(&config.problems(true, &roles())), ["humans.local"]);
        assert_eq!(config.problems(false, &roles()), []);
        assert_eq!(Config::default().problems(true, &roles()), []);
        assert_eq!(config.known_passwords(), []);
    }

    #[test]
    fn users_that_could_be_taken_for_each_other_are_refused() {
        let cheap = hash("correct horse");
        let dear = cheap.replace("t=2", "t=3");
        let config = config(&[
            ("alice@example.org", "usr-1", "editor", &cheap),
            ("ALICE@example.org", "usr-1", "admin", &dear),
        ]);
        let problems = config.problems(false, &roles());
        assert_eq!(
            paths(&problems),
            [
                "humans.local[1].email",
                "humans.local[1].id",
                "humans.local[1].role",
                "humans.local[1].password_hash"
            ]
        );
    }

    #[test]
    fn a_password_that_everybody_knows_is_found() {
        let (own, known) = (hash("correct horse"), hash("demo-password"));
        let config = config(&[
            ("alice@example.org", "usr-1", "editor", &own),
            ("bob@example.org", "usr-2", "editor", &known),
        ]);
        let found = config.known_passwords();
        assert_eq!(paths(&found), ["humans.local[1].password_hash"]);
    }

    #[test]
    fn who_was_taken_out_or_renamed_has_no_role_any_more() {
        let hash = hash("correct horse");
        let one = |email, id| config(&[(email, id, "editor", &hash)]).build();
        let people = one("alice@example.org", "usr-1");
        let email = "Alice@example.org".parse().unwrap();
        let alice = people.by_email(&email).unwrap().person();
        assert_eq!(people.role(&alice).unwrap().as_str(), "editor");
        assert_eq!(one("alice@example.org", "usr-2").role(&alice), None);
        assert_eq!(one("alice@example.com", "usr-1").role(&alice), None);
        let foreign = Person {
            issuer: "https://idp.example".into(),
            ..alice
        };
        assert_eq!(people.role(&foreign), None);
    }
}
