//! Connections over a pipe in memory, under a clock that stands still.

use keygate_protocol::{ErrorReply, Flags, Opcode, frame, opcode};
use tokio::io::duplex;

use super::super::admit::tests::{gate, trusted};
use super::super::deferred::tests::ByHand;
use super::super::dispatch::tests::engine;
use super::super::watch::Roster;
use super::*;
use crate::clock::ManualClock;

fn shared() -> Shared {
    let clock = Arc::new(ManualClock::new(0));
    Shared {
        engine: Arc::new(engine()),
        clock,
        limits: Limits::default(),
        answers: RefCell::default(),
        desk: Desk::new(Arc::new(ByHand::default())),
        observer: crate::server::observe::Observers::default().add(),
        gate: gate(""),
    }
}

fn pings(count: u32) -> BytesMut {
    let mut frames = BytesMut::new();
    for correlation in 1..=count {
        frame::encode(&mut frames, Opcode::Ping.byte(), Flags::NONE, correlation, |_| {});
    }
    frames
}

/// Opcode and correlation of every frame, and the code of the last one if it is an error.
fn replies(mut bytes: &[u8]) -> (Vec<(u8, u32)>, Option<ErrorCode>) {
    let (mut replies, mut code) = (Vec::new(), None);
    while let Some((reply, taken)) = frame::decode(bytes, 1 << 20).expect("frames") {
        replies.push((reply.header.opcode, reply.header.correlation));
        let error = reply.header.opcode == opcode::ERROR;
        code = error.then(|| ErrorReply::decode(reply.payload).expect("an error").code).flatten();
        bytes = &bytes[taken..];
    }
    (replies, code)
}

#[tokio::test]
async fn a_stop_answers_what_was_sent_and_says_that_the_rest_was_not_executed() {
    let (mut peer, stream) = duplex(1 << 16);
    let (shared, roster) = (shared(), Roster::default());
    let watch = roster.enter(shared.clock.now());
    // One and a half: the half is never executed.
    let sent = pings(2);
    peer.write_all(&sent[..sent.len() - 1]).await.expect("sent");
    roster.stop();
    assert_eq!(serve(stream, &trusted(), &shared, &watch).await, End::Stopped);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).await.expect("received");
    let (frames, code) = replies(&received);
    assert_eq!(frames, [(Opcode::Ping.reply(), 1), (opcode::ERROR, 0)]);
    assert_eq!(code, Some(ErrorCode::Stopping));
}
