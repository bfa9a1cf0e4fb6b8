//! Real stores, real sockets, a controller of thirty lines: replication, failover, divergence, role switches both ways,
//! and the bytes a Java slave would send.

mod cluster;
mod identity;

use cluster::*;
use ha::{Ack, Awaited, Role};
use proto::code::request;
use proto::ha::{MasterPacket, SlaveHandshake, SlaveKind, encode_ack};
use proto::{Decoded, Offset};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_messages_reach_every_member_before_they_are_acknowledged() {
    let controller = FakeController::start().await;
    let a = Broker::start(&controller, "a").await;
    let b = Broker::start(&controller, "b").await;
    let (a_id, b_id) = (a.id().await, b.id().await);
    let (master, slave) = if a.is_master() { (&a, &b) } else { (&b, &a) };
    wait("both are in the set", || controller.set() == BTreeSet::from([a_id, b_id])).await;
    let mut acks = Vec::new();
    for i in 0..10_000 {
        let (end, ack) = master.send(&format!("message {i}"));
        acks.push((end, tokio::spawn(ack)));
    }
    for (end, ack) in acks {
        assert_eq!(ack.await.unwrap(), Ack::Acknowledged);
        assert!(slave.store.max_offset() >= end, "acknowledged before the slave had it");
    }
    assert_eq!(bytes(&master.store), bytes(&slave.store));
    wait("the slave shows it to consumers, too", || slave.store.confirm_offset() == master.store.max_offset()).await;
    assert_eq!(master.replication.status().in_sync_slaves, 1);
    for it in [a, b] {
        it.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_diverged_tail_is_cut_at_the_right_byte_and_roles_switch_both_ways() {
    let controller = FakeController::start().await;
    let a = Broker::start(&controller, "a").await;
    wait("a leads", || a.is_master()).await;
    let b = Broker::start(&controller, "b").await;
    let (a_id, b_id) = (a.id().await, b.id().await);
    wait("both are in the set", || controller.set() == BTreeSet::from([a_id, b_id])).await;
    let (agreed, ack) = a.send("everyone has this");
    assert_eq!(ack.await, Ack::Acknowledged);

    // The slave is elsewhere; what the master writes now cannot be acknowledged (S3), and nobody else has it.
    controller.refuse_alterations(true);
    b.stop().await;
    let (_, unacknowledged) = a.send("only a has this, and nobody was told that it is safe");
    let unacknowledged = tokio::spawn(unacknowledged);
    wait("it is appended", || a.store.max_offset() > agreed).await;
    a.stop().await;
    assert_eq!(unacknowledged.await.unwrap(), Ack::Deposed);

    controller.refuse_alterations(false);
    let b = Broker::start(&controller, "b").await;
    controller.elect(b_id, [b_id]);
    wait("b leads", || b.is_master()).await;
    let (_, ack) = b.send("b wrote this at the same place");
    assert_eq!(ack.await, Ack::Acknowledged);

    let a = Broker::start(&controller, "a").await;
    wait("a is back in the set", || controller.set() == BTreeSet::from([a_id, b_id])).await;
    assert_eq!(bytes(&a.store), bytes(&b.store));
    let tails = a.store.truncated_tails();
    assert_eq!(tails.iter().map(|it| it.from).collect::<Vec<_>>(), [agreed], "{tails:?}");
    assert_eq!(a.replication.epochs(), b.replication.epochs());

    // And back again, in place: b steps down without a restart.
    controller.elect(a_id, [a_id, b_id]);
    controller.notify(&[&a, &b]);
    wait("a leads again", || a.is_master() && b.is_slave()).await;
    let (_, ack) = a.send("after the switch");
    assert_eq!(ack.await, Ack::Acknowledged);
    assert_eq!(bytes(&a.store), bytes(&b.store));
    assert!(b.replication.admit().is_err(), "a slave admits no write");
    for it in [a, b] {
        it.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_master_at_a_new_epoch_goes_on_and_its_slave_learns_the_epoch() {
    let controller = FakeController::start().await;
    let a = Broker::start(&controller, "a").await;
    wait("a leads", || a.is_master()).await;
    let b = Broker::start(&controller, "b").await;
    let (a_id, b_id) = (a.id().await, b.id().await);
    wait("both are in the set", || controller.set() == BTreeSet::from([a_id, b_id])).await;
    let before = a.replication.admit().unwrap();
    controller.elect(a_id, [a_id, b_id]);
    controller.notify(&[&a, &b]);
    wait("b has the new epoch", || b.replication.epochs().len() == 2).await;
    assert_eq!(a.replication.admit().unwrap().term, before.term, "the mastership was not interrupted");
    let (_, ack) = a.send("at the new epoch");
    assert_eq!(ack.await, Ack::Acknowledged);
    for it in [a, b] {
        it.stop().await;
    }
}

/// S13: its log alone does not make a Baton slave a successor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slave_joins_the_set_only_when_it_has_the_metadata_of_this_mastership() {
    let controller = FakeController::start().await;
    let a = Broker::start(&controller, "a").await;
    wait("a leads", || a.is_master()).await;
    a.finds_metadata_complete.store(false, Ordering::Relaxed);
    let (end, ack) = a.send("before the slave");
    assert_eq!(ack.await, Ack::Acknowledged);
    let b = Broker::start(&controller, "b").await;
    let id = b.id().await;
    wait("b has the whole log", || a.replication.status().slaves.iter().any(|it| it.ack_offset == end)).await;
    // What it confirmed to an earlier mastership does not count.
    a.replication.set_metadata_synced(0, id, true);
    let (end, ack) = a.send("while the slave lacks the topics");
    assert_eq!(ack.await, Ack::Acknowledged);
    wait("b follows", || a.replication.status().slaves.iter().any(|it| it.ack_offset == end)).await;
    assert_eq!(controller.set().len(), 1, "a slave without the topics has joined");
    a.finds_metadata_complete.store(true, Ordering::Relaxed);
    wait("b joins", || controller.set().contains(&id)).await;
    for it in [a, b] {
        it.stop().await;
    }
}

/// S13, as S3: the controllers may have taken it in, and may elect it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slave_that_was_proposed_counts_for_topics_before_anybody_knows_the_outcome() {
    let controller = FakeController::start().await;
    let a = Broker::start(&controller, "a").await;
    wait("a leads", || a.is_master()).await;
    let epoch = a.replication.state().borrow().master_epoch;
    let mut awaited = a.replication.awaited();
    let set = |it: &Option<Awaited>| match it {
        Some(Awaited::Set(set)) => Some(set.clone()),
        Some(Awaited::Nobody) | None => None,
    };
    assert!(set(&awaited.borrow()).is_some_and(|it| it.epoch == epoch && it.others.is_empty()));
    controller.fail(Some(request::CONTROLLER_ALTER_SYNC_STATE_SET));
    let b = Broker::start(&controller, "b").await;
    let id = b.id().await;
    let counts = |it: &Option<Awaited>| set(it).is_some_and(|it| it.others.get(&id) == Some(&Some(SlaveKind::Baton)));
    let proposed = told("b is proposed", &mut awaited, counts).await;
    assert_eq!((controller.set().len(), set(&proposed).map(|it| it.committed)), (1, Some(1)), "and no member yet");
    controller.elect(id, [id]);
    controller.notify(&[&a, &b]);
    told("a is deposed", &mut awaited, Option::is_none).await;
    for it in [a, b] {
        it.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_java_slave_is_served_by_the_bytes_of_the_protocol() {
    let controller = FakeController::start().await;
    let a = Broker::start(&controller, "a").await;
    wait("a leads", || a.is_master()).await;
    for i in 0..100 {
        let _unawaited = a.send(&format!("message {i}"));
    }
    let mut java = tokio::net::TcpStream::connect(a.replication.ha_address()).await.unwrap();
    let handshake = SlaveHandshake { sync_from_last_file: false, kind: SlaveKind::Learner, slave: 9 }.encode();
    for byte in handshake.chunks(5) {
        java.write_all(byte).await.unwrap(); // split as TCP may
    }
    let mut buf = Vec::new();
    let entries = loop {
        match MasterPacket::decode(&buf).unwrap() {
            Decoded::Complete(MasterPacket::Handshake(it), used) => {
                buf.drain(..used);
                break it.entries;
            }
            Decoded::Complete(other, _) => panic!("{other:?}"),
            Decoded::NeedMore(_) => assert!(java.read_buf(&mut buf).await.unwrap() > 0),
        }
    };
    assert_eq!((entries.len(), entries[0].epoch, entries[0].start), (1, 1, 0));
    java.write_all(&encode_ack(0)).await.unwrap();
    let mut log: Vec<u8> = Vec::new();
    while (log.len() as Offset) < a.store.max_offset() {
        match MasterPacket::decode(&buf).unwrap() {
            Decoded::Complete(MasterPacket::Transfer(it), used) if buf.len() >= used + it.body_size => {
                assert_eq!((it.epoch, it.epoch_start), (1, 0));
                if it.body_size > 0 {
                    assert_eq!(it.offset, log.len() as Offset);
                }
                log.extend_from_slice(&buf[used..used + it.body_size]);
                buf.drain(..used + it.body_size);
            }
            _ => assert!(java.read_buf(&mut buf).await.unwrap() > 0),
        }
    }
    assert_eq!(log, bytes(&a.store));
    assert_eq!(controller.set().len(), 1, "a learner never joins the set");

    // More than there is: a liar, or random bytes. The connection ends.
    java.write_all(&encode_ack(i64::MAX)).await.unwrap();
    let mut rest = [0; 4096];
    while java.read(&mut rest).await.is_ok_and(|it| it > 0) {}
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_controllers_a_broker_is_a_master_on_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::alone(folder.path()).await;
    assert_eq!(broker.replication.state().borrow().role, Role::Master);
    let (_, ack) = broker.send("at once");
    assert_eq!(ack.await, Ack::Acknowledged);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_brokers_directory_stops_the_start() {
    let controller = FakeController::start().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("brokerIdentity"), "c#another#1").unwrap();
    let err = Broker::try_start(&controller.address, folder.path()).await.err().unwrap().to_string();
    assert!(err.contains("replica 1 of c/another"), "{err}");
}
