use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio_stream::StreamExt as _;

use super::*;

fn terms(places: usize) -> Terms {
    Terms {
        places: Arc::new(Semaphore::new(places)),
        patience: Duration::from_secs(5),
        most_handshakes: 1,
        age: Duration::from_secs(300),
        leave: Duration::from_secs(30),
    }
}

/// Connections to a socket that nothing goes wrong with.
fn accept(
    bound: Bound,
    terms: &Terms,
    shutdown: &Shutdown,
) -> ReceiverStream<io::Result<Connection>> {
    bound
        .accept(terms.clone(), shutdown.clone(), || panic!("no errors here"))
        .unwrap()
}

fn unix(dir: &TempDir, name: &str) -> (PathBuf, Address) {
    let path = dir.path().join(name);
    let address = Address::Unix {
        path: path.clone(),
        mode: 0o600,
    };
    (path, address)
}

#[test]
fn a_socket_has_the_mode_that_was_asked_for() {
    let dir = TempDir::new().unwrap();
    let (path, address) = unix(&dir, "a.sock");
    let _bound = Bound::bind(&address).unwrap();
    assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_socket_of_the_dead_is_replaced_and_one_of_the_living_is_not() {
    let dir = TempDir::new().unwrap();
    let (path, address) = unix(&dir, "a.sock");
    drop(StdUnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let living = Bound::bind(&address).unwrap();
    assert!(matches!(Bound::bind(&address), Err(BindError::InUse(_))));

    // Nor is one that can't be asked whether anybody lives there.
    let (path, address) = unix(&dir, "datagrams");
    let _living = UnixDatagram::bind(&path).unwrap();
    assert!(matches!(Bound::bind(&address), Err(BindError::InUse(_))));
    assert!(path.exists());

    // Nor is anything that is no socket.
    let (path, address) = unix(&dir, "precious");
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(
        Bound::bind(&address),
        Err(BindError::NotASocket(_))
    ));
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(dir.path().join("a.sock"), &path).unwrap();
    assert!(matches!(
        Bound::bind(&address),
        Err(BindError::NotASocket(_))
    ));
    drop(living);
}

#[test]
fn a_file_is_removed_only_while_it_is_ours() {
    let dir = TempDir::new().unwrap();
    let (path, address) = unix(&dir, "a.sock");
    let first = Bound::bind(&address).unwrap();
    let file = first.file().unwrap();
    drop(first);
    let second = Bound::bind(&address).unwrap();
    file.remove();
    assert!(path.exists());
    second.file().unwrap().remove();
    assert!(!path.exists());
    // Twice does no harm.
    second.file().unwrap().remove();
}

#[test]
fn what_the_system_refuses_comes_with_advice() {
    let dir = TempDir::new().unwrap();
    let (_, missing) = unix(&dir, "absent/a.sock");
    let (_, long) = unix(&dir, &"a".repeat(120));
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = Address::Tcp(other.local_addr().unwrap());
    let foreign = Address::Tcp("192.0.2.1:1".parse().unwrap());
    for (address, advice) in [
        (missing, "the folder does not exist; create it"),
        (long, "the path is too long for a Unix socket"),
        (taken, "the address is in use"),
        (foreign, "this host has no such address"),
    ] {
        let error = Bound::bind(&address).unwrap_err().to_string();
        assert!(error.contains(advice), "{error}");
        assert!(error.contains(&address.to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_a_place() {
    let dir = TempDir::new().unwrap();
    let (path, address) = unix(&dir, "a.sock");
    let shutdown = Shutdown::default();
    let terms = terms(1);
    let mut incoming = accept(Bound::bind(&address).unwrap(), &terms, &shutdown);
    let mut first = UnixStream::connect(&path).await.unwrap();
    let _second = UnixStream::connect(&path).await.unwrap();
    first.write_all(b"x").await.unwrap();
    let accepted = incoming.next().await.unwrap().unwrap();
    assert!(matches!(
        accepted.about().peer(),
        Peer::Unix { uid: Some(_) }
    ));
    assert_eq!(terms.places.available_permits(), 0);
    let mut waiting = accepted_by_now(&mut incoming).await;
    assert!(waiting.is_none(), "a second connection without a place");
    drop(accepted);
    waiting = incoming.next().await;
    assert!(waiting.unwrap().is_ok());

    shutdown.drain();
    assert!(incoming.next().await.is_none());
    assert!(UnixStream::connect(&path).await.is_err());
}

#[tokio::test]
async fn a_listener_that_nobody_comes_to_keeps_no_place_from_another() {
    let dir = TempDir::new().unwrap();
    let (quiet_path, quiet) = unix(&dir, "quiet.sock");
    let (busy_path, busy) = unix(&dir, "busy.sock");
    let (shutdown, terms) = (Shutdown::default(), terms(1));
    let mut quiet = accept(Bound::bind(&quiet).unwrap(), &terms, &shutdown);
    let mut busy = accept(Bound::bind(&busy).unwrap(), &terms, &shutdown);
    assert!(accepted_by_now(&mut quiet).await.is_none());
    let _client = UnixStream::connect(&busy_path).await.unwrap();
    let connection = busy.next().await.unwrap().unwrap();
    // Nor does either take more than there are.
    let _waiting = UnixStream::connect(&quiet_path).await.unwrap();
    assert!(accepted_by_now(&mut quiet).await.is_none());
    drop(connection);
    assert!(quiet.next().await.unwrap().is_ok());
}

/// What has been accepted once every task had its turns.
async fn accepted_by_now(
    incoming: &mut ReceiverStream<io::Result<Connection>>,
) -> Option<io::Result<Connection>> {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    futures::FutureExt::now_or_never(incoming.next()).flatten()
}
