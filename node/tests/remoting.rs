//! A listener and its peers over real sockets: what one peer does must not be felt by another.

use bytes::{BufMut, BytesMut};
use node::listener::{Limits, Listener};
use node::remoting::{CallError, Client, ClientOptions, Connection, Handler, Reply};
use parking_lot::Mutex;
use proto::Command;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

/// Longer than anything takes that works.
const LONG: Duration = Duration::from_secs(10);

const ECHO: i32 = 1;
/// Answered when the test releases it.
const WAIT: i32 = 2;
const SILENT: i32 = 3;
/// The answer's body: the opaques of all requests so far, in the order they were handled.
const SEEN: i32 = 4;
/// The server asks the client and answers with the client's answer.
const ASK_BACK: i32 = 5;
const CLOSE: i32 = 6;
const PEER: i32 = 7;

#[derive(Default)]
struct Scripted {
    seen: Mutex<Vec<String>>,
    closed: AtomicUsize,
    waiting: AtomicUsize,
    release: Mutex<Option<Arc<Semaphore>>>,
}

impl Scripted {
    fn gate(&self) -> Arc<Semaphore> {
        Arc::clone(self.release.lock().get_or_insert_with(|| Arc::new(Semaphore::new(0))))
    }
}

impl Handler for Scripted {
    fn handle(&self, connection: &Arc<Connection>, request: Command) -> Reply {
        self.seen.lock().push(request.ext.get("n").cloned().unwrap_or_default());
        match request.code {
            ECHO => Reply::Now(Command::response(0).with_body(request.body)),
            WAIT => {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                let gate = self.gate();
                Reply::Later(Box::pin(async move {
                    gate.acquire().await.expect("the gate stays").forget();
                    Command::response(0).with_body(request.body)
                }))
            }
            SEEN => Reply::Now(Command::response(0).with_body(self.seen.lock().join(","))),
            ASK_BACK => {
                let connection = Arc::clone(connection);
                Reply::Later(Box::pin(async move {
                    connection.push(Command::request(41).with_ext("n", "pushed"));
                    connection
                        .call(Command::request(40), LONG)
                        .await
                        .unwrap_or_else(|e| Command::error(1, e.to_string()))
                }))
            }
            CLOSE => {
                connection.close();
                Reply::None
            }
            PEER => Reply::Now(Command::response(0).with_body(connection.peer.to_string())),
            _ => Reply::None,
        }
    }

    fn closed(&self, _connection: &Arc<Connection>) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

struct Server {
    address: SocketAddr,
    handler: Arc<Scripted>,
    stop: CancellationToken,
    goodbye: CancellationToken,
}

impl Server {
    async fn start(limits: Limits) -> Server {
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let (stop, goodbye) = (CancellationToken::new(), CancellationToken::new());
        let listener = listener.with_goodbye(goodbye.clone());
        let server = Server { address: listener.local, handler: Arc::default(), stop, goodbye };
        let http = node::health::router(|| Err("no leader yet".to_owned()));
        tokio::spawn(listener.serve(server.handler.clone(), Some(http), limits, server.stop.clone()));
        server
    }

    fn address(&self) -> String {
        self.address.to_string()
    }

    async fn raw(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn client() -> Client {
    Client::new(ClientOptions::default())
}

fn numbered(code: i32, n: usize) -> Command {
    Command::request(code).with_ext("n", n).with_body(n.to_string())
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {LONG:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Reads until the peer closes; a reset counts as well.
async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read =
        tokio::time::timeout(LONG, stream.read_to_end(&mut bytes)).await.expect("the server closes the connection");
    let _reset = read.is_err();
    bytes
}

#[tokio::test]
async fn pipelined_requests_are_handled_in_order_and_answered_each() {
    let server = Server::start(Limits::default()).await;
    let connection = client().connection(&server.address()).await.unwrap();
    let answers: Vec<_> = (0..5000).map(|n| connection.start(numbered(ECHO, n), LONG)).collect();
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap().body, n.to_string());
    }
    let want: Vec<_> = (0..5000).map(|n| n.to_string()).collect();
    assert_eq!(*server.handler.seen.lock(), want);
}

#[tokio::test]
async fn a_slow_answer_does_not_hold_up_others() {
    let server = Server::start(Limits::default()).await;
    let connection = client().connection(&server.address()).await.unwrap();
    let slow = connection.start(numbered(WAIT, 1), LONG);
    assert_eq!(connection.start(numbered(ECHO, 2), LONG).await.unwrap().body, "2");
    server.handler.gate().add_permits(1);
    assert_eq!(slow.await.unwrap().body, "1");
}

#[tokio::test]
async fn a_goodbye_answers_what_was_asked_and_sends_others_away() {
    let server = Server::start(Limits::default()).await;
    let client = client();
    let connection = client.connection(&server.address()).await.unwrap();
    let slow = connection.start(numbered(WAIT, 1), LONG);
    until("it is under way", || server.handler.waiting.load(Ordering::SeqCst) == 1).await;
    server.goodbye.cancel();

    let sent_away = connection.start(numbered(ECHO, 2), LONG).await.unwrap();
    assert_eq!((sent_away.code, sent_away.remark.as_deref()), (1500, Some("please go away")));
    let old_peer = Command { version: 475, ..numbered(ECHO, 3) };
    assert_eq!(connection.start(old_peer, LONG).await.unwrap().body, "3", "it does not know the code");
    until("nobody is let in", || std::net::TcpStream::connect(server.address).is_err()).await;

    server.handler.gate().add_permits(1);
    assert_eq!(slow.await.unwrap().body, "1");
    tokio::time::timeout(LONG, connection.closed()).await.expect("closed when all is answered");
    assert_eq!(*server.handler.seen.lock(), ["1", "3"]);
}

#[tokio::test]
async fn reading_stops_at_too_many_answers_under_way_and_goes_on() {
    let server = Server::start(Limits { in_flight: 4, ..Limits::default() }).await;
    let connection = client().connection(&server.address()).await.unwrap();
    let answers: Vec<_> = (0..50).map(|n| connection.start(numbered(WAIT, n), LONG)).collect();
    until("four requests wait", || server.handler.waiting.load(Ordering::SeqCst) == 4).await;
    assert_eq!(server.handler.waiting.load(Ordering::SeqCst), 4);
    server.handler.gate().add_permits(50);
    for answer in answers {
        answer.await.unwrap();
    }
    assert_eq!(server.handler.waiting.load(Ordering::SeqCst), 50);
}

#[tokio::test]
async fn a_one_way_request_is_executed_and_never_answered() {
    let server = Server::start(Limits::default()).await;
    let mut out = BytesMut::new();
    numbered(ECHO, 1).one_way().encode(&mut out);
    Command { opaque: 77, ..numbered(SEEN, 2) }.encode(&mut out);
    let mut stream = server.raw().await;
    stream.write_all(&out).await.unwrap();
    let answer = next_frame(&mut stream, &mut BytesMut::new()).await;
    assert_eq!((answer.opaque, &answer.body[..], answer.is_response()), (77, &b"1,2"[..], true));
    let client = client();
    client.notify(&server.address(), numbered(ECHO, 3)).await.unwrap();
    assert_eq!(client.call(&server.address(), numbered(SEEN, 4), LONG).await.unwrap().body, "1,2,3,4");
}

async fn next_frame(stream: &mut TcpStream, buf: &mut BytesMut) -> Command {
    loop {
        if let Some(command) = Command::decode(buf).unwrap() {
            return command;
        }
        let read = tokio::time::timeout(LONG, stream.read_buf(buf)).await.expect("a frame arrives").unwrap();
        assert_ne!(read, 0, "the connection closed instead");
    }
}

#[tokio::test]
async fn a_request_may_arrive_byte_by_byte() {
    let server = Server::start(Limits::default()).await;
    let mut out = BytesMut::new();
    numbered(ECHO, 9).encode(&mut out);
    let mut stream = server.raw().await;
    for byte in out {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(next_frame(&mut stream, &mut BytesMut::new()).await.body, "9");
}

#[tokio::test]
async fn a_bad_frame_closes_its_connection_and_no_other() {
    let server = Server::start(Limits::default()).await;
    let client = client();
    let address = server.address();
    client.call(&address, numbered(ECHO, 0), LONG).await.unwrap();
    let mut oversized = BytesMut::new();
    oversized.put_u32(16_777_213);
    let mut good_then_garbage = BytesMut::new();
    numbered(ECHO, 1).encode(&mut good_then_garbage);
    good_then_garbage.put_slice(&[0, 0, 0, 9, 0, 0, 0, 5, b'{', b'{', b'{', b'{', b'{']);
    for bad in [
        &oversized[..],
        &[0, 0, 0, 3],
        &[0, 0, 0, 4, 9, 0, 0, 0],
        b"\x16\x03\x01\x02\x00\x01",
        &[0xFF; 40],
        &good_then_garbage,
    ] {
        let mut stream = server.raw().await;
        stream.write_all(bad).await.unwrap();
        let answered = read_to_end(&mut stream).await;
        assert_eq!(answered.is_empty(), bad != &good_then_garbage[..], "{bad:?}");
    }
    // TLS, which is not served here, never becomes a connection that the handler hears of.
    until("all are gone", || server.handler.closed.load(Ordering::SeqCst) == 5).await;
    assert_eq!(client.call(&address, numbered(ECHO, 2), LONG).await.unwrap().body, "2");
}

#[tokio::test]
async fn a_peer_that_says_nothing_or_half_a_frame_is_dropped_when_idle() {
    let server = Server::start(Limits { idle: Duration::from_millis(100), ..Limits::default() }).await;
    let mut silent = server.raw().await;
    let mut half = server.raw().await;
    half.write_all(&[0, 0, 1]).await.unwrap();
    let mut waiting = server.raw().await;
    let mut out = BytesMut::new();
    numbered(WAIT, 1).encode(&mut out);
    waiting.write_all(&out).await.unwrap();
    assert!(read_to_end(&mut silent).await.is_empty());
    assert!(read_to_end(&mut half).await.is_empty());
    // A long poll is no silence: its answer still comes.
    server.handler.gate().add_permits(1);
    assert_eq!(next_frame(&mut waiting, &mut BytesMut::new()).await.body, "1");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_places_are_given_back() {
    let server = Server::start(Limits { connections: 1, ..Limits::default() }).await;
    let first = client();
    first.call(&server.address(), numbered(ECHO, 1), LONG).await.unwrap();
    assert!(read_to_end(&mut server.raw().await).await.is_empty());
    first.close(&server.address());
    until("the first is gone", || server.handler.closed.load(Ordering::SeqCst) == 1).await;
    let second = client();
    let deadline = Instant::now() + LONG;
    while second.call(&server.address(), numbered(ECHO, 2), LONG).await.is_err() {
        assert!(Instant::now() < deadline, "the place is not given back");
    }
}

#[tokio::test]
async fn a_call_without_an_answer_times_out_and_the_connection_stays() {
    let server = Server::start(Limits::default()).await;
    let client = client();
    let error = client.call(&server.address(), numbered(SILENT, 1), Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{}: no answer to request 3 within 50 ms", server.address));
    // An answer that comes too late goes to nobody, least of all to the next request.
    let late = client.call(&server.address(), numbered(WAIT, 2), Duration::from_millis(50)).await;
    assert!(matches!(late, Err(CallError::Timeout { code: WAIT, .. })));
    server.handler.gate().add_permits(1);
    assert_eq!(client.call(&server.address(), numbered(ECHO, 3), LONG).await.unwrap().body, "3");
    assert_eq!(server.handler.closed.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_is_in_flight_ends_at_once_when_the_connection_breaks() {
    let server = Server::start(Limits::default()).await;
    let client = client();
    let connection = client.connection(&server.address()).await.unwrap();
    let started = Instant::now();
    let waiting: Vec<_> = (0..10).map(|n| connection.start(numbered(WAIT, n), Duration::from_secs(60))).collect();
    connection.start(numbered(CLOSE, 0), LONG).await.unwrap_err();
    for waiting in waiting {
        assert!(matches!(waiting.await, Err(CallError::Closed { code: WAIT, .. })));
    }
    assert!(started.elapsed() < LONG);
    connection.closed().await;
    assert!(connection.is_closed());
    // The next call opens a new one.
    assert_eq!(client.call(&server.address(), numbered(ECHO, 3), LONG).await.unwrap().body, "3");
}

#[tokio::test]
async fn closing_here_ends_what_waits_too() {
    let server = Server::start(Limits::default()).await;
    let client = client();
    let connection = client.connection(&server.address()).await.unwrap();
    connection.start(numbered(ECHO, 0), LONG).await.unwrap();
    let waiting = connection.start(numbered(WAIT, 1), Duration::from_secs(60));
    client.close(&server.address());
    assert!(matches!(waiting.await, Err(CallError::Closed { .. })));
    assert!(matches!(connection.start(numbered(ECHO, 1), LONG).await, Err(CallError::Closed { .. })));
    until("the server notices", || server.handler.closed.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_server_that_is_gone_refuses() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let error = client().call(&gone, numbered(ECHO, 1), LONG).await.unwrap_err();
    assert!(matches!(error, CallError::Refused { .. }), "{error}");
    let error = client().call("no.such.host.invalid:1", numbered(ECHO, 1), LONG).await.unwrap_err();
    assert!(matches!(error, CallError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn concurrent_callers_share_one_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = client();
    let calls: Vec<_> = (0..20)
        .map(|n| {
            let (client, address) = (client.clone(), address.clone());
            tokio::spawn(async move { client.call(&address, numbered(ECHO, n), LONG).await })
        })
        .collect();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut buf = BytesMut::new();
    for _ in 0..20 {
        let request = next_frame(&mut stream, &mut buf).await;
        let mut out = BytesMut::new();
        Command::response(0).answering(request.opaque).encode(&mut out);
        stream.write_all(&out).await.unwrap();
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let another = tokio::time::timeout(Duration::from_millis(20), listener.accept()).await;
    assert!(another.is_err(), "a second connection was opened");
}

/// The peer accepts and then neither reads nor answers nor closes: a call ends by its own time, and others are not
/// affected.
#[tokio::test]
async fn a_peer_that_hangs_costs_its_callers_their_timeout_only() {
    let hung = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client();
    let address = hung.local_addr().unwrap().to_string();
    let large = Command::request(ECHO).with_body(vec![0; 8 << 20]);
    let error = client.call(&address, large, Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout { .. }), "{error}");
    let server = Server::start(Limits::default()).await;
    assert_eq!(client.call(&server.address(), numbered(ECHO, 1), LONG).await.unwrap().body, "1");
}

#[tokio::test]
async fn a_server_may_ask_its_client() {
    let server = Server::start(Limits::default()).await;
    let (told, pushed) = oneshot::channel();
    let told = Mutex::new(Some(told));
    let client = client().with_handler(Arc::new(move |_address, request| match request.code {
        41 => {
            let n = request.ext.get("n").cloned();
            told.lock().take().map(|it| it.send(n));
            Some(Command::response(0)) // one-way: not sent
        }
        _ => Some(Command::response(0).with_body("from the client")),
    }));
    let answer = client.call(&server.address(), numbered(ASK_BACK, 1), LONG).await.unwrap();
    assert_eq!(answer.body, "from the client");
    assert_eq!(pushed.await.unwrap().as_deref(), Some("pushed"));
}

#[tokio::test]
async fn requests_are_signed_when_there_are_credentials() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let credentials = Some(("ak".to_owned(), "12345678".to_owned()));
    let client = Client::new(ClientOptions { credentials, ..ClientOptions::default() });
    let request =
        Command::request(105).with_ext("topic", "T").with_ext("acceptStandardJsonOnly", true).with_body("body");
    client.notify(&address, request).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let request = next_frame(&mut stream, &mut BytesMut::new()).await;
    assert_eq!(request.ext["Signature"], "SQR3Dv19a6EOORYlXMesozmhUDw=");
}

#[tokio::test]
async fn http_is_served_on_the_same_port() {
    let server = Server::start(Limits::default()).await;
    let get = async |path: &str| {
        let mut stream = server.raw().await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        String::from_utf8(read_to_end(&mut stream).await).unwrap()
    };
    assert!(get("/health/live").await.starts_with("HTTP/1.1 200"));
    let ready = get("/health/ready").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.trim_end().ends_with("no leader yet"), "{ready}");
    assert_eq!(client().call(&server.address(), numbered(ECHO, 1), LONG).await.unwrap().body, "1");
    // HTTP/2: the server's settings frame answers the preface.
    let mut stream = server.raw().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    tokio::time::timeout(LONG, stream.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(head[3], 4, "not a SETTINGS frame: {head:?}");
}

#[tokio::test]
async fn a_proxy_header_replaces_the_peer_s_address() {
    let server = Server::start(Limits::default()).await;
    let mut stream = server.raw().await;
    let mut out = BytesMut::from(&b"PROXY TCP4 10.0.0.9 10.0.0.1 40000 10911\r\n"[..]);
    Command::request(PEER).encode(&mut out);
    stream.write_all(&out).await.unwrap();
    assert_eq!(next_frame(&mut stream, &mut BytesMut::new()).await.body, "10.0.0.9:40000");
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_address_and_cure() {
    let server = Server::start(Limits::default()).await;
    let error = Listener::bind(&server.address()).await.err().expect("the port is taken").to_string();
    let want = "the port is in use: stop the process that listens there, or configure another port";
    assert_eq!(error, format!("cannot listen on {}: {want}", server.address));
}

#[tokio::test]
async fn a_stopped_listener_closes_its_connections_and_its_port() {
    let server = Server::start(Limits::default()).await;
    let client = client();
    let connection = client.connection(&server.address()).await.unwrap();
    connection.start(numbered(ECHO, 1), LONG).await.unwrap();
    server.stop.cancel();
    tokio::time::timeout(LONG, connection.closed()).await.expect("the connection closes");
    until("the port is free", || std::net::TcpStream::connect(server.address).is_err()).await;
    let error = client.call(&server.address(), numbered(ECHO, 2), LONG).await.unwrap_err();
    assert!(matches!(error, CallError::Refused { .. }), "{error}");
    assert_eq!(server.handler.closed.load(Ordering::SeqCst), 1);
}
