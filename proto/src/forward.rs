//! The extra fields by which one Baton replica passes a client's request on to another (S10), and by which that one
//! says what has become of it. Java's brokers ignore them.

use crate::command::ExtFields;
use crate::header::{HeaderError, Member};
use crate::{BrokerId, Command, Epoch, Offset};
use std::net::SocketAddr;

const HEADER: &str = "forwarded request";
const FORWARDED_BY: &str = "batonForwardedBy";
const BORN_HOST: &str = "batonBornHost";
const MASTER_EPOCH: &str = "batonMasterEpoch";
const NOT_APPENDED: &str = "batonNotAppended";
const UNKNOWN: &str = "batonUnknown";

/// Makes a request one that has travelled: it is executed or refused, never passed on again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub by: BrokerId,
    /// The client, as the replica sees it that the client talks to.
    pub born_host: SocketAddr,
    /// The request is executed at this epoch or not at all. So that the log at the end of the epoch tells whether it
    /// was.
    pub epoch: Epoch,
}

impl Mark {
    /// `None`: the request comes from a client.
    pub fn read(ext: &ExtFields) -> Result<Option<Mark>, HeaderError> {
        if !ext.contains_key(FORWARDED_BY) {
            return Ok(None);
        }
        let born_host: String = Member::get(ext, HEADER, BORN_HOST)?;
        let born_host = born_host.parse().map_err(|_| HeaderError::IllTyped {
            header: HEADER,
            field: BORN_HOST,
            value: born_host,
            want: "host:port",
        })?;
        Ok(Some(Mark {
            by: Member::get(ext, HEADER, FORWARDED_BY)?,
            born_host,
            epoch: Member::get(ext, HEADER, MASTER_EPOCH)?,
        }))
    }

    pub fn write(&self, ext: &mut ExtFields) {
        self.by.put(ext, FORWARDED_BY);
        self.born_host.to_string().put(ext, BORN_HOST);
        self.epoch.put(ext, MASTER_EPOCH);
    }
}

/// What an answer says about a request that was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Not executed, and it will not be: another replica may take it.
    NotAppended,
    /// Appended as the bytes below `end` of the mastership of `epoch`, which was over before they were confirmed:
    /// whether they survive is for the next master's log to say. The other fields are those of an answer that they do.
    Unknown { epoch: Epoch, end: Offset },
}

impl Fate {
    pub fn read(answer: &Command) -> Option<Fate> {
        if answer.ext.get(NOT_APPENDED).is_some_and(|it| it == "true") {
            return Some(Fate::NotAppended);
        }
        let (epoch, end) = answer.ext.get(UNKNOWN)?.split_once(':')?;
        Some(Fate::Unknown { epoch: epoch.parse().ok()?, end: end.parse().ok()? })
    }

    pub fn write(self, answer: Command) -> Command {
        match self {
            Fate::NotAppended => answer.with_ext(NOT_APPENDED, true),
            Fate::Unknown { epoch, end } => answer.with_ext(UNKNOWN, format!("{epoch}:{end}")),
        }
    }

    /// Clients are not told; to them it is an answer like any other.
    pub fn erase(answer: &mut Command) {
        answer.ext.remove(NOT_APPENDED);
        answer.ext.remove(UNKNOWN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_the_wire() {
        let mark = Mark { by: 3, born_host: SocketAddr::from(([10, 0, 0, 7], 50_123)), epoch: 12 };
        let mut ext = ExtFields::new();
        assert_eq!(Mark::read(&ext), Ok(None));
        mark.write(&mut ext);
        assert_eq!(ext.get("batonBornHost").map(String::as_str), Some("10.0.0.7:50123"));
        assert_eq!(Mark::read(&ext), Ok(Some(mark)));
    }

    #[test]
    fn a_mark_that_lacks_something_is_refused_instead_of_being_taken_for_a_clients() {
        for (field, value) in [(BORN_HOST, None), (BORN_HOST, Some("nowhere")), (MASTER_EPOCH, Some("x"))] {
            let mut ext = ExtFields::new();
            Mark { by: 3, born_host: SocketAddr::from(([10, 0, 0, 7], 1)), epoch: 12 }.write(&mut ext);
            match value {
                Some(value) => ext.insert(field.to_owned(), value.to_owned()),
                None => ext.remove(field),
            };
            assert!(Mark::read(&ext).is_err(), "{field} {value:?}");
        }
    }

    #[test]
    fn fates_survive_the_wire_and_are_kept_from_clients() {
        for fate in [Fate::NotAppended, Fate::Unknown { epoch: 4, end: 1 << 40 }] {
            let mut answer = fate.write(Command::response(14));
            assert_eq!(Fate::read(&answer), Some(fate));
            Fate::erase(&mut answer);
            assert_eq!((Fate::read(&answer), answer), (None, Command::response(14)));
        }
        for garbage in ["", "4", "4:", ":9", "x:9", "4:9:2"] {
            assert_eq!(Fate::read(&Command::response(14).with_ext(UNKNOWN, garbage)), None, "{garbage}");
        }
    }
}
