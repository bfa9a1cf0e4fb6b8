//! Who gets in, over real sockets: TLS and plain text on one port, certificates, slow and greedy peers.

use bytes::BytesMut;
use node::listener::{Limits, Listener};
use node::remoting::{CallError, Client, ClientOptions, Connection, Handler, Reply};
use node::tls::{ClientAuth, ClientTls, Mode, Settings, Tls};
use proto::Command;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Longer than anything takes that works.
const LONG: Duration = Duration::from_secs(10);

struct Echo;

impl Handler for Echo {
    fn handle(&self, _connection: &Arc<Connection>, request: Command) -> Reply {
        Reply::Now(Command::response(0).with_body(request.body))
    }

    fn closed(&self, _connection: &Arc<Connection>) {}
}

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
}

impl Server {
    async fn start(settings: &Settings, limits: Limits) -> Server {
        let tls = Tls::new(settings).unwrap();
        let listener = Listener::bind("127.0.0.1:0").await.unwrap().with_tls(tls.server);
        let server = Server { address: listener.local, stop: CancellationToken::new() };
        let http = node::health::router(|| Ok("ready".to_owned()));
        tokio::spawn(listener.serve(Arc::new(Echo), Some(http), limits, server.stop.clone()));
        server
    }

    async fn call(&self, client: &Client, body: Vec<u8>) -> Result<Command, CallError> {
        client.call(&self.address.to_string(), Command::request(1).with_body(body), LONG).await
    }

    /// Sends these bytes and waits for the server to close.
    async fn closes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await.expect("the server closes");
        let _reset = closed.is_err();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn plain() -> Client {
    Client::new(ClientOptions::default())
}

fn over_tls(settings: &Settings) -> Client {
    let settings = Settings { enable: true, ..settings.clone() };
    Client::new(ClientOptions { tls: ClientTls::new(&settings).unwrap(), ..ClientOptions::default() })
}

/// An authority and what it has signed, as PEM files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let it = Authority { issuer, folder: tempfile::tempdir().unwrap() };
        std::fs::write(it.path("ca.pem"), it.issuer.pem()).unwrap();
        it
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes NAME.pem and NAME.key, for this host.
    fn sign(&self, name: &str, host: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let signed = CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let paths = (self.text(&format!("{name}.pem")), self.text(&format!("{name}.key")));
        replace(&paths.1, &key.serialize_pem());
        replace(&paths.0, &signed.pem());
        paths
    }

    fn server(&self, host: &str) -> Settings {
        let (server_cert, server_key) = self.sign("server", host);
        Settings { server_cert, server_key, ..Settings::default() }
    }

    fn believer(&self) -> Settings {
        Settings { client_trust: self.text("ca.pem"), ..Settings::default() }
    }
}

fn replace(path: impl AsRef<Path>, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[tokio::test]
async fn one_port_serves_both_and_enforcing_only_tls() {
    let authority = Authority::new();
    let permissive = authority.server("127.0.0.1");
    let client = over_tls(&authority.believer());
    let server = Server::start(&permissive, Limits::default()).await;
    let large = vec![7; 3 << 20];
    assert_eq!(server.call(&client, large.clone()).await.unwrap().body, large);
    assert_eq!(server.call(&plain(), b"plain".to_vec()).await.unwrap().body, "plain");
    let enforcing = Settings { server_mode: Mode::Enforcing, ..permissive.clone() };
    let server = Server::start(&enforcing, Limits::default()).await;
    assert_eq!(server.call(&client, large.clone()).await.unwrap().body, large);
    assert!(matches!(server.call(&plain(), b"plain".to_vec()).await, Err(CallError::Closed { .. })));
    assert!(server.closes(b"GET /health/live HTTP/1.1\r\n\r\n").await.is_empty());
    let disabled = Settings { server_mode: Mode::Disabled, ..permissive };
    let server = Server::start(&disabled, Limits::default()).await;
    assert!(matches!(server.call(&client, large).await, Err(CallError::Connect { .. })));
    assert_eq!(server.call(&plain(), b"plain".to_vec()).await.unwrap().body, "plain");
}

#[tokio::test]
async fn http_is_served_inside_tls_too() {
    let authority = Authority::new();
    let server = Server::start(&authority.server("127.0.0.1"), Limits::default()).await;
    let settings = Settings { enable: true, ..authority.believer() };
    let tls = ClientTls::new(&settings).unwrap().unwrap();
    let stream = TcpStream::connect(server.address).await.unwrap();
    let mut stream = tls.connect(stream, &server.address.to_string()).await.unwrap();
    stream.write_all(b"GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.trim_end().ends_with("ready"), "{answer}");
}

#[tokio::test]
async fn a_client_believes_only_whom_it_was_told_to() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = Server::start(&authority.server("127.0.0.1"), Limits::default()).await;
    assert!(server.call(&over_tls(&Settings::default()), b"x".to_vec()).await.is_ok(), "as RocketMQ: believes anybody");
    let why = server.call(&over_tls(&other.believer()), b"x".to_vec()).await.unwrap_err().to_string();
    assert!(why.contains("TLS: invalid peer certificate"), "{why}");
    let elsewhere = Server::start(&authority.server("elsewhere.example"), Limits::default()).await;
    let why = elsewhere.call(&over_tls(&authority.believer()), b"x".to_vec()).await.unwrap_err().to_string();
    assert!(why.contains("not valid for name"), "{why}");
}

#[tokio::test]
async fn a_server_that_requires_certificates_serves_their_owners_only() {
    let (authority, other) = (Authority::new(), Authority::new());
    let settings = Settings {
        need_client_auth: ClientAuth::Require,
        auth_client: true,
        server_trust: authority.text("ca.pem"),
        ..authority.server("127.0.0.1")
    };
    let server = Server::start(&settings, Limits::default()).await;
    let with = |signer: &Authority| {
        let (client_cert, client_key) = signer.sign("client", "client.example");
        over_tls(&Settings { client_cert, client_key, ..authority.believer() })
    };
    assert_eq!(server.call(&with(&authority), b"known".to_vec()).await.unwrap().body, "known");
    // In TLS 1.3 the client learns of the refusal only with its first answer.
    assert!(server.call(&with(&other), b"x".to_vec()).await.is_err());
    assert!(server.call(&over_tls(&authority.believer()), b"x".to_vec()).await.is_err());
}

#[tokio::test]
async fn a_renewed_certificate_is_served_and_a_half_renewed_one_is_not() {
    let (old, new) = (Authority::new(), Authority::new());
    let settings = old.server("127.0.0.1");
    let server = Server::start(&settings, Limits::default()).await;
    let call = async |believer: &Authority| server.call(&over_tls(&believer.believer()), b"x".to_vec()).await;
    assert!(call(&old).await.is_ok());
    let (cert, key) = new.sign("server", "127.0.0.1");
    replace(&settings.server_cert, &std::fs::read_to_string(cert).unwrap());
    assert!(call(&old).await.is_ok(), "the certificate without its key is not served");
    replace(&settings.server_key, &std::fs::read_to_string(key).unwrap());
    let deadline = Instant::now() + LONG;
    while call(&new).await.is_err() {
        assert!(Instant::now() < deadline, "the new pair is not served");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(call(&old).await.is_err());
}

#[tokio::test]
async fn test_mode_makes_a_certificate_of_its_own() {
    let settings = Settings { test_mode: true, ..Settings::default() };
    let server = Server::start(&settings, Limits::default()).await;
    assert_eq!(server.call(&over_tls(&settings), b"x".to_vec()).await.unwrap().body, "x");
}

/// One byte and then silence, in every protocol.
#[tokio::test]
async fn who_begins_and_does_not_go_on_is_closed_while_others_are_served() {
    let limits = Limits { opening: Duration::from_millis(150), ..Limits::default() };
    let settings = Settings { test_mode: true, ..Settings::default() };
    let server = Server::start(&settings, limits).await;
    let (others, asking) = (plain(), CancellationToken::new());
    let slow: [&[u8]; 7] =
        [b"", b"\x16", b"\x16\x03\x01\x02", b"PROXY TCP4", b"PRI * HTTP/2.0", b"GET / HT", &[0, 0, 1, 0, 0, 0, 0, 9]];
    let all = futures_util::future::join_all(slow.iter().map(|it| server.closes(it)));
    let served = async {
        let mut count = 0;
        while !asking.is_cancelled() {
            assert_eq!(server.call(&others, b"x".to_vec()).await.unwrap().body, "x");
            tokio::time::sleep(Duration::from_millis(5)).await;
            count += 1;
        }
        count
    };
    let (_, served) = tokio::join!(async { asking_ends(all.await, &asking) }, served);
    assert!(served > 0);
}

fn asking_ends<T>(it: T, asking: &CancellationToken) -> T {
    asking.cancel();
    it
}

#[tokio::test]
async fn a_frame_larger_than_this_server_takes_is_refused_by_its_length() {
    let server = Server::start(&Settings::default(), Limits { frame: 4096, ..Limits::default() }).await;
    assert_eq!(server.call(&plain(), vec![0; 1024]).await.unwrap().body.len(), 1024);
    assert!(server.closes(&[0, 0, 0x10, 1]).await.is_empty());
}

#[tokio::test]
async fn one_address_cannot_take_all_places() {
    let server =
        Server::start(&Settings::default(), Limits { connections: 4, per_address: 50, ..Limits::default() }).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let mut request = BytesMut::new();
        Command::request(1).encode(&mut request);
        stream.write_all(&request).await.unwrap();
        stream.read_u8().await.unwrap();
        kept.push(stream);
    }
    assert!(server.closes(b"").await.is_empty());
    let from = tokio::net::TcpSocket::new_v4().unwrap();
    from.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = from.connect(server.address).await.unwrap();
    other.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(LONG, other.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
