//! What is refused, and what binds a connection.

use keygate_protocol::ValidateFlags;
use keygate_protocol::batch::BatchWriter;
use keygate_protocol::hello::Hello;
use keygate_protocol::validate::ValidateWriter;

use super::super::admit::tests::trusted;
use super::super::deferred::tests::ByHand;
use super::*;
use crate::clock::ManualClock;
use crate::engine::EngineLimits;
use crate::key::Pepper;
use crate::key::token::Prefixes;

#[test]
fn what_is_not_served_here_is_refused_for_that_and_then_for_its_flags() {
    let engine = Arc::new(engine());
    let (answers, mut under_way) = (RefCell::default(), under_way(&engine));
    let observer = crate::server::observe::Observers::default().add();
    let mut dispatcher = dispatcher(&engine, &answers, &mut under_way, &observer);
    let now = Now { mono_ns: 0, wall_us: 0 };
    for (opcode, flags, code) in [
        (0x7F, Flags::NONE, ErrorCode::UnknownOpcode),
        (0x7F, Flags::NO_REPLY, ErrorCode::UnknownOpcode),
        (0x90, Flags::MORE, ErrorCode::UnknownOpcode),
        (Opcode::Import.byte(), Flags::MORE, ErrorCode::NotOnThisSocket),
        (Opcode::Health.byte(), Flags::NONE, ErrorCode::NotOnThisSocket),
        (Opcode::Ping.byte(), Flags::NO_REPLY, ErrorCode::BadPayload),
        (Opcode::Validate.byte(), Flags::MORE, ErrorCode::BadPayload),
        (Opcode::Increment.byte(), Flags::NO_REPLY.with(Flags::MORE), ErrorCode::BadPayload),
    ] {
        let mut input = BytesMut::new();
        frame::encode(&mut input, opcode, flags, 9, |_| {});
        let mut out = BytesMut::new();
        let drained = dispatcher.drain(&input, now, &mut out);
        assert_eq!(
            drained,
            Drained { consumed: input.len(), requests: 1, close: false, full: false }
        );
        let (reply, _) = frame::decode(&out, 4096).expect("a frame").expect("whole");
        assert_eq!((reply.header.opcode, reply.header.correlation), (opcode::ERROR, 9));
        let error = ErrorReply::decode(reply.payload).expect("an error");
        assert_eq!(error.code, Some(code), "{opcode:#04x} {flags:?}");
    }
}

#[test]
fn a_certificate_is_stated_only_where_the_connection_is_trusted_to() {
    let engine = Arc::new(engine());
    let (answers, mut under_way) = (RefCell::default(), under_way(&engine));
    let observer = crate::server::observe::Observers::default().add();
    let mut dispatcher = dispatcher(&engine, &answers, &mut under_way, &observer);
    let mut question = BytesMut::new();
    ValidateWriter::new(&mut question, ValidateFlags::NONE, 1, b"kg_live_x")
        .client_certificate(&[7; 32]);
    let mut batch = BytesMut::new();
    let mut writer = BatchWriter::new(&mut batch);
    writer.item(|out| {
        ValidateWriter::new(out, ValidateFlags::NONE, 1, b"kg_live_x");
    });
    writer.item(|out| out.extend_from_slice(&question));
    writer.finish();
    for trusted in [false, true] {
        dispatcher.standing.states_certificates = trusted;
        for (opcode, payload) in [(Opcode::Validate, &question), (Opcode::ValidateBatch, &batch)] {
            let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
            frame::encode(&mut input, opcode.byte(), Flags::NONE, 9, |out| {
                out.extend_from_slice(payload);
            });
            let drained = dispatcher.drain(&input, Now { mono_ns: 0, wall_us: 0 }, &mut out);
            assert_eq!((drained.requests, drained.close), (1, false), "the connection lives on");
            let (reply, _) = frame::decode(&out, 4096).expect("a frame").expect("whole");
            if trusted {
                assert_eq!(reply.header.opcode, opcode.reply());
                continue;
            }
            let error = ErrorReply::decode(reply.payload).expect("an error");
            assert_eq!(error.code, Some(ErrorCode::Forbidden), "{opcode:?}");
            assert!(error.message.contains("stated_certificates"), "{}", error.message);
        }
    }
}

#[test]
fn a_connection_is_bound_once_and_what_came_before_is_not() {
    let engine = Arc::new(engine());
    let (answers, mut under_way) = (RefCell::default(), under_way(&engine));
    let observer = crate::server::observe::Observers::default().add();
    let mut dispatcher = dispatcher(&engine, &answers, &mut under_way, &observer);
    let now = Now { mono_ns: 0, wall_us: 0 };
    let mut say = |tenant| {
        let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
        let hello = Hello { version_min: 1, version_max: 1, name: None, tenant };
        frame::encode(&mut input, Opcode::Hello.byte(), Flags::NONE, 9, |out| {
            hello.encode(out);
        });
        assert!(!dispatcher.drain(&input, now, &mut out).close);
        let (reply, _) = frame::decode(&out, 4096).expect("a frame").expect("whole");
        let taken = reply.header.opcode == Opcode::Hello.reply();
        (taken, dispatcher.tenant.as_deref().map(str::to_owned))
    };
    let acme = || Some("acme".to_owned());
    for (tenant, taken, bound) in [
        (None, true, None),
        (Some(""), false, None),
        (Some("acme"), true, acme()),
        (None, true, acme()),
        (Some("acme"), true, acme()),
        (Some("other"), false, acme()),
    ] {
        assert_eq!(say(tenant), (taken, bound), "{tenant:?}");
    }
}

/// Who may do everything.
static LOGIN: std::sync::OnceLock<Login> = std::sync::OnceLock::new();

fn under_way(engine: &Arc<Engine>) -> UnderWay {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
    let desk = Desk::new(Arc::new(ByHand::default()));
    UnderWay::new(engine, &clock, &desk, &Limits::default())
}

fn dispatcher<'e>(
    engine: &'e Engine,
    answers: &'e RefCell<Answers>,
    under_way: &'e mut UnderWay,
    observer: &'e Observer,
) -> Dispatcher<'e> {
    Dispatcher {
        engine,
        tenant: None,
        standing: Standing::default(),
        login: LOGIN.get_or_init(trusted),
        roles: Roles::ALL,
        frame_bytes_max: 1024,
        reply_bytes_max: 4096,
        answers,
        under_way,
        observer,
    }
}

/// An engine without keys.
pub(in crate::server) fn engine() -> Engine {
    let limits = EngineLimits {
        keys_max: 1000,
        expiry_warning_us: 0,
        increment_id_window_us: 3_600_000_000,
        increment_ids_max: 1000,
        slots_max: 1000,
        usage_history: true,
        usage_detail_bytes_max: 1 << 30,
    };
    Engine::new(Pepper::new(&[1; 32]), Prefixes::default(), limits)
}
