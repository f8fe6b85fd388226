//! Mandates from the command line: a person with a session file, agents with their certificates, a real server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use attache::humans::{Password, PasswordHash};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::harness::binary::{Said, attache, attache_reading};
use crate::harness::mesh::{SELF, doors};
use crate::harness::pki::Authority;
use crate::harness::{DOCUMENTS, House};

const SCHEDULING: &str = "spiffe://example.org/agent/scheduling";
const ANALYSIS: &str = "spiffe://example.org/agent/analysis";

/// A server, with a certificate of each agent in its folder.
struct Office {
    house: House,
}

impl Office {
    async fn open() -> Self {
        let password = Password::new(b"correct horse".to_vec()).unwrap();
        let hash = PasswordHash::make(&password, &mut StdRng::seed_from_u64(1)).unwrap();
        let hash = hash.to_phc();
        let authority = Authority::of("example.org");
        let mut plan = doors(&authority, &authority.svid(SELF));
        plan.more = format!(
            r#"{}
mode: development
state: {{embedded: state.db}}
roles:
  editor: ["documents/**:read", "documents/**:update", "documents/**:purge@forbidden"]
humans:
  local:
    - {{email: alice@example.org, id: usr-alice-001, role: editor, password_hash: "{hash}"}}
delegation:
  issuer: https://attache.example.org
  audience: "{DOCUMENTS}"
  agents:
    - {{match: "{SCHEDULING}", type: scheduling, ceiling: ["**:*"]}}
    - {{match: "{ANALYSIS}", type: analysis, ceiling: ["**:*"]}}
"#,
            plan.more
        );
        for (name, id) in [("scheduling", SCHEDULING), ("analysis", ANALYSIS)] {
            let svid = authority.svid(id);
            plan.files
                .push((format!("tls/{name}.pem"), svid.chain_pem.clone()));
            plan.files.push((format!("tls/{name}.key"), svid.key_pem()));
        }
        let house = plan.open().await;
        Self { house }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.house.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    async fn log_in(&self) {
        let address = format!("unix:{}", self.text("authz.sock"));
        let session = self.text("session");
        let login = ["login", "alice@example.org", "--address", &address];
        let login = [&login[..], &["--session-file", &session]].concat();
        let said = attache_reading(&login, "correct horse\n").await;
        assert_eq!(said.code, Some(0), "{said:?}");
    }

    /// As Alice, with her session.
    async fn alice(&self, command: &[&str]) -> Said {
        let session = self.text("session");
        attache(&[command, &["--session-file", &session]].concat()).await
    }

    /// As an agent, with its certificate.
    async fn agent(&self, name: &str, command: &[&str]) -> Said {
        let address = self.house.mesh.unwrap().to_string();
        let files = ["pem", "key"].map(|end| self.text(&format!("tls/{name}.{end}")));
        let bundle = self.text("tls/bundle.pem");
        let flags = ["--address", &address, "--server", SELF, "--bundle", &bundle];
        let mine = ["--certificate", &files[0], "--key", &files[1]];
        attache(&[command, &flags, &mine].concat()).await
    }
}

fn json(said: &Said) -> Value {
    assert_eq!(said.code, Some(0), "{said:?}");
    serde_json::from_str(&said.out).unwrap()
}

#[tokio::test]
async fn a_person_hands_on_an_agent_hands_on_less_and_all_of_it_ends() {
    let office = Office::open().await;
    office.log_in().await;
    let to = [
        "delegate",
        "--to",
        SCHEDULING,
        "--as",
        "scheduling-agent-001:scheduling",
    ];
    let wanted = [&to[..], &["--task", "task-abc", "--further", "1"]].concat();

    // What would be handed on, first; nothing comes of it.
    let said = office.alice(&[&wanted[..], &["--dry-run"]].concat()).await;
    assert!(said.out.starts_with("would be handed on"), "{said:?}");
    let said = office.alice(&["tasks", "--json"]).await;
    assert_eq!(json(&said)["tasks"], Value::Array(Vec::new()));

    let handed = json(&office.alice(&[&wanted[..], &["--json"]].concat()).await);
    assert_eq!(handed["chain"][1], "scheduling-agent-001");
    let grant = handed["grant"].as_str().unwrap();

    let token = office.text("token");
    let said = office
        .agent("scheduling", &["token", "--grant", grant, "--out", &token])
        .await;
    assert_eq!(said.code, Some(0), "{said:?}");
    // T50: the text is in the file alone.
    let text = fs::read_to_string(&token).unwrap();
    assert!(!said.out.contains(&text) && !said.err.contains(&text));
    let mode = fs::metadata(&token).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let less = [
        "delegate",
        "--to",
        ANALYSIS,
        "--as",
        "analysis-agent-002",
        "--read-only",
    ];
    let less = [&less[..], &["--token-file", &token, "--task", "part"]].concat();
    let second = office.text("second");
    let said = office
        .agent(
            "scheduling",
            &[&less[..], &["--out", &second, "--json"]].concat(),
        )
        .await;
    let handed = json(&said);
    assert_eq!(
        handed["permissions"],
        serde_json::json!(["documents/**:read"])
    );
    assert!(!said.out.contains(&fs::read_to_string(&second).unwrap()));

    let check = |what| ["token", "--token-file", &second, "--check", what];
    let said = office.agent("analysis", &check("documents/42:read")).await;
    assert_eq!((said.code, &*said.out), (Some(0), "allowed\n"));
    let said = office
        .agent("analysis", &check("documents/42:update"))
        .await;
    let lost = "denied (attenuated to read-only, at handover 2)\n";
    assert_eq!((said.code, &*said.out), (Some(3), lost));
    let said = office
        .alice(&["token", "--grant", grant, "--check", "documents/42:purge"])
        .await;
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.out.starts_with("denied ("), "{said:?}");

    let said = office.alice(&["tasks"]).await;
    let lines: Vec<_> = said.out.lines().collect();
    assert_eq!(lines.len(), 4, "{said:?}");
    assert!(lines[0].starts_with("task-abc ("), "{said:?}");
    assert!(lines[3].starts_with("    usr-alice-001 > scheduling-agent-001 > analysis-agent-002"));

    // Only the reader's part, then the rest.
    let part = handed["grant"].as_str().unwrap();
    let said = office
        .agent("scheduling", &["revoke", "--grant", part, "--json"])
        .await;
    assert_eq!(json(&said)["tokens"], 1);
    let said = office.alice(&["revoke", "--task", "task-abc"]).await;
    assert!(
        said.out.starts_with("revoked 1 token(s) and 1 grant(s)\n"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_command_that_fails_says_what_to_do_next() {
    let office = Office::open().await;
    let said = office.alice(&["tasks"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.err.contains("run `attache login EMAIL` first"),
        "{said:?}"
    );

    office.log_in().await;
    let to = [
        "delegate",
        "--to",
        SCHEDULING,
        "--as",
        "a",
        "--resources",
        "billing",
    ];
    let said = office.alice(&to).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("attache whoami"), "{said:?}");

    let said = office.alice(&["revoke", "--task", "none"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("check the name"), "{said:?}");

    // An agent without all of its flags, and one that meets another server than it means.
    let address = office.house.mesh.unwrap().to_string();
    let certificate = office.text("tls/analysis.pem");
    let said = attache(&[
        "tasks",
        "--address",
        &address,
        "--certificate",
        &certificate,
    ])
    .await;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("--server"), "{said:?}");
    let key = office.text("tls/analysis.key");
    let bundle = office.text("tls/bundle.pem");
    let files = [
        "--certificate",
        &certificate,
        "--key",
        &key,
        "--bundle",
        &bundle,
    ];
    let meant = ["tasks", "--address", &address, "--server", ANALYSIS];
    let said = attache(&[&meant[..], &files].concat()).await;
    assert_eq!(said.code, Some(1), "{said:?}");
}
