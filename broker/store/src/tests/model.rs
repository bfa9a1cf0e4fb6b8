//! Random appends, replication, truncations, confirmations and restarts against a model: a list of records.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    /// As master: so many messages to a queue, each with a body of so many bytes.
    Append {
        queue: i32,
        count: usize,
        size: usize,
    },
    /// As slave: what another store has appended after this one's end, handed over in pieces of so many bytes, all but
    /// the last `short`.
    Replicate {
        count: usize,
        piece: usize,
        short: usize,
    },
    /// To the end of this record (modulo), and so many bytes back.
    Truncate {
        record: usize,
        back: i64,
    },
    Confirm {
        record: usize,
    },
    /// With a clean end or as after SIGKILL.
    Reopen {
        clean: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    // One size most of the time: then stale bytes align with new records.
    let size = prop_oneof![4 => Just(100usize), 1 => 0..700usize];
    prop_oneof![
        4 => (0..3i32, 1..6usize, size).prop_map(|(queue, count, size)| Op::Append { queue, count, size }),
        3 => (1..6usize, 1..900usize, 0..150usize)
            .prop_map(|(count, piece, short)| Op::Replicate { count, piece, short }),
        2 => (0..60usize, prop_oneof![Just(0i64), 1..120i64]).prop_map(|(record, back)| Op::Truncate { record, back }),
        2 => (0..60usize).prop_map(|record| Op::Confirm { record }),
        2 => any::<bool>().prop_map(|clean| Op::Reopen { clean }),
    ]
}

struct Stored {
    queue: i32,
    body: String,
    end: i64,
}

struct Model {
    records: Vec<Stored>,
    /// Log end, which may be inside the record after the last.
    end: i64,
    generation: usize,
}

impl Model {
    fn body(&mut self, size: usize) -> String {
        self.generation += 1;
        format!("{:0>size$}", self.generation)
    }

    fn cut(&mut self, to: i64) {
        self.records.retain(|record| record.end <= to);
        self.end = to;
    }

    /// To the end of the last whole record: what sealing and recovery do. The rest of a file after it may have been cut
    /// too.
    fn seal(&mut self, end: i64) {
        let whole = self.records.last().map_or(0, |record| record.end);
        assert!(
            end >= whole && end <= self.end,
            "sealed at {end}, last whole record ends at {whole}, log at {}",
            self.end
        );
        self.end = end;
    }

    fn queue(&self, queue: i32, below: i64) -> Vec<String> {
        self.records.iter().filter(|r| r.queue == queue && r.end <= below).map(|r| r.body.clone()).collect()
    }
}

fn run(ops: Vec<Op>) {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let mut store = Store::open(replicated(dir.path())).unwrap().0;
    let mut model = Model { records: Vec::new(), end: 0, generation: 0 };
    let mut confirmed = 0;
    for op in ops {
        let trace = format!("{op:?}");
        match op {
            Op::Append { queue, count, size } => {
                model.seal(store.seal_tail().unwrap());
                confirmed = confirmed.min(model.end);
                store.open_writes(1);
                let batch: Vec<_> = (0..count).map(|_| message("T", queue, model.body(size))).collect();
                // Some as a batch, the others one by one.
                let appended = if size % 2 == 0 && count * size <= 2048 {
                    vec![store.append(&batch).unwrap()]
                } else {
                    batch.chunks(1).map(|m| store.append(m).unwrap()).collect()
                };
                store.close_writes("test");
                assert_eq!(appended[0].queue_offset, model.queue(queue, i64::MAX).len() as i64, "{trace}");
                let ends = appended.iter().flat_map(|a| a.offsets[1..].iter().copied().chain([a.end]));
                for (message, end) in batch.iter().zip(ends) {
                    model.records.push(Stored { queue, body: String::from_utf8(message.body.to_vec()).unwrap(), end });
                }
                model.end = store.max_offset();
            }
            Op::Replicate { count, piece, short } => {
                // A master that has what this slave has (a copy of its files), and then some.
                model.seal(store.seal_tail().unwrap());
                confirmed = confirmed.min(model.end);
                let copy = tempfile::tempdir_in(other.path()).unwrap();
                let ahead = Store::open(config(copy.path())).unwrap().0;
                let mut bytes = Vec::new();
                if model.end > 0 {
                    ahead.append_replicated(0, &log_bytes(&store)).unwrap();
                }
                ahead.seal_tail().unwrap();
                ahead.open_writes(2);
                let batch: Vec<_> = (0..count).map(|i| message("T", (i % 3) as i32, model.body(100))).collect();
                let from = model.end;
                for message in &batch {
                    let end = ahead.append(std::slice::from_ref(message)).unwrap().end;
                    model.records.push(Stored {
                        queue: message.queue_id,
                        body: String::from_utf8(message.body.to_vec()).unwrap(),
                        end,
                    });
                }
                while let Some(slice) = ahead.slice(from + bytes.len() as i64, usize::MAX) {
                    bytes.extend_from_slice(&slice);
                }
                bytes.truncate(bytes.len().saturating_sub(short));
                let mut at = from;
                for part in bytes.chunks(piece) {
                    at = store.append_replicated(at, part).unwrap();
                }
                assert_eq!(at, from + bytes.len() as i64, "{trace}");
                model.cut(at);
            }
            Op::Truncate { record, back } => {
                let Some(end) = model.records.get(record % model.records.len().max(1)).map(|r| r.end) else { continue };
                let to = (end - back).max(0);
                let tail = store.truncate(to, 1).unwrap();
                assert_eq!(tail.is_some(), to < model.end, "{trace}");
                model.cut(to.min(model.end));
                confirmed = confirmed.min(model.end);
            }
            Op::Confirm { record } => {
                let Some(end) = model.records.get(record % model.records.len().max(1)).map(|r| r.end) else { continue };
                confirmed = confirmed.max(end);
                store.set_confirm_offset(confirmed);
            }
            Op::Reopen { clean } => {
                wait_dispatched(&store);
                if clean {
                    store.shutdown().unwrap();
                }
                drop(store);
                let (opened, recovery) = Store::open(replicated(dir.path())).unwrap();
                store = opened;
                model.seal(recovery.max_offset);
                assert_eq!(recovery.unclean, !clean, "{trace}");
                confirmed = confirmed.min(model.end);
                assert!(
                    store.confirm_offset() <= confirmed,
                    "{trace}: {} confirmed, {confirmed} expected",
                    store.confirm_offset()
                );
                store.set_confirm_offset(confirmed);
            }
        }
        assert_eq!(store.max_offset(), model.end, "{trace}");
        for queue in 0..3 {
            let expected = model.queue(queue, confirmed);
            wait(&format!("queue {queue} has {} messages after {trace}", expected.len()), || {
                bodies(&store, "T", queue) == expected
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        max_shrink_iters: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_store_is_a_list_of_records(ops in proptest::collection::vec(op(), 1..25)) {
        run(ops);
    }
}
