//! Failover aliases at the broker: where a send goes that names one of this set's replicas instead of the set.
//!
//! All sends of one alias go to one queue, so that a selector that hashes over the route's queues keeps its order;
//! different aliases use different queues. Any replica of the set resolves any alias of it, whatever roles have become:
//! a producer keeps an alias for up to its next look at the route.

use crate::broker::Broker;
use crate::rpc::refuse;
use proto::code::response;
use proto::header::SendMessageRequest;
use proto::{BrokerId, Command, alias};

/// Makes a send that came through an alias of this set one to the set itself: broker name and queue are rewritten. Any
/// other send is left alone. Call it where a client's send enters, once, before it is appended or passed on.
///
/// The refusal is for a name of another set, under which this address must once have been registered; its code is one
/// with which clients try another broker.
pub(crate) fn resolve(broker: &Broker, header: &mut SendMessageRequest) -> Result<(), Command> {
    let own = &broker.config.broker_name;
    match target(own, header.broker_name.as_deref()) {
        Target::Set => {}
        Target::Alias(id) => {
            let queues = broker.metadata.settings().topics.config(&header.topic).map_or(0, |it| it.write_queue_nums);
            header.queue_id = queue(id, queues);
            header.broker_name = Some(own.clone());
        }
        Target::Foreign(name) => {
            let remark = format!("`{name}` is an alias of another broker set; this is a replica of `{own}`");
            return Err(refuse(response::SERVICE_NOT_AVAILABLE, remark));
        }
    }
    Ok(())
}

/// What a send's broker name means to a replica of a set.
#[derive(Debug, PartialEq, Eq)]
enum Target<'a> {
    /// The set itself, or whatever older clients send.
    Set,
    Alias(BrokerId),
    Foreign(&'a str),
}

fn target<'a>(own: &str, name: Option<&'a str>) -> Target<'a> {
    // A set's own name may look like an alias.
    let Some(name) = name.filter(|it| *it != own) else { return Target::Set };
    match alias::parse(name) {
        Some((set, id)) if set == own => Target::Alias(id),
        Some(_) => Target::Foreign(name),
        None => Target::Set,
    }
}

/// A topic without queues is refused later, by its name.
fn queue(id: BrokerId, queues: i32) -> i32 {
    let at = (id - 1).checked_rem_euclid(queues.max(0).into()).unwrap_or(0);
    i32::try_from(at).unwrap_or(0) // below `queues`
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_of_any_id_leads_to_the_set() {
        assert_eq!(target("a", Some("a@2")), Target::Alias(2));
        assert_eq!(target("a", Some("a@77")), Target::Alias(77));
        assert_eq!(target("a", Some("b@2")), Target::Foreign("b@2"));
        for plain in [None, Some("a"), Some("b"), Some(""), Some("a@"), Some("__syslo__a")] {
            assert_eq!(target("a", plain), Target::Set, "{plain:?}");
        }
    }

    #[test]
    fn a_set_that_is_named_like_an_alias_is_still_a_set() {
        assert_eq!(target("a@2", Some("a@2")), Target::Set);
        assert_eq!(target("a@2", Some("a@2@3")), Target::Alias(3));
        assert_eq!(target("a@2", Some("a@3")), Target::Foreign("a@3"));
    }

    #[test]
    fn each_alias_has_one_queue_and_different_ones_have_different_queues() {
        assert_eq!([1, 2, 3, 8, 9].map(|id| queue(id, 8)), [0, 1, 2, 7, 0]);
        assert_eq!([1, 2, 3].map(|id| queue(id, 1)), [0, 0, 0]);
        assert_eq!([queue(2, 0), queue(2, -4), queue(i64::MAX, i32::MAX)], [0, 0, 0]);
    }
}
