//! A replica that is not the master passes a client's write on to the master, and the answer back (S10).
//!
//! Java's clients ask for their routes each 30 s only: after a switchover or a crash they go on writing to the old
//! master's address, which is by then a slave's. Here is the door through which such requests enter; [`lanes`] decides
//! where each of them goes, [`driver`] carries it out, [`trace`] finds out what became of those whose answer was lost.

mod driver;
mod kind;
mod lanes;
mod link;
mod measures;
mod search;
mod trace;

pub use driver::run;
pub use kind::Nature;
pub use measures::Measures;

use crate::broker::Broker;
use crate::rpc::{marked, refuse};
use crate::unique_key;
use ha::{Refusal, Role};
use kind::nature;
use lanes::{Lane, Refused, Standing, Ticket};
use node::remoting::{Connection, Reply};
use parking_lot::Mutex;
use proto::code::response;
use proto::forward::{Fate, Mark};
use proto::header::UpdateConsumerOffsetRequest;
use proto::{Command, Epoch, Offset, properties};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Requests on their way to the driver, which takes all there are at once. What it may keep is bounded
/// by the configuration.
const ENTRANCE: usize = 4096;
/// The lane of what this replica sends by itself.
const OWN_LANE: Lane = 0;

/// Where requests wait that this replica cannot answer itself.
pub struct Forward {
    tickets: AtomicU64,
    entrance: mpsc::Sender<Entry>,
    /// Taken by the driver.
    exit: Mutex<Option<mpsc::Receiver<Entry>>>,
    waiting: Arc<Waiting>,
}

/// How many requests of each connection have entered and are not answered.
#[derive(Default)]
struct Waiting {
    all: AtomicUsize,
    lanes: Mutex<BTreeMap<Lane, usize>>,
}

/// Counts one request for as long as it lives.
struct Place {
    waiting: Arc<Waiting>,
    lane: Lane,
}

impl Place {
    fn take(waiting: &Arc<Waiting>, lane: Lane) -> Place {
        waiting.all.fetch_add(1, Ordering::AcqRel);
        *waiting.lanes.lock().entry(lane).or_default() += 1;
        Place { waiting: waiting.clone(), lane }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lanes = self.waiting.lanes.lock();
        if let Some(count) = lanes.get_mut(&self.lane) {
            *count -= 1;
            if *count == 0 {
                lanes.remove(&self.lane);
            }
        }
        self.waiting.all.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Dropped when a request that is executed here has taken its place in the log, or has none: those of its connection
/// that wait behind it go on.
pub struct Turn {
    _ends: oneshot::Sender<()>,
}

/// Held by a send that was appended and waits for its acknowledgement: what its connection asks meanwhile is not sent
/// elsewhere before it is known whether this one has to be, too.
pub struct Unsettled(Arc<Connection>);

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.0.unsettled.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A request, and whence it came.
pub struct Origin {
    ticket: Ticket,
    connection: Arc<Connection>,
    pub command: Command,
    /// `None`: a client's own.
    pub mark: Option<Mark>,
    /// `None`: it has not waited for its turn; nothing is behind it yet.
    turn: Option<Turn>,
}

impl Origin {
    pub fn new(
        broker: &Broker,
        connection: &Arc<Connection>,
        command: Command,
        turn: Option<Turn>,
    ) -> Result<Origin, Command> {
        let mark = mark(&command)?;
        Ok(Origin { ticket: broker.forward.ticket(), connection: connection.clone(), command, mark, turn })
    }

    /// Whether those behind it wait until it is done.
    pub fn has_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// It has its place.
    pub fn appended(&mut self) -> Unsettled {
        self.turn = None;
        self.connection.unsettled.fetch_add(1, Ordering::AcqRel);
        Unsettled(self.connection.clone())
    }

    /// Of the message, not of the connection.
    pub fn born_host(&self) -> SocketAddr {
        self.mark.map_or(self.connection.peer, |it| it.born_host)
    }
}

/// What the driver is given.
struct Entry {
    place: Place,
    ticket: Ticket,
    command: Command,
    nature: Nature,
    mark: Option<Mark>,
    /// `None`: this replica itself wants it done, and no answer.
    asker: Option<(Arc<Connection>, oneshot::Sender<Command>)>,
    /// Appended here at the end of a mastership: what to answer if it survives.
    deposed: Option<Deposed>,
    /// When it entered, earlier ones of its connection were unsettled: they may come yet.
    early: bool,
}

struct Deposed {
    answer: Command,
    epoch: Epoch,
    end: Offset,
}

/// Who deals with a request.
pub enum Road {
    Here,
    /// Answered by [`Forward`].
    Elsewhere(Nature),
}

impl Default for Forward {
    fn default() -> Forward {
        let (entrance, exit) = mpsc::channel(ENTRANCE);
        Forward { tickets: AtomicU64::new(1), entrance, exit: Mutex::new(Some(exit)), waiting: Arc::default() }
    }
}

impl Forward {
    pub fn ticket(&self) -> Ticket {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Requests that wait for an answer from elsewhere.
    pub fn count(&self) -> usize {
        self.waiting.all.load(Ordering::Acquire)
    }

    /// Whether nothing of this connection is before its next request.
    fn is_free(&self, lane: Lane) -> bool {
        self.count() == 0 || !self.waiting.lanes.lock().contains_key(&lane)
    }
}

/// Where a request goes. A request of a connection that has others waiting waits behind them.
pub fn road(broker: &Broker, connection: &Connection, command: &Command) -> Result<Road, Command> {
    let Some(nature) = nature(command.code) else { return Ok(Road::Here) };
    let mark = mark(command)?;
    let standing = standing(broker);
    let here = match (standing, mark) {
        (Standing::Here { epoch }, Some(mark)) => mark.epoch == epoch || nature == Nature::Repeatable,
        (Standing::Here { .. }, None) => true,
        // Nothing is appended, and the tables are still the master's.
        (Standing::Pausing { .. }, None) => nature == Nature::Repeatable,
        _ => false,
    };
    match here && (nature == Nature::Repeatable || broker.forward.is_free(connection.id)) {
        true => Ok(Road::Here),
        false => Ok(Road::Elsewhere(nature)),
    }
}

fn mark(command: &Command) -> Result<Option<Mark>, Command> {
    Mark::read(&command.ext).map_err(|error| refuse(response::SYSTEM_ERROR, error.to_string()))
}

/// What this replica is to a writer; that a master elsewhere can be reached is for the driver to know.
fn standing(broker: &Broker) -> Standing {
    let (epoch, is_master) = {
        let role = broker.role.borrow();
        (role.master_epoch, role.role == Role::Master)
    };
    let stopping = broker.stopping.load(Ordering::Acquire);
    match broker.replication.admit() {
        _ if !is_master => Standing::Nobody { epoch },
        _ if stopping => Standing::Leaving { epoch },
        Ok(_) | Err(Refusal::TooFewInSync(_)) => Standing::Here { epoch },
        Err(Refusal::NotMaster(_)) if broker.replication.is_held() => Standing::Pausing { epoch },
        Err(Refusal::NotMaster(_)) => Standing::Nobody { epoch },
    }
}

/// The request is answered by the master, whoever that will be, or refused.
pub fn enter(broker: &Arc<Broker>, origin: Origin, nature: Nature) -> Reply {
    pass(broker, origin, nature, None)
}

/// A send that may not be appended here: refused if it has travelled already.
pub fn elsewhere(broker: &Arc<Broker>, origin: Origin, refused: Command) -> Reply {
    match origin.mark {
        Some(_) => Reply::Now(Fate::NotAppended.write(refused)),
        None => enter(broker, origin, Nature::Send),
    }
}

/// A send whose bytes end at `end` of this replica's mastership of `epoch`, which is over: `answer` if they survive.
pub async fn deposed(
    broker: &Arc<Broker>,
    origin: Origin,
    unsettled: Unsettled,
    answer: Command,
    (epoch, end): (Epoch, Offset),
) -> Command {
    if origin.mark.is_some() {
        let remark =
            "service not available now: this replica stopped being the master before the message was confirmed";
        let answer = Command { code: response::SERVICE_NOT_AVAILABLE, remark: Some(remark.to_owned()), ..answer };
        return Fate::Unknown { epoch, end }.write(answer);
    }
    let reply = pass(broker, origin, Nature::Send, Some(Deposed { answer, epoch, end }));
    drop(unsettled);
    match reply {
        Reply::Now(answer) => answer,
        Reply::Later(answer) => answer.await,
        Reply::None => refusal(broker, Refused::Unknown),
    }
}

fn pass(broker: &Arc<Broker>, origin: Origin, nature: Nature, deposed: Option<Deposed>) -> Reply {
    let Origin { ticket, connection, mut command, mark, turn } = origin;
    drop(turn);
    if nature == Nature::Send {
        with_key(broker, &mut command);
    }
    let place = Place::take(&broker.forward.waiting, connection.id);
    let early = deposed.is_none() && connection.unsettled.load(Ordering::Acquire) > 0;
    let (answer, answered) = oneshot::channel();
    let asker = Some((connection, answer));
    let entry = Entry { place, ticket, command, nature, mark, asker, deposed, early };
    if let Err(error) = broker.forward.entrance.try_send(entry) {
        let why = match error {
            mpsc::error::TrySendError::Full(it) if it.deposed.is_some() => Refused::Unknown,
            mpsc::error::TrySendError::Full(_) => Refused::Full,
            mpsc::error::TrySendError::Closed(_) => Refused::Leaving,
        };
        broker.metrics.forward.refused(why);
        return Reply::Now(refusal(broker, why));
    }
    let broker = broker.clone();
    Reply::Later(Box::pin(async move {
        let mut answer = answered.await.unwrap_or_else(|_| refusal(&broker, Refused::Leaving));
        if mark.is_none() {
            Fate::erase(&mut answer);
        }
        answer
    }))
}

/// A consumer's progress that came with something else than a request of its own.
pub fn commit(broker: &Broker, progress: &UpdateConsumerOffsetRequest) {
    let command = Command::request(proto::code::request::UPDATE_CONSUMER_OFFSET).with_header(progress);
    let place = Place::take(&broker.forward.waiting, OWN_LANE);
    let ticket = broker.forward.ticket();
    let nature = Nature::Repeatable;
    let entry = Entry { place, ticket, command, nature, mark: None, asker: None, deposed: None, early: false };
    // The next one says the same and more.
    let _full = broker.forward.entrance.try_send(entry);
}

/// A message without a key gets one, as its master would give it one: only so it is known again in the log.
fn with_key(broker: &Broker, command: &mut Command) {
    let Some(mut header) = trace::send_header(command).filter(|it| it.batch != Some(true)) else { return };
    let properties = header.properties.get_or_insert_default();
    if properties::get(properties, properties::UNIQ_KEY).is_some() {
        return;
    }
    properties::push(properties, properties::UNIQ_KEY, &unique_key::next(broker.address.ip()));
    match command.code {
        proto::code::request::SEND_MESSAGE => header.write_v1(&mut command.ext),
        _ => header.write_v2(&mut command.ext),
    }
}

fn refusal(broker: &Broker, why: Refused) -> Command {
    let unavailable = |why: &str| refuse(response::SERVICE_NOT_AVAILABLE, format!("service not available now: {why}"));
    let answer = match why {
        Refused::Full => unavailable("too many requests wait for a new master"),
        Refused::Late => unavailable("no master was found in time"),
        Refused::NotMaster => Fate::NotAppended.write(unavailable("this replica is not the master, nor to pass it on")),
        Refused::Unknown => unavailable("the master was lost on the way; the message may have been stored"),
        Refused::Leaving => unavailable("this replica is stopping"),
    };
    marked(broker, answer)
}
