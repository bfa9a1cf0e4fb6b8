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
        it
    }

    pub fn sent(&self) {
        self.forwarded.inc();
    }

    pub fn answered(&self, took: Duration) {
        self.hop.observe(as_micros(took));
    }

    pub fn refused(&self, why: Refused) {
        let reason = match why {
            Refused::Full => "full",
            Refused::Late => "no_master",
            Refused::NotMaster => "not_master",
            Refused::Unknown => "unknown",
            Refused::Leaving => "stopping",
        };
        self.refused.get_or_create(&vec![("reason", reason.to_owned())]).inc();
    }

    pub fn resolved(&self, found: bool) {
        let outcome = if found { "found" } else { "absent" };
        self.resolved.get_or_create(&vec![("outcome", outcome.to_owned())]).inc();
    }
}
