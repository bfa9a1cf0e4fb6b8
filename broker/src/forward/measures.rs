//! What is counted of requests that were passed on.

use super::lanes::Refused;
use node::metrics::{Counters, Registry, as_micros, micros};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use std::time::Duration;

#[derive(Debug)]
pub struct Measures {
    forwarded: Counter,
    refused: Counters,
    resolved: Counters,
    hop: Histogram,
}

impl Measures {
    pub fn new(registry: &mut Registry) -> Measures {
        let it = Measures {
            forwarded: Counter::default(),
            refused: Counters::default(),
            resolved: Counters::default(),
            hop: micros(),
        };
        registry.register("baton_forwarded", "Requests sent on to the master", it.forwarded.clone());
        let help = "Requests for the master that were refused instead";
        registry.register("baton_forward_refused", help, it.refused.clone());
        let help = "Sends whose answer was lost with a master, by what the next one's log says of them";
        registry.register("baton_forward_resolved", help, it.resolved.clone());
        let help = "From sending a request on to the master's answer";
        registry.register("baton_forward_hop_microseconds", help, it.hop.clone());
        // Shown from the start, so that the first one is seen as a rise.
        for why in [Refused::Full, Refused::Late, Refused::NotMaster, Refused::Unknown, Refused::Leaving] {
            drop(it.refused.get_or_create(&reason(why)));
        }
        for found in [true, false] {
            drop(it.resolved.get_or_create(&outcome(found)));
        }
        it
    }

    pub fn sent(&self) {
        self.forwarded.inc();
    }

    pub fn answered(&self, took: Duration) {
        self.hop.observe(as_micros(took));
    }

    pub fn refused(&self, why: Refused) {
        self.refused.get_or_create(&reason(why)).inc();
    }

    pub fn resolved(&self, found: bool) {
        self.resolved.get_or_create(&outcome(found)).inc();
    }
}

fn reason(why: Refused) -> Vec<(&'static str, String)> {
    let reason = match why {
        Refused::Full => "full",
        Refused::Late => "no_master",
        Refused::NotMaster => "not_master",
        Refused::Unknown => "unknown",
        Refused::Leaving => "stopping",
    };
    vec![("reason", reason.to_owned())]
}

fn outcome(found: bool) -> Vec<(&'static str, String)> {
    vec![("outcome", if found { "found" } else { "absent" }.to_owned())]
}
