//! A certificate from a Workload API: renewed, withdrawn, and kept while the API is away.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attache::clock::{Clock, MockClock, SystemClock};
use tonic::Code;

use crate::harness::house::eventually_async;
use crate::harness::mesh::{Client, ENVOY, SELF, address, ask_over};
use crate::harness::pki::{Authority, Identity, Leaf};
use crate::harness::workload::{Say, WorkloadApi, X509SvidResponse, context, svid};
use crate::harness::{House, Plan};

const PARTNER: &str = "spiffe://partner.example/envoy/edge";

/// A house that asks the Workload API on a socket in `dir`.
async fn open(dir: &Path) -> House {
    open_with(dir, "").await
}

/// With further members of the entry.
async fn open_with(dir: &Path, more: &str) -> House {
    open_at(dir, more, Arc::new(SystemClock)).await
}

/// With a clock of its own.
async fn open_at(dir: &Path, more: &str, clock: Arc<dyn Clock>) -> House {
    Plan {
        clock,
        listener: "{tcp: \"127.0.0.1:0\", tls: mesh}".to_owned(),
        more: format!(
            "tls: {{mesh: {{workload_api: \"unix://{}\"{more}}}}}\n\
             identity:\n  peps: [\"spiffe://example.org/envoy/*\", \"{PARTNER}\"]\n  federated: [partner.example]\n",
            dir.join("api.sock").display()
        ),
        ..Plan::default()
    }
    .open()
    .await
}

async fn ready(house: &House, wanted: bool) -> String {
    eventually_async("readiness", || async {
        let (status, text) = house.probe("/readyz").await;
        ((status == 200) == wanted).then_some(text)
    })
    .await
}

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("wl").tempdir().unwrap()
}

fn envoy(authority: &Authority) -> Client {
    Client::new(authority, Some(authority.svid(ENVOY)))
}

async fn shows(client: &Client, house: &House, own: &Identity) {
    eventually_async("the new certificate", || async {
        let _answer = client.ask(address(house)).await;
        (client.shown().as_ref() == Some(own.leaf())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_message_replaces_the_certificate() {
    // S49
    let (dir, authority) = (folder(), Authority::of("example.org"));
    let house = open(dir.path()).await;
    ready(&house, false).await;
    let first = authority.svid(SELF);
    let say = Say::Context(context(SELF, &first, &authority, &[]));
    let api = WorkloadApi::start(&dir.path().join("api.sock"), say);
    ready(&house, true).await;
    let envoy = envoy(&authority);
    let connection = envoy.connect(address(&house)).await.unwrap();
    for _ in 0..3 {
        let next = authority.svid(SELF);
        api.say(Say::Context(context(SELF, &next, &authority, &[])));
        shows(&envoy, &house, &next).await;
        assert!(ask_over(connection.clone()).await.unwrap().is_allowed());
    }
    assert_eq!(api.calls(), 1);
}

#[tokio::test]
async fn the_first_svid_is_ours_unless_a_hint_names_another() {
    // S57
    let (dir, authority) = (folder(), Authority::of("example.org"));
    let other = "spiffe://example.org/other";
    let own = [SELF, other, other].map(|id| authority.svid(id));
    let mut all = context(SELF, &own[0], &authority, &[]);
    for svid_of_other in &own[1..] {
        all.svids
            .push(svid(other, svid_of_other, &authority, "inside"));
    }
    let _api = WorkloadApi::start(&dir.path().join("api.sock"), Say::Context(all));
    for (more, expected) in [("", &own[0]), (", hint: inside", &own[1])] {
        let house = open_with(dir.path(), more).await;
        ready(&house, true).await;
        shows(&envoy(&authority), &house, expected).await;
    }
    let house = open_with(dir.path(), ", hint: unheard of").await;
    eventually_async("a word about it", || async {
        let rejected = "attache_svid_updates_total{tls=\"mesh\",result=\"rejected\"}";
        (house.metric(rejected).await == 1).then_some(())
    })
    .await;
    ready(&house, false).await;
}

#[tokio::test]
async fn an_identity_that_is_no_longer_in_the_message_is_not_used_again() {
    let (dir, authority) = (folder(), Authority::of("example.org"));
    let own = authority.svid(SELF);
    let mut hinted = context(SELF, &own, &authority, &[]);
    hinted.svids = vec![svid(SELF, &own, &authority, "inside")];
    let api = WorkloadApi::start(&dir.path().join("api.sock"), Say::Context(hinted));
    let house = open_with(dir.path(), ", hint: inside").await;
    ready(&house, true).await;
    api.say(Say::Context(context(SELF, &own, &authority, &[])));
    ready(&house, false).await;
    assert!(envoy(&authority).ask(address(&house)).await.is_err());
}

#[tokio::test]
async fn an_identity_that_is_taken_away_is_not_used_again() {
    // S51
    let (dir, authority) = (folder(), Authority::of("example.org"));
    let own = authority.svid(SELF);
    let say = Say::Context(context(SELF, &own, &authority, &[]));
    let api = WorkloadApi::start(&dir.path().join("api.sock"), say.clone());
    let house = open(dir.path()).await;
    ready(&house, true).await;
    let envoy = envoy(&authority);
    let connection = envoy.connect(address(&house)).await.unwrap();
    assert!(ask_over(connection.clone()).await.unwrap().is_allowed());

    api.say(Say::Fail(Code::PermissionDenied));
    assert_eq!(ready(&house, false).await, "waiting for: certificate\n");
    assert!(envoy.ask(address(&house)).await.is_err());
    let answer = ask_over(connection).await.unwrap();
    assert_eq!(answer.word(), "untrusted_peer");
    let expiry = "attache_svid_expiry_timestamp_seconds{tls=\"mesh\"}";
    assert_eq!(house.metric(expiry).await, 0);

    // An entry is made again.
    api.say(say);
    ready(&house, true).await;
    assert!(envoy.ask(address(&house)).await.unwrap().is_allowed());
}

#[tokio::test]
async fn a_trust_domain_is_accepted_for_as_long_as_its_bundle_is_there() {
    // S52, S39
    let (dir, authority) = (folder(), Authority::of("example.org"));
    let partner = Authority::of("partner.example");
    let own = authority.svid(SELF);
    let federated = [("partner.example", &partner)];
    let with = context(SELF, &own, &authority, &federated);
    let api = WorkloadApi::start(&dir.path().join("api.sock"), Say::Context(with));
    let house = open(dir.path()).await;
    ready(&house, true).await;
    let theirs = Client::new(&authority, Some(partner.svid(PARTNER)));
    let connection = theirs.connect(address(&house)).await.unwrap();
    assert!(ask_over(connection.clone()).await.unwrap().is_allowed());
    // One authority can't speak for the other's trust domain, in either direction.
    for forged in [authority.svid(PARTNER), partner.svid(ENVOY)] {
        let client = Client::new(&authority, Some(forged));
        assert!(client.ask(address(&house)).await.is_err());
    }

    let without = context(SELF, &own, &authority, &[]);
    api.say(Say::Context(without));
    eventually_async("the end of the federation", || async {
        theirs.ask(address(&house)).await.err()
    })
    .await;
    let answer = ask_over(connection).await.unwrap();
    assert_eq!(answer.word(), "untrusted_peer");
    assert!(
        envoy(&authority)
            .ask(address(&house))
            .await
            .unwrap()
            .is_allowed()
    );
}

#[tokio::test]
async fn a_broken_stream_leaves_the_last_certificate_in_force() {
    // S53
    let (dir, authority) = (folder(), Authority::of("example.org"));
    let own = authority.svid(SELF);
    let say = Say::Context(context(SELF, &own, &authority, &[]));
    let socket = dir.path().join("api.sock");
    let api = WorkloadApi::start(&socket, say);
    let house = open(dir.path()).await;
    ready(&house, true).await;
    let envoy = envoy(&authority);

    api.say(Say::Fail(Code::Unavailable));
    let text = eventually_async("a word about it", || async {
        let (status, text) = house.probe("/readyz").await;
        (status == 200 && text.contains("no connection to its source")).then_some(text)
    })
    .await;
    assert!(text.starts_with("ok\n"), "{text}");
    assert!(envoy.ask(address(&house)).await.unwrap().is_allowed());

    // The process behind the socket is gone, and another comes.
    drop(api);
    assert!(envoy.ask(address(&house)).await.unwrap().is_allowed());
    std::fs::remove_file(&socket).unwrap();
    let next = authority.svid(SELF);
    let say = Say::Context(context(SELF, &next, &authority, &[]));
    let _api = WorkloadApi::start(&socket, say);
    shows(&envoy, &house, &next).await;
    eventually_async("no more words about it", || async {
        let (_, text) = house.probe("/readyz").await;
        (!text.contains("tls:")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_message_that_does_not_pass_the_gate_leaves_the_last_in_force() {
    let (dir, authority) = (folder(), Authority::of("example.org"));
    let own = authority.svid(SELF);
    let say = Say::Context(context(SELF, &own, &authority, &[]));
    let api = WorkloadApi::start(&dir.path().join("api.sock"), say);
    let house = open(dir.path()).await;
    ready(&house, true).await;
    // Signed by somebody who is not in the bundle; then nothing at all; then a good SVID beside a federated bundle that
    // can't be read, or beside a second SVID that can't be.
    let stranger = Authority::of("example.org").svid(SELF);
    let bad = context(SELF, &stranger, &authority, &[]);
    let fresh = authority.svid(SELF);
    let mut bundle = context(SELF, &fresh, &authority, &[]);
    let nonsense = b"nothing of the kind".to_vec();
    bundle
        .federated_bundles
        .insert("spiffe://partner.example".to_owned(), nonsense.clone());
    let mut second = context(SELF, &fresh, &authority, &[]);
    let mut unreadable = svid(SELF, &fresh, &authority, "");
    unreadable.certificates = nonsense;
    second.svids.push(unreadable);
    let rejected = "attache_svid_updates_total{tls=\"mesh\",result=\"rejected\"}";
    let messages = [bad, X509SvidResponse::default(), bundle, second];
    for (count, message) in (1..).zip(messages) {
        api.say(Say::Context(message));
        eventually_async("a rejection", || async {
            (house.metric(rejected).await == count).then_some(())
        })
        .await;
    }
    let envoy = envoy(&authority);
    assert!(envoy.ask(address(&house)).await.unwrap().is_allowed());
    assert_eq!(envoy.shown().as_ref(), Some(own.leaf()));
    assert_eq!(api.calls(), 1);
}

#[tokio::test]
async fn a_certificate_that_begins_later_is_in_force_when_it_has_begun() {
    // S42
    let (dir, authority) = (folder(), Authority::of("example.org"));
    let own = authority.issue(&Leaf::of(SELF).valid(60, 3_600));
    let say = Say::Context(context(SELF, &own, &authority, &[]));
    let api = WorkloadApi::start(&dir.path().join("api.sock"), say);
    let clock = Arc::new(MockClock::new(SystemClock.now()));
    let house = open_at(dir.path(), "", Arc::clone(&clock) as _).await;
    let rejected = "attache_svid_updates_total{tls=\"mesh\",result=\"rejected\"}";
    eventually_async("a word about it", || async {
        (house.metric(rejected).await == 1).then_some(())
    })
    .await;
    clock.advance(Duration::from_secs(61));
    ready(&house, true).await;
    shows(&envoy(&authority), &house, &own).await;
    // Offered again without a further message, and without a further word.
    assert_eq!((api.calls(), house.metric(rejected).await), (1, 1));
}

#[tokio::test]
async fn an_api_that_does_not_understand_us_is_not_asked_again() {
    // S54: a retry would have come within 250 ms; the refusal of another API shows that waiting that long is enough.
    let dir = folder();
    let api = WorkloadApi::start(
        &dir.path().join("api.sock"),
        Say::Fail(Code::InvalidArgument),
    );
    let house = open(dir.path()).await;
    eventually_async("the first call", || async {
        (api.calls() == 1).then_some(())
    })
    .await;

    let elsewhere = folder();
    let impatient = WorkloadApi::start(
        &elsewhere.path().join("api.sock"),
        Say::Fail(Code::Unavailable),
    );
    let _other = open(elsewhere.path()).await;
    eventually_async("three calls elsewhere", || async {
        (impatient.calls() >= 3).then_some(())
    })
    .await;
    assert_eq!(api.calls(), 1);
    assert_eq!(ready(&house, false).await, "waiting for: certificate\n");
}
