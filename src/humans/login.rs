//! One login: address and password in, a user or a refusal out, at the same cost whoever it is.
//!
//! Passwords are looked at on blocking threads, a few at a time; further ones wait their turn. Whoever goes away while
//! waiting has not tried; a look that has begun is finished and keeps its turn until then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::config::{LocalUser, People};
use super::email::Email;
use super::limit::{Pace, Tries};
use super::password::Password;

/// Looks at passwords.
#[derive(Debug)]
pub struct Logins {
    turns: Arc<Semaphore>,
    tries: Mutex<Tries>,
    looks: Arc<AtomicU64>,
}

/// How often, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginLimits {
    /// Tries at one address at once.
    pub burst: u32,
    /// And then one for each of these.
    pub pause: Duration,
    /// Tries at all addresses at once.
    pub burst_in_all: u32,
    /// And then one for each of these.
    pub pause_in_all: Duration,
    /// Passwords that are looked at at once, each with the memory that its hash asks for.
    pub at_once: usize,
}

/// Why nobody is logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Nobody can log in here with a password.
    #[error("there are no local users")]
    NoUsers,
    /// The address is nobody's, or the password is another one: nobody is told which.
    #[error("address or password is wrong")]
    Wrong,
    /// Too many tries.
    #[error("too many tries")]
    TooOften {
        /// After what time there is room for one.
        wait: Duration,
    },
    /// The look could not be finished.
    #[error("the password could not be looked at")]
    Failed,
}

impl Default for LoginLimits {
    /// Five tries at an address and one each 12 s, 20 in all and one each second, two at once.
    fn default() -> Self {
        Self {
            burst: 5,
            pause: Duration::from_secs(12),
            burst_in_all: 20,
            pause_in_all: Duration::from_secs(1),
            at_once: 2,
        }
    }
}

impl Default for Logins {
    fn default() -> Self {
        Self::new(LoginLimits::default())
    }
}

impl Logins {
    /// Nobody has tried yet.
    pub fn new(limits: LoginLimits) -> Self {
        let LoginLimits {
            burst,
            pause,
            burst_in_all,
            pause_in_all,
            at_once,
        } = limits;
        let all = Pace {
            burst: burst_in_all,
            pause: pause_in_all,
        };
        Self {
            turns: Arc::new(Semaphore::new(at_once)),
            tries: Mutex::new(Tries::new(Pace { burst, pause }, all)),
            looks: Arc::default(),
        }
    }

    /// The user of `email`, if `password` is theirs. Give it a deadline: it waits for its turn.
    pub async fn user(
        &self,
        people: &People,
        email: &Email,
        password: Password,
    ) -> Result<LocalUser, LoginError> {
        let nobodys = people.nobodys_hash().ok_or(LoginError::NoUsers)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_closed| LoginError::Failed)?;
        self.tries(|tries| tries.take(email, Instant::now()))
            .map_err(|wait| LoginError::TooOften { wait })?;
        let user = people.by_email(email).cloned();
        let hash = user
            .as_ref()
            .map_or(nobodys, |user| user.password_hash.clone());
        let looks = Arc::clone(&self.looks);
        let look = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            looks.fetch_add(1, Ordering::Relaxed);
            hash.is_of(&password)
        });
        let right = look.await.map_err(|_panic| LoginError::Failed)?;
        let user = user.filter(|_| right).ok_or(LoginError::Wrong)?;
        self.tries(|tries| tries.give_back(email));
        Ok(user)
    }

    /// How many passwords were looked at so far, right or wrong, of users or of nobody.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// Counting can't fail half-way: what a panicked thread left is sound.
    fn tries<T>(&self, count: impl FnOnce(&mut Tries) -> T) -> T {
        count(&mut self.tries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;
    use crate::humans::{Config, PasswordHash};

    fn password(text: &str) -> Password {
        Password::new(text.as_bytes().to_vec()).unwrap()
    }

    fn email(text: &str) -> Email {
        text.parse().unwrap()
    }

    fn people() -> People {
        let made = PasswordHash::make(&password("correct horse"), &mut StdRng::seed_from_u64(1));
        let hash = made.unwrap();
        let user = |name: &str| LocalUser {
            email: email(&format!("{name}@example.org")),
            id: format!("usr-{name}").parse().unwrap(),
            role: "editor".parse().unwrap(),
            password_hash: hash.clone(),
        };
        let local = vec![user("alice"), user("bob")];
        Config { local }.build()
    }

    async fn login(logins: &Logins, name: &str, words: &str) -> Result<String, LoginError> {
        let email = email(&format!("{name}@example.org"));
        let user = logins.user(&people(), &email, password(words)).await;
        user.map(|user| user.id.to_string())
    }

    #[tokio::test]
    async fn who_knows_the_password_is_that_user_and_nobody_else_is_anybody() {
        let logins = Logins::default();
        let alice = login(&logins, "Alice", "correct horse").await;
        assert_eq!(alice.as_deref(), Ok("usr-alice"));
        let wrong = login(&logins, "alice", "correct horsf").await;
        assert_eq!(wrong, Err(LoginError::Wrong));
        assert_eq!(wrong, login(&logins, "carol", "correct horse").await);
        let (empty, alice) = (People::default(), email("alice@example.org"));
        let nobody = logins.user(&empty, &alice, password("correct horse"));
        assert_eq!(nobody.await.unwrap_err(), LoginError::NoUsers);
    }

    #[tokio::test]
    async fn an_unknown_user_costs_exactly_one_look_as_a_known_one_does() {
        // Counted, not timed: every hash of the table has the same cost.
        let (logins, people) = (Logins::default(), people());
        for (name, looks) in [("alice", 1), ("carol", 2)] {
            let wrong = login(&logins, name, "no such password").await;
            assert_eq!(wrong, Err(LoginError::Wrong));
            assert_eq!(logins.looks(), looks, "{name}");
        }
        let nobodys = people.nobodys_hash().unwrap();
        let alice = people.by_email(&email("alice@example.org")).unwrap();
        assert_eq!(nobodys.cost(), alice.password_hash.cost());
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_tries_are_turned_away_unlooked_whether_the_address_is_somebody_s_or_not() {
        let logins = Logins::default();
        for name in ["alice", "carol"] {
            let before = logins.looks();
            for _ in 0..5 {
                let wrong = login(&logins, name, "no such password").await;
                assert_eq!(wrong, Err(LoginError::Wrong), "{name}");
            }
            // The right one, too.
            for words in ["no such password", "correct horse"] {
                let Err(LoginError::TooOften { wait }) = login(&logins, name, words).await else {
                    panic!("{name} is looked at");
                };
                assert!(wait <= Duration::from_secs(12) && wait > Duration::ZERO);
            }
            assert_eq!(logins.looks() - before, 5, "{name}");
        }
        tokio::time::advance(Duration::from_secs(12)).await;
        let right = login(&logins, "alice", "correct horse").await;
        assert_eq!(right.as_deref(), Ok("usr-alice"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_knows_their_password_is_never_held_up() {
        let logins = Logins::default();
        for _ in 0..8 {
            login(&logins, "bob", "correct horse").await.unwrap();
        }
    }

    #[tokio::test]
    async fn no_more_than_so_many_are_looked_at_at_once() {
        let logins = Logins::default();
        let turns = Arc::clone(&logins.turns).acquire_many_owned(2).await;
        let mut right = Box::pin(login(&logins, "alice", "correct horse"));
        assert!(futures::poll!(&mut right).is_pending());
        assert_eq!(logins.looks(), 0);
        drop(turns.unwrap());
        right.await.unwrap();
        assert_eq!(logins.looks(), 1);
    }
}
