//! The codec: frames, questions, verdicts and reports, beside a copy of the same bytes.

use std::hint::black_box;

use bytes::{BufMut, BytesMut};
use criterion::{Criterion, criterion_group, criterion_main};
use keygate_protocol::validate::ValidateWriter;
use keygate_protocol::{
    Flags, Increment, LimitName, LimitReport, Opcode, Validate, ValidateFlags, Verdict,
    VerdictCode, frame,
};

const TOKEN: &[u8] = b"kg_live_0123456789ABCDEFGHIJKLMNOPQRSTUV03NzCm";

fn question(out: &mut BytesMut) {
    frame::encode(out, Opcode::Validate.byte(), Flags::NONE, 7, |out| {
        ValidateWriter::new(out, ValidateFlags::NONE, 1, TOKEN).scope_all("leads:read");
    });
}

fn verdict() -> Verdict {
    let mut verdict = Verdict::of(VerdictCode::Valid, 42);
    verdict.limits.push(LimitReport {
        name: LimitName::Second,
        limit: 100,
        remaining: 99,
        retry_after_us: None,
        reset_after_us: Some(10_000),
    });
    verdict
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    let mut asked = BytesMut::new();
    question(&mut asked);
    let mut out = BytesMut::with_capacity(4096);
    group.bench_function("yardstick: copy of a question's bytes", |b| {
        b.iter(|| {
            out.clear();
            out.put_slice(black_box(&asked));
        });
    });
    group.bench_function("question, written", |b| {
        b.iter(|| {
            out.clear();
            question(black_box(&mut out));
        });
    });
    group.bench_function("question, read", |b| {
        b.iter(|| {
            let whole = frame::decode(black_box(&asked), 65_536).expect("a frame");
            let (frame, _) = whole.expect("whole");
            black_box(Validate::decode(frame.payload).expect("a question"));
        });
    });
    let verdict = verdict();
    group.bench_function("verdict, written", |b| {
        b.iter(|| {
            out.clear();
            black_box(&verdict).encode(&mut out);
        });
    });
    let mut answered = BytesMut::new();
    verdict.encode(&mut answered);
    group.bench_function("verdict, read", |b| {
        b.iter(|| black_box(Verdict::decode(black_box(&answered)).expect("a verdict")));
    });
    let report = Increment {
        key_id: 42,
        count: 1,
        latency_us: Some(1500),
        status: Some(200),
        endpoint: Some("GET /v1/leads"),
        error: None,
        id: Some(7),
        slot: None,
        ..Increment::new(42)
    };
    let mut reported = BytesMut::new();
    report.encode(&mut reported);
    group.bench_function("report, read", |b| {
        b.iter(|| black_box(Increment::decode(black_box(&reported)).expect("a report")));
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
