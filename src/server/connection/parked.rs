//! Requests whose replies wait for the ledger, and slots, over a pipe in memory.

use std::future::Future;

use keygate_protocol::batch::{Batch, BatchWriter};
use keygate_protocol::hello::Hello;
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{
    ErrorReply, Flags, Increment, IncrementOutcome, Opcode, RenewOutcome, SlotRenew, ValidateFlags,
    Verdict, VerdictCode, frame, opcode,
};
use tokio::io::{DuplexStream, duplex};

use super::super::admit::tests::{gate, trusted};
use super::super::deferred::tests::ByHand;
use super::super::dispatch::tests::engine;
use super::super::watch::Roster;
use super::*;
use crate::clock::ManualClock;
use crate::engine::Account;
use crate::key::KeyRecord;

mod signed;

const START_US: i64 = 1_800_000_000_000_000;
const SLOT_TTL_US: u32 = 60_000_000;

struct Bench {
    shared: Shared,
    clock: Arc<ManualClock>,
    ledger: Arc<ByHand>,
    roster: Roster,
}

impl Bench {
    /// An engine with three keys: 1 has a lifetime of 1000, no unit of which is leased; 2 has
    /// nothing; 3 has a day of 1000, a part of which is leased from the start, and two slots.
    fn new(limits: Limits) -> Self {
        let clock = Arc::new(ManualClock::new(START_US));
        let (engine, ledger) = (Arc::new(engine()), Arc::new(ByHand::default()));
        for record in [
            KeyRecord { id: 1, max_uses: Some(1000), ..KeyRecord::default() },
            KeyRecord { id: 2, ..KeyRecord::default() },
            KeyRecord {
                id: 3,
                requests_per_day: Some(1000),
                concurrent_requests: Some(2),
                ..KeyRecord::default()
            },
        ] {
            let key_hash = Some(engine.pepper().seal_token(token(record.id).as_bytes()));
            engine.put(&KeyRecord { key_hash, ..record }, clock.now()).expect("room");
        }
        let shared = Shared {
            engine,
            clock: Arc::<ManualClock>::clone(&clock),
            limits,
            answers: RefCell::default(),
            desk: Desk::new(Arc::<ByHand>::clone(&ledger)),
            observer: crate::server::observe::Observers::default().add(),
            gate: gate(""),
        };
        Self { shared, clock, ledger, roster: Roster::default() }
    }

    /// Serves a connection while a peer does something with it; how it ended.
    async fn with<F: Future<Output = ()>>(&self, peer: impl FnOnce(Peer) -> F) -> End {
        let (near, far) = duplex(1 << 16);
        let watch = self.roster.enter(self.shared.clock.now());
        let peer = peer(Peer { stream: near, input: BytesMut::new() });
        let login = trusted();
        let (end, ()) = tokio::join!(serve(far, &login, &self.shared, &watch), peer);
        end
    }

    fn debit(&self) {
        self.ledger.debit_one(&self.shared.engine, self.clock.now());
    }

    /// Waits until so many requests wait for the ledger.
    async fn until_waiting(&self, count: usize) {
        while self.ledger.waiting() != count {
            tokio::task::yield_now().await;
        }
    }

    fn spent(&self, id: u64) -> u64 {
        let figures = self.shared.engine.limit_figures(&Account::Key(id), self.clock.now());
        figures.first().expect("one limit").spent
    }
}

fn token(id: u64) -> String {
    format!("token-{id}")
}

struct Peer {
    stream: DuplexStream,
    input: BytesMut,
}

impl Peer {
    async fn send(&mut self, opcode: Opcode, correlation: u32, write: impl FnOnce(&mut BytesMut)) {
        let mut out = BytesMut::new();
        frame::encode(&mut out, opcode.byte(), Flags::NONE, correlation, write);
        self.stream.write_all(&out).await.expect("sent");
    }

    async fn ask(&mut self, correlation: u32, key: u64) {
        self.ask_with(correlation, key, ValidateFlags::default()).await;
    }

    async fn ask_with(&mut self, correlation: u32, key: u64, flags: ValidateFlags) {
        self.send(Opcode::Validate, correlation, |out| question(out, key, flags)).await;
    }

    /// Opcode, correlation and payload of the next reply; `None` at the end of the connection.
    async fn next(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        loop {
            if let Some((reply, taken)) = frame::decode(&self.input, 1 << 20).expect("frames") {
                let header = reply.header;
                let reply = (header.opcode, header.correlation, reply.payload.to_vec());
                self.input.advance(taken);
                return Some(reply);
            }
            if self.stream.read_buf(&mut self.input).await.expect("received") == 0 {
                return None;
            }
        }
    }

    async fn verdict(&mut self) -> (u32, Verdict) {
        let (opcode, correlation, payload) = self.next().await.expect("a reply");
        assert_eq!(opcode, Opcode::Validate.reply());
        (correlation, Verdict::decode(&payload).expect("a verdict").0)
    }

    async fn pong(&mut self) -> u32 {
        let (opcode, correlation, _) = self.next().await.expect("a reply");
        assert_eq!(opcode, Opcode::Ping.reply());
        correlation
    }

    async fn closing_error(&mut self) -> Option<ErrorCode> {
        let (opcode, _, payload) = self.next().await.expect("a reply");
        assert_eq!(opcode, opcode::ERROR);
        assert_eq!(self.next().await, None, "the error is the last frame");
        ErrorReply::decode(&payload).expect("an error").code
    }
}

fn question(out: &mut BytesMut, key: u64, flags: ValidateFlags) {
    ValidateWriter::new(out, flags, 1, token(key).as_bytes());
}

#[tokio::test]
async fn replies_to_others_overtake_one_that_waits_for_the_ledger() {
    let bench = &Bench::new(Limits::default());
    let end = bench.with(|mut peer| async move {
        peer.ask(1, 1).await;
        peer.ask(2, 2).await;
        peer.send(Opcode::Ping, 3, |_| {}).await;
        assert_eq!(peer.verdict().await.0, 2);
        assert_eq!(peer.pong().await, 3);
        assert_eq!((bench.ledger.waiting(), bench.shared.desk.parked()), (1, 1));
        bench.debit();
        let (correlation, verdict) = peer.verdict().await;
        assert_eq!((correlation, verdict.code), (1, VerdictCode::Valid));
        assert_eq!((bench.spent(1), bench.shared.desk.parked()), (1, 0));
    });
    assert_eq!(end.await, End::PeerClosed);
}

#[tokio::test]
async fn what_is_dry_again_waits_again_and_keeps_its_place() {
    let bench = &Bench::new(Limits::default());
    let end = bench.with(|mut peer| async move {
        peer.ask(1, 1).await;
        peer.ask(2, 1).await;
        bench.until_waiting(2).await;
        bench.ledger.call_all();
        bench.until_waiting(2).await;
        assert_eq!(bench.spent(1), 0);
        bench.debit();
        bench.ledger.call_all();
        assert_eq!(peer.verdict().await.0, 1);
        assert_eq!(peer.verdict().await.0, 2);
        assert_eq!(bench.spent(1), 2);
    });
    assert_eq!(end.await, End::PeerClosed);
}

#[tokio::test]
async fn no_more_requests_are_parked_than_may_be_and_the_rest_is_read_later() {
    for (limits, parked_max) in [
        (Limits { deferred_max: 2, ..Limits::default() }, 2),
        (Limits { deferred_max: 40, ..Limits::default() }, 40),
    ] {
        let bench = &Bench::new(limits);
        let end = bench.with(|mut peer| async move {
            for correlation in 1..=100 {
                peer.ask(correlation, 1).await;
            }
            peer.send(Opcode::Ping, 101, |_| {}).await;
            bench.until_waiting(parked_max).await;
            let mut answered = Vec::new();
            while answered.len() < 101 {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                    assert!(bench.shared.desk.parked() <= parked_max);
                }
                if bench.ledger.waiting() > 0 {
                    bench.debit();
                }
                answered.push(peer.next().await.expect("a reply").1);
            }
            let pong = answered.iter().position(|correlation| *correlation == 101);
            assert!(pong >= Some(100 - parked_max), "it is read when there is room: {pong:?}");
            answered.sort_unstable();
            assert_eq!(answered, (1..=101).collect::<Vec<_>>());
            assert_eq!(bench.spent(1), 100);
        });
        assert_eq!(end.await, End::PeerClosed);
    }
}

#[tokio::test]
async fn many_that_were_debited_are_answered_as_fast_as_their_replies_are_read() {
    // Details do not pile up beyond what may wait to be written.
    let bench = &Bench::new(Limits { reply_bytes_max: 4096, ..Limits::default() });
    let end = bench.with(|mut peer| async move {
        for correlation in 1..=10 {
            peer.ask_with(correlation, 1, ValidateFlags::DETAILS).await;
        }
        bench.until_waiting(10).await;
        bench.debit();
        bench.ledger.call_all();
        for correlation in 1..=10 {
            assert_eq!(peer.verdict().await.0, correlation);
        }
    });
    assert_eq!(end.await, End::PeerClosed);
}

#[tokio::test]
async fn a_stop_an_error_that_closes_and_a_half_closed_peer_wait_for_what_was_read() {
    for how in ["stop", "no frame", "half", "too late"] {
        let limits = Limits { frame_timeout_ms: 100, ..Limits::default() };
        let bench = &Bench::new(limits);
        let end = bench.with(|mut peer| async move {
            peer.ask(1, 1).await;
            bench.until_waiting(1).await;
            match how {
                "stop" => bench.roster.stop(),
                "half" => peer.stream.shutdown().await.expect("shut down"),
                "too late" => {
                    peer.stream.write_all(&[9]).await.expect("sent");
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                    bench.clock.advance_us(1_000_000);
                    bench.roster.tick(&bench.shared.limits, bench.clock.now());
                }
                _ => peer.stream.write_all(&[0xFF; 64]).await.expect("sent"),
            }
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            bench.debit();
            assert_eq!(peer.verdict().await.1.code, VerdictCode::Valid, "{how}");
            match how {
                "stop" => assert_eq!(peer.closing_error().await, Some(ErrorCode::Stopping)),
                "too late" => assert_eq!(peer.closing_error().await, Some(ErrorCode::TimedOut)),
                "half" => assert_eq!(peer.next().await, None),
                _ => assert_eq!(peer.closing_error().await, Some(ErrorCode::BadFrame)),
            }
        });
        let expected = match how {
            "stop" => End::Stopped,
            "half" => End::PeerClosed,
            "too late" => End::TimedOut,
            _ => End::BadFrame,
        };
        assert_eq!(end.await, expected, "{how}");
    }
}

#[tokio::test]
async fn a_batch_is_answered_with_its_last_item_and_decides_none_twice() {
    let bench = &Bench::new(Limits::default());
    let end = bench.with(|mut peer| async move {
        let items = [3, 1, 9, 2, 1];
        let batch = |out: &mut BytesMut| {
            let mut batch = BatchWriter::new(out);
            items
                .iter()
                .for_each(|key| batch.item(|out| question(out, *key, ValidateFlags::default())));
            batch.finish();
        };
        peer.send(Opcode::ValidateBatch, 1, batch).await;
        peer.send(Opcode::Ping, 2, |_| {}).await;
        assert_eq!(peer.pong().await, 2);
        // Judged anew in vain, and then with a lease.
        assert_eq!(bench.ledger.waiting(), 1, "one wait for all its items");
        bench.ledger.call_all();
        bench.until_waiting(1).await;
        bench.debit();
        let (opcode, correlation, payload) = peer.next().await.expect("a reply");
        assert_eq!((opcode, correlation), (Opcode::ValidateBatch.reply(), 1));
        let verdicts = Batch::decode(&payload).expect("a batch");
        let verdicts = verdicts.map(|item| Verdict::decode(item).expect("a verdict").0);
        let verdicts: Vec<_> = verdicts.map(|verdict| (verdict.key_id, verdict.code)).collect();
        let valid = VerdictCode::Valid;
        let expected = [(3, valid), (1, valid), (0, VerdictCode::NotFound), (2, valid), (1, valid)];
        assert_eq!(verdicts, expected);
        assert_eq!((bench.spent(3), bench.spent(1)), (1, 2));
        assert_eq!(bench.shared.engine.slots_held(), 1);
    });
    assert_eq!(end.await, End::PeerClosed);
    assert_eq!(bench.shared.engine.slots_held(), 0);
}

#[tokio::test]
async fn a_request_is_judged_under_the_tenant_that_its_connection_had_when_it_came() {
    let bench = &Bench::new(Limits::default());
    let end = bench.with(|mut peer| async move {
        peer.ask(1, 1).await;
        let tenant = Some("another");
        let hello = Hello { version_min: 1, version_max: 1, name: None, tenant };
        peer.send(Opcode::Hello, 2, |out| hello.encode(out)).await;
        peer.ask(3, 1).await;
        assert_eq!(peer.next().await.expect("a reply").1, 2);
        assert_eq!(peer.verdict().await.1.code, VerdictCode::NotFound);
        bench.debit();
        let (correlation, verdict) = peer.verdict().await;
        assert_eq!((correlation, verdict.code), (1, VerdictCode::Valid));
    });
    assert_eq!(end.await, End::PeerClosed);
}

#[tokio::test]
async fn what_is_parked_and_held_goes_with_a_connection_that_is_cut() {
    let bench = &Bench::new(Limits::default());
    let (near, far) = duplex(1 << 16);
    let mut peer = Peer { stream: near, input: BytesMut::new() };
    let watch = bench.roster.enter(bench.shared.clock.now());
    {
        let login = trusted();
        let mut served = pin!(serve(far, &login, &bench.shared, &watch));
        let asked = async {
            peer.ask(1, 3).await;
            peer.ask(2, 1).await;
            assert!(peer.verdict().await.1.slot.is_some());
            bench.until_waiting(1).await;
        };
        tokio::select! {
            _ = &mut served => panic!("it goes on"),
            () = asked => {}
        }
        assert_eq!((bench.shared.engine.slots_held(), bench.shared.desk.parked()), (1, 1));
    }
    assert_eq!((bench.shared.engine.slots_held(), bench.shared.desk.parked()), (0, 0));
    bench.debit();
    assert_eq!(bench.spent(1), 0, "the debit comes, and nobody spends it");
}

#[tokio::test]
async fn a_slot_ends_with_its_connection_unless_it_is_to_stay() {
    let bench = &Bench::new(Limits::default());
    let end = bench.with(|mut peer| async move {
        peer.ask(1, 3).await;
        peer.ask_with(2, 3, ValidateFlags::KEEP_SLOT).await;
        peer.ask(3, 3).await;
        for expected in [VerdictCode::Valid, VerdictCode::Valid, VerdictCode::ConcurrencyExceeded] {
            assert_eq!(peer.verdict().await.1.code, expected);
        }
    });
    assert_eq!(end.await, End::PeerClosed);
    assert_eq!(bench.shared.engine.slots_held(), 1);
    bench.clock.advance_us(SLOT_TTL_US);
    bench.shared.engine.reap_slots(bench.clock.now());
    assert_eq!(bench.shared.engine.slots_held(), 0, "its time has ended");
}

#[tokio::test]
async fn a_slot_is_given_back_once_and_only_by_its_own_key() {
    let bench = &Bench::new(Limits::default());
    let end = bench.with(|mut peer| async move {
        peer.ask(1, 3).await;
        let slot = peer.verdict().await.1.slot.expect("a slot");
        for (key_id, outcome) in [
            (2, IncrementOutcome::SlotGone),
            (3, IncrementOutcome::Counted),
            (3, IncrementOutcome::SlotGone),
        ] {
            let report = Increment { slot: Some(slot), ..Increment::new(key_id) };
            peer.send(Opcode::Increment, 2, |out| report.encode(out)).await;
            let (_, _, payload) = peer.next().await.expect("a reply");
            assert_eq!(IncrementOutcome::decode(&payload), Ok(outcome), "of key {key_id}");
        }
        // A report that gives nothing back does not make the connection forget.
        peer.ask(3, 3).await;
        let slot = peer.verdict().await.1.slot.expect("a slot");
        let report = Increment { slot: Some(slot), ..Increment::new(2) };
        peer.send(Opcode::Increment, 4, |out| report.encode(out)).await;
        peer.next().await.expect("a reply");
        assert_eq!(bench.shared.engine.slots_held(), 1);
    });
    assert_eq!(end.await, End::PeerClosed);
    assert_eq!(bench.shared.engine.slots_held(), 0);
}

#[tokio::test]
async fn a_slot_is_renewed_until_its_time_has_ended() {
    let bench = &Bench::new(Limits { idle_timeout_ms: 3_600_000, ..Limits::default() });
    let end = bench.with(|mut peer| async move {
        peer.ask(1, 3).await;
        let slot = peer.verdict().await.1.slot.expect("a slot");
        for (after_us, key_id, outcome) in [
            (SLOT_TTL_US / 2, 3, RenewOutcome::Renewed),
            (SLOT_TTL_US - 1, 3, RenewOutcome::Renewed),
            (0, 2, RenewOutcome::Gone),
            (0, 9, RenewOutcome::NotFound),
            (SLOT_TTL_US, 3, RenewOutcome::Gone),
        ] {
            bench.clock.advance_us(after_us);
            let renew = SlotRenew { key_id, slot };
            peer.send(Opcode::SlotRenew, 2, |out| renew.encode(out)).await;
            let (opcode, _, payload) = peer.next().await.expect("a reply");
            assert_eq!(opcode, Opcode::SlotRenew.reply());
            assert_eq!(RenewOutcome::decode(&payload), Ok(outcome), "of key {key_id}");
        }
    });
    assert_eq!(end.await, End::PeerClosed);
}

#[tokio::test]
async fn each_request_is_timed_once_and_a_wait_for_the_ledger_is_in_its_time() {
    let bench = Bench::new(Limits::default());
    let end = bench.with(async |mut peer| {
        peer.ask(1, 1).await;
        bench.until_waiting(1).await;
        assert_eq!(bench.shared.observer.latency().count(), 0, "it is not answered yet");
        peer.ask(2, 2).await;
        assert_eq!(peer.verdict().await.0, 2);
        bench.clock.advance_us(7_000);
        bench.debit();
        assert_eq!(peer.verdict().await.0, 1);
    });
    assert_eq!(end.await, End::PeerClosed);
    let latency = bench.shared.observer.latency();
    assert_eq!((latency.count(), latency.counts[0], latency.sum_ns), (2, 1, 7_000_000));
}
