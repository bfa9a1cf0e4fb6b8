//! Nameserver and brokers of the tests: real sockets, scripted answers.

use bytes::Bytes;
use node::listener::{Limits, Listener};
use node::remoting::{Connection, Handler, Reply};
use parking_lot::Mutex;
use proto::Command;
use proto::body::{BrokerData, QueueData, TopicRouteData};
use proto::code::{request, response};
use proto::header::SendMessageRequest;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio_util::sync::{CancellationToken, DropGuard};

type Script = dyn Fn(&Arc<Connection>, Command) -> Reply + Send + Sync;

struct Scripted(Box<Script>);

impl Handler for Scripted {
    fn handle(&self, connection: &Arc<Connection>, request: Command) -> Reply {
        (self.0)(connection, request)
    }

    fn closed(&self, _: &Arc<Connection>) {}
}

/// Serves until dropped.
pub(crate) struct Server {
    pub(crate) address: String,
    _stop: DropGuard,
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Arc<Connection>, Command) -> Reply + Send + Sync + 'static) -> Server {
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local.to_string();
        let stop = CancellationToken::new();
        tokio::spawn(listener.serve(Arc::new(Scripted(Box::new(script))), None, Limits::default(), stop.clone()));
        Server { address, _stop: stop.drop_guard() }
    }
}

/// An address at which nothing listens.
pub(crate) fn refusing_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A nameserver whose routes the test changes.
pub(crate) struct Namesrv {
    server: Server,
    routes: Arc<Mutex<BTreeMap<String, TopicRouteData>>>,
    lookups: Arc<AtomicUsize>,
}

impl Namesrv {
    pub(crate) async fn start() -> Namesrv {
        let routes = Arc::new(Mutex::new(BTreeMap::<String, TopicRouteData>::new()));
        let lookups = Arc::new(AtomicUsize::new(0));
        let (known, counted) = (routes.clone(), lookups.clone());
        let server = Server::start(move |_, request| {
            counted.fetch_add(1, Ordering::Relaxed);
            Reply::Now(match known.lock().get(&request.ext["topic"]) {
                Some(route) => Command::response(response::SUCCESS).with_body(proto::json::to_vec(route)),
                None => Command::error(response::TOPIC_NOT_EXIST, "No topic route info"),
            })
        });
        Namesrv { server: server.await, routes, lookups }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        vec![self.server.address.clone()]
    }

    /// Each set: name and master; four queues.
    pub(crate) fn route(&self, topic: &str, sets: &[(&str, Option<&str>)]) {
        let data = sets.iter().map(|(name, master)| BrokerData {
            broker_addrs: master.iter().map(|it| (0, (*it).to_owned())).collect(),
            broker_name: (*name).into(),
            cluster: "c".into(),
            ..BrokerData::default()
        });
        let queues = sets.iter().map(|(name, _)| QueueData {
            broker_name: (*name).into(),
            perm: 6,
            read_queue_nums: 4,
            write_queue_nums: 4,
            ..QueueData::default()
        });
        let route =
            TopicRouteData { broker_datas: data.collect(), queue_datas: queues.collect(), ..TopicRouteData::default() };
        self.routes.lock().insert(topic.to_owned(), route);
    }

    pub(crate) fn lookups(&self) -> usize {
        self.lookups.load(Ordering::Relaxed)
    }
}

/// What a broker does with a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Store,
    /// Answers with this code.
    Code(i32),
    /// Takes the request and closes the connection.
    Close,
    /// Takes the request and says nothing.
    Hang,
}

/// One request that reached a broker.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) code: i32,
    pub(crate) header: SendMessageRequest,
    pub(crate) body: Bytes,
}

/// A broker that keeps what it is sent.
pub(crate) struct Broker {
    pub(crate) address: String,
    received: Arc<Mutex<Vec<Received>>>,
    behaviour: Arc<Mutex<Behaviour>>,
    _server: Server,
}

impl Broker {
    pub(crate) async fn start(behaviour: Behaviour) -> Broker {
        let received = Arc::new(Mutex::new(Vec::<Received>::new()));
        let behaviour = Arc::new(Mutex::new(behaviour));
        let (log, how) = (received.clone(), behaviour.clone());
        let server = Server::start(move |connection, request| {
            if ![request::SEND_MESSAGE_V2, request::SEND_BATCH_MESSAGE].contains(&request.code) {
                return Reply::Now(Command::error(response::REQUEST_CODE_NOT_SUPPORTED, "not scripted"));
            }
            let header = SendMessageRequest::read_v2(&request.ext).unwrap();
            let mut log = log.lock();
            log.push(Received { code: request.code, header: header.clone(), body: request.body.clone() });
            match *how.lock() {
                Behaviour::Store => Reply::Now(
                    Command::response(response::SUCCESS)
                        .with_ext("msgId", "7F00000100002A9F0000000000000001")
                        .with_ext("queueId", header.queue_id)
                        .with_ext("queueOffset", log.len() - 1)
                        .with_ext("MSG_REGION", "DefaultRegion"),
                ),
                Behaviour::Code(code) => Reply::Now(
                    Command::error(code, "as scripted")
                        .with_ext("msgId", "")
                        .with_ext("queueId", 0)
                        .with_ext("queueOffset", 0),
                ),
                Behaviour::Close => {
                    connection.close();
                    Reply::None
                }
                Behaviour::Hang => Reply::None,
            }
        });
        let server = server.await;
        Broker { address: server.address.clone(), received, behaviour, _server: server }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().clone()
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock() = behaviour;
    }
}
