//! Java's own clients, every setting at its default, that live through all of it beside ours.

use baton_tests::Cluster;
use baton_tests::application::{Application, stored};
use baton_tests::java::Java;

pub const PRODUCERS: [&str; 3] = ["sync", "ordered", "async"];
const CONSUMERS: [&str; 3] = ["push", "orderly", "lite"];
/// Of the consumers' topic: one of the producers', so that its numbers can be held against theirs.
const CONSUMED: &str = "sync";
const QUEUES: i32 = 4;
/// Messages a second and thread: enough to be there at every moment, little enough for two cores.
const RATE: u32 = 10;

pub struct Applications {
    producers: Application,
    consumers: Application,
    // Last: its folder goes when the processes are gone.
    _java: Java,
}

impl Applications {
    #[track_caller]
    pub fn start(java: Java, cluster: &Cluster) -> Applications {
        for topic in PRODUCERS {
            cluster.create_topic_everywhere(topic, QUEUES);
        }
        let nameservers = cluster.nameserver_list();
        let mut producers = Application::produces(&java, &nameservers, RATE, &PRODUCERS);
        let mut consumers = Application::consumes(&java, &nameservers, CONSUMED, &CONSUMERS);
        producers.wait_undisturbed();
        consumers.wait_undisturbed();
        Applications { producers, consumers, _java: java }
    }

    /// What each went through, a line each, and what should not have been.
    #[track_caller]
    pub fn judge(mut self, cluster: &Cluster) -> (Vec<String>, Vec<String>) {
        let (mut said, mut wrong) = (Vec::new(), Vec::new());
        // The whole time of the faults, and then until they get on.
        let mut periods = self.producers.mark();
        periods.extend(self.consumers.mark());
        let (Ok(later) | Err(later)) = self.producers.undisturbed().inspect_err(|whole| {
            wrong.push(format!("Java's producers do not get on: {whole:?}"));
        });
        for (mode, later) in later {
            periods.entry(mode).or_default().add(later);
        }
        let acknowledged = self.producers.stop();
        let master = &cluster.brokers[cluster.wait_master()].address;
        for mode in PRODUCERS {
            let (stored, acknowledged) = (stored(master, mode, QUEUES), &acknowledged[mode]);
            let lost: Vec<_> = acknowledged.difference(&stored.numbers).take(10).collect();
            if !lost.is_empty() {
                wrong.push(format!("Java's {mode} producer: acknowledged and not stored: {lost:?} and maybe more"));
            }
            // Others send again to another queue what they did not hear of.
            let out_of_order = stored.out_of_order_among(acknowledged);
            if mode == "ordered" && out_of_order > 0 {
                wrong.push(format!("Java's {mode} producer: {out_of_order} stored out of order"));
            }
            if mode == CONSUMED && !self.consumers.reaches(stored.numbers.len() as u64) {
                wrong.push(format!("Java's consumers do not get all {} that are stored", stored.numbers.len()));
            }
            let (period, twice) = (&periods[mode], stored.repeated);
            said.push(format!(
                "Java's {mode} producer: {} acknowledged, {} failed, {twice} stored twice, {:.1?} at most without one",
                acknowledged.len(),
                period.failed,
                period.longest_gap
            ));
        }
        for (mode, later) in self.consumers.mark() {
            periods.entry(mode).or_default().add(later);
        }
        let received = self.consumers.stop();
        for mode in CONSUMERS {
            let missed: Vec<_> = acknowledged[CONSUMED].difference(&received[mode]).take(10).collect();
            if !missed.is_empty() {
                wrong.push(format!("Java's {mode} consumer: acknowledged and not received: {missed:?} and maybe more"));
            }
            if periods[mode].skipped > 0 {
                wrong.push(format!("Java's {mode} consumer: {} came before earlier ones", periods[mode].skipped));
            }
            said.push(format!("Java's {mode} consumer: {} received", received[mode].len()));
        }
        (said, wrong)
    }
}
