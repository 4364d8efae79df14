//! What is written is read back the same, and no bytes make a reader panic.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bytes::BytesMut;
use keygate_protocol::batch::{Batch, BatchWriter};
use keygate_protocol::hello::{Hello, HelloReply};
use keygate_protocol::limits::{
    BATCH_ITEMS_MAX, COST_MAX, COUNTER_NAME_BYTES_MAX, COUNTERS_REPORTED_MAX, DATA_FRAME_BYTES_MAX,
    ENDPOINT_BYTES_MAX, ERROR_MESSAGE_BYTES_MAX, ERROR_TEXT_BYTES_MAX, FACT_BYTES_MAX,
    FEATURES_DEMANDED_MAX, LIMITS_IN_VERDICT_MAX, LIMITS_NAMED_MAX, METADATA_BYTES_MAX,
    ORIGIN_BYTES_MAX, REFUND_MAX, REPLY_FRAME_BYTES_MAX, SCOPE_BYTES_MAX, SCOPES_DEMANDED_MAX,
    TENANT_BYTES_MAX, TOKEN_BYTES_MAX,
};
use keygate_protocol::validate::{Body, RequestPart, Stated, ValidateWriter};
use keygate_protocol::verdict::{put_details, put_metadata};
use keygate_protocol::{
    Counters, ErrorCode, ErrorReply, Flags, Increment, IncrementOutcome, LimitName, LimitReport,
    PayloadError, RenewOutcome, SlotRenew, Validate, ValidateFlags, Verdict, VerdictCode, Warnings,
    frame,
};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Text of 1 to `max` bytes.
fn text(max: usize) -> impl Strategy<Value = String> {
    "\\PC{1,40}".prop_map(move |text| text[..text.floor_char_boundary(max)].to_owned())
}

/// Text that may be empty or beyond any bound.
fn any_text() -> impl Strategy<Value = String> {
    ("\\PC{0,20}", 0_usize..200).prop_map(|(text, times)| text.repeat(times))
}

fn report(name: LimitName) -> impl Strategy<Value = LimitReport> {
    let us = || option::of(0..u64::MAX);
    (any::<u64>(), any::<u64>(), us(), us()).prop_map(
        move |(limit, remaining, retry_after_us, reset_after_us)| LimitReport {
            name,
            limit,
            remaining,
            retry_after_us,
            reset_after_us,
        },
    )
}

/// Any of the limits there are, in their order.
fn reports() -> impl Strategy<Value = Vec<LimitReport>> {
    subsequence(LimitName::ALL, 0..=LimitName::ALL.len())
        .prop_flat_map(|names| names.into_iter().map(report).collect::<Vec<_>>())
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let denied_by = option::of(select(LimitName::ALL));
    let code = select(VerdictCode::ALL);
    (code, denied_by, any::<u16>(), any::<u64>(), reports(), any::<Option<u64>>()).prop_map(
        |(code, denied_by, warnings, key_id, reports, slot)| {
            let mut verdict = Verdict::of(code, key_id);
            verdict.denied_by = denied_by;
            verdict.warnings = Warnings::from_bits(warnings);
            reports.into_iter().for_each(|report| verdict.limits.push(report));
            verdict.slot = slot;
            verdict
        },
    )
}

fn flags() -> impl Strategy<Value = Flags> {
    select(vec![Flags::NONE, Flags::NO_REPLY, Flags::MORE, Flags::NO_REPLY.with(Flags::MORE)])
}

fn validate_flags() -> impl Strategy<Value = ValidateFlags> {
    let (peek, details) = (ValidateFlags::PEEK, ValidateFlags::DETAILS);
    let (metadata, keep_slot) = (ValidateFlags::METADATA, ValidateFlags::KEEP_SLOT);
    let all = peek.with(details).with(metadata).with(keep_slot);
    select(vec![ValidateFlags::NONE, peek, details, metadata, keep_slot, peek.with(details), all])
}

/// What a request may state of itself, owned.
#[derive(Debug, Clone)]
struct Given {
    address: Option<IpAddr>,
    origin: Option<String>,
    /// Environment, region, integration, API version.
    names: [Option<String>; 4],
    https: Option<bool>,
    features: Vec<String>,
    tenant: Option<String>,
    /// Each once.
    limits: BTreeSet<String>,
}

fn given() -> impl Strategy<Value = Given> {
    let name = || option::of(text(FACT_BYTES_MAX));
    let names = [name(), name(), name(), name()];
    let origin = option::of(text(ORIGIN_BYTES_MAX));
    let features = vec(text(FACT_BYTES_MAX), 0..=FEATURES_DEMANDED_MAX);
    let tenant = option::of(text(TENANT_BYTES_MAX));
    let limits = btree_set(text(FACT_BYTES_MAX), 0..=LIMITS_NAMED_MAX);
    (any::<Option<IpAddr>>(), origin, names, any::<Option<bool>>(), features, tenant, limits)
        .prop_map(|(address, origin, names, https, features, tenant, limits)| Given {
            address,
            origin,
            names,
            https,
            features,
            tenant,
            limits,
        })
}

impl Given {
    fn write(&self, writer: &mut ValidateWriter<'_>) {
        let [environment, region, integration, api_version] = &self.names;
        self.features.iter().for_each(|feature| writer.feature(feature));
        self.tenant.iter().for_each(|tenant| writer.tenant(tenant));
        self.limits.iter().for_each(|limit| writer.limit(limit));
        self.https.iter().for_each(|https| writer.https(*https));
        api_version.iter().for_each(|version| writer.api_version(version));
        integration.iter().for_each(|integration| writer.integration(integration));
        region.iter().for_each(|region| writer.region(region));
        environment.iter().for_each(|environment| writer.environment(environment));
        self.origin.iter().for_each(|origin| writer.origin(origin));
        self.address.iter().for_each(|address| writer.address(*address));
    }

    fn stated(&self) -> Stated<'_> {
        let bytes = |name: usize| self.names[name].as_deref().map(str::as_bytes);
        Stated {
            address: self.address,
            origin: self.origin.as_deref().map(str::as_bytes),
            environment: bytes(0),
            region: bytes(1),
            integration: bytes(2),
            api_version: bytes(3),
            https: self.https,
        }
    }
}

/// A byte that ends no line.
fn printed(byte: u8) -> u8 {
    if matches!(byte, 0 | b'\r' | b'\n') { b'-' } else { byte }
}

fn written(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    write(&mut out);
    out
}

proptest! {
    #[test]
    fn frames_come_back(
        before in vec(any::<u8>(), 0..20),
        opcode: u8,
        flags in flags(),
        correlation: u32,
        payload in vec(any::<u8>(), 0..300),
        after in vec(any::<u8>(), 0..20),
    ) {
        let mut out = BytesMut::from(before.as_slice());
        frame::encode(&mut out, opcode, flags, correlation, |out| out.extend_from_slice(&payload));
        let end = out.len();
        out.extend_from_slice(&after);
        let (frame, taken) = frame::decode(&out[before.len()..], DATA_FRAME_BYTES_MAX)
            .expect("a frame")
            .expect("a whole frame");
        prop_assert_eq!(taken, end - before.len());
        prop_assert_eq!(frame.header, frame::Header { opcode, flags, correlation });
        prop_assert_eq!(frame.payload, payload);
    }

    #[test]
    fn hellos_come_back(
        version_min in 1_u8..,
        above: u8,
        name in option::of(text(64)),
        tenant in option::of(text(64)),
        admin: bool,
        batch_items_max: u16,
        frame_bytes_max: u32,
    ) {
        let (name, tenant) = (name.as_deref(), tenant.as_deref());
        let version_max = version_min.saturating_add(above);
        let hello = Hello { version_min, version_max, name, tenant };
        let payload = written(|out| hello.encode(out));
        prop_assert_eq!(Hello::decode(&payload), Ok(hello));
        let reply =
            HelloReply { version: version_max, admin, batch_items_max, frame_bytes_max, name };
        let payload = written(|out| reply.encode(out));
        prop_assert_eq!(HelloReply::decode(&payload), Ok(reply));
    }

    #[test]
    fn questions_come_back(
        flags in validate_flags(),
        cost in 0..=COST_MAX,
        token in vec(any::<u8>(), 0..=TOKEN_BYTES_MAX),
        all in vec(text(SCOPE_BYTES_MAX), 0..=SCOPES_DEMANDED_MAX / 2),
        any in vec(text(SCOPE_BYTES_MAX), 0..=SCOPES_DEMANDED_MAX / 2),
        given in given(),
    ) {
        let payload = written(|out| {
            let mut writer = ValidateWriter::new(out, flags, cost, &token);
            all.iter().for_each(|scope| writer.scope_all(scope));
            given.write(&mut writer);
            any.iter().for_each(|scope| writer.scope_any(scope));
        });
        let question = Validate::decode(&payload).expect("within bounds");
        prop_assert_eq!((question.flags, question.cost), (flags, cost));
        prop_assert_eq!(question.token, token);
        prop_assert!(question.facts.scopes_all().eq(all.iter().map(String::as_bytes)));
        prop_assert!(question.facts.scopes_any().eq(any.iter().map(String::as_bytes)));
        prop_assert_eq!(question.facts.demands_scopes(), !(all.is_empty() && any.is_empty()));
        prop_assert_eq!(question.facts.stated(), given.stated());
        prop_assert_eq!(question.facts.tenant(), given.tenant.as_deref());
        prop_assert!(question.facts.features().eq(given.features.iter().map(String::as_bytes)));
        prop_assert!(question.facts.limits().eq(given.limits.iter().map(String::as_bytes)));
        prop_assert_eq!(question.facts.names_limits(), !given.limits.is_empty());
    }

    #[test]
    fn signed_requests_come_back(
        method in option::of("[A-Za-z!#-]{1,32}"),
        scheme in option::of("[a-z][a-z0-9+.-]{0,15}"),
        authority in option::of("[!-~]{1,255}"),
        path in option::of("/[!->@-~]{0,300}"),
        query in option::of("[!-~]{0,300}"),
        headers in vec(("[A-Za-z0-9-]{1,128}", vec(any::<u8>().prop_map(printed), 0..60)), 0..=64),
        body in option::of(any::<Option<(bool, [u8; 32])>>()),
    ) {
        let long: [u8; 64] = std::array::from_fn(|at| {
            body.flatten().map_or(0, |(_, digest)| digest[at % 32])
        });
        let body = body.as_ref().map(|digest| match digest {
            None => Body::Checked,
            Some((true, digest)) => Body::Sha256(digest),
            Some((false, _)) => Body::Sha512(&long),
        });
        let payload = written(|out| {
            let mut writer = ValidateWriter::new(out, ValidateFlags::NONE, 1, b"token");
            method.iter().for_each(|it| writer.method(it));
            headers.iter().for_each(|(name, value)| writer.header(name, value));
            scheme.iter().for_each(|it| writer.scheme(it));
            authority.iter().for_each(|it| writer.authority(it));
            path.iter().for_each(|it| writer.path(it));
            query.iter().for_each(|it| writer.query(it));
            body.iter().for_each(|it| writer.body(*it));
        });
        let signed = Validate::decode(&payload).expect("within bounds").facts.signed();
        prop_assert_eq!(signed.method, method.as_deref());
        prop_assert_eq!(signed.scheme, scheme.as_deref());
        prop_assert_eq!(signed.authority, authority.as_deref());
        prop_assert_eq!(signed.path, path.as_deref());
        prop_assert_eq!(signed.query, query.as_deref());
        prop_assert_eq!(signed.body, body);
        let given = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        prop_assert!(signed.headers().eq(given));
    }

    /// What a client may ask beforehand is what the reader then says.
    #[test]
    fn a_part_that_fits_is_read_and_no_other(
        kind in 0..6_usize,
        text in "[ -~\\r\\n]{0,40}",
        name in "[a-z:]{0,3}",
    ) {
        let part = match kind {
            0 => RequestPart::Method(&text),
            1 => RequestPart::Scheme(&text),
            2 => RequestPart::Authority(&text),
            3 => RequestPart::Path(&text),
            4 => RequestPart::Query(&text),
            _ => RequestPart::Header(&name, text.as_bytes()),
        };
        let payload = written(|out| {
            let mut writer = ValidateWriter::new(out, ValidateFlags::NONE, 1, b"token");
            match part {
                RequestPart::Method(text) => writer.method(text),
                RequestPart::Scheme(text) => writer.scheme(text),
                RequestPart::Authority(text) => writer.authority(text),
                RequestPart::Path(text) => writer.path(text),
                RequestPart::Query(text) => writer.query(text),
                RequestPart::Header(name, value) => writer.header(name, value),
            }
        });
        prop_assert_eq!(Validate::decode(&payload).is_ok(), part.fits());
    }

    #[test]
    fn limits_are_named_once_each_and_four_at_most(names in vec("[ab]{1,2}", 0..7)) {
        let payload = written(|out| {
            let mut writer = ValidateWriter::new(out, ValidateFlags::NONE, 1, b"token");
            names.iter().for_each(|name| writer.limit(name));
        });
        let different = names.iter().collect::<BTreeSet<_>>().len();
        let taken = different == names.len() && names.len() <= LIMITS_NAMED_MAX;
        prop_assert_eq!(Validate::decode(&payload).is_ok(), taken);
    }

    #[test]
    fn a_token_of_any_length_makes_a_frame_that_is_read(length in 0_usize..70_000) {
        let token = vec![b'x'; length];
        let payload = written(|out| {
            ValidateWriter::new(out, ValidateFlags::NONE, 1, &token);
        });
        let question = Validate::decode(&payload).expect("never too long for the layout");
        prop_assert!(token.starts_with(question.token));
        prop_assert_eq!(question.token.len(), token.len().min(TOKEN_BYTES_MAX + 1));
    }

    #[test]
    fn verdicts_come_back(
        verdict in verdict(),
        tenant_id in option::of("\\PC{0,40}"),
        scopes in vec(text(SCOPE_BYTES_MAX), 0..10),
        metadata in option::of(text(METADATA_BYTES_MAX)),
    ) {
        let payload = written(|out| {
            verdict.encode(out);
            if let Some(tenant_id) = &tenant_id {
                put_details(tenant_id, scopes.iter().map(String::as_str), out);
            }
            metadata.iter().for_each(|json| put_metadata(json.as_bytes(), out));
        });
        let (decoded, details) = Verdict::decode(&payload).expect("what was written");
        prop_assert_eq!(decoded, verdict);
        prop_assert_eq!(details.tenant_id, tenant_id.as_deref());
        prop_assert_eq!(details.metadata, metadata.as_deref());
        prop_assert_eq!(details.scopes, if tenant_id.is_some() { scopes } else { Vec::new() });
    }

    #[test]
    fn limits_of_later_releases_are_skipped(
        verdict in verdict(),
        name in any::<u8>().prop_filter("known", |name| LimitName::from_byte(*name).is_none()),
        figures: [u8; 32],
    ) {
        prop_assume!(verdict.limits.iter().count() < LIMITS_IN_VERDICT_MAX);
        let mut payload = written(|out| verdict.encode(out)).to_vec();
        payload[2] += 1;
        // Before those that are known: what follows must be found where it stands.
        payload.splice(13..13, [name].into_iter().chain(figures));
        let (decoded, _) = Verdict::decode(&payload).expect("an unknown limit is no error");
        prop_assert_eq!(decoded, verdict);
    }

    #[test]
    fn verdicts_of_later_releases_are_no_permission(verdict in verdict(), code: u8) {
        let mut payload = written(|out| verdict.encode(out));
        payload[0] = code;
        match Verdict::decode(&payload) {
            Ok((decoded, _)) => prop_assert_eq!(decoded.code.is_valid(), code == 0),
            Err(error) => {
                prop_assert!(VerdictCode::from_byte(code).is_none());
                let unknown = matches!(error, PayloadError::OutOfBounds { field: "code", .. });
                prop_assert!(unknown, "{error}");
            }
        }
    }

    #[test]
    fn reports_come_back(
        key_id: u64,
        count in 1_u32..,
        latency_us in option::of(0..u32::MAX),
        status in option::of(100_u16..=999),
        endpoint in option::of(text(ENDPOINT_BYTES_MAX)),
        error in option::of(text(ERROR_TEXT_BYTES_MAX)),
        id: Option<u128>,
        slot: Option<u64>,
        refund in option::of(1..=REFUND_MAX),
        counters in vec((text(COUNTER_NAME_BYTES_MAX), any::<u64>()), 0..=COUNTERS_REPORTED_MAX),
    ) {
        let (endpoint, error) = (endpoint.as_deref(), error.as_deref());
        let counters: Vec<_> = counters.iter().map(|(name, counted)| (&**name, *counted)).collect();
        let counters = Counters::of(&counters);
        let facts =
            Increment { endpoint, error, id, slot, refund, counters, ..Increment::new(key_id) };
        let report = Increment { count, latency_us, status, ..facts };
        let payload = written(|out| report.encode(out));
        if refund.is_some() && id.is_none() {
            let why = "it needs an id, so that it is given once";
            let refused = PayloadError::OutOfBounds { field: "refund", why };
            prop_assert_eq!(Increment::decode(&payload), Err(refused));
        } else {
            prop_assert_eq!(Increment::decode(&payload), Ok(report));
        }
    }

    #[test]
    fn a_refund_is_1_to_2_to_the_32nd(credits: u64, near in REFUND_MAX - 2..REFUND_MAX + 3) {
        for credits in [credits, near, 0, 1] {
            let (id, refund) = (Some(7), Some(credits));
            let payload = written(|out| Increment { id, refund, ..Increment::new(1) }.encode(out));
            let taken = Increment::decode(&payload).is_ok();
            prop_assert_eq!(taken, (1..=REFUND_MAX).contains(&credits), "{}", credits);
        }
    }

    #[test]
    fn renewals_come_back(key_id: u64, slot: u64) {
        let payload = written(|out| SlotRenew { key_id, slot }.encode(out));
        prop_assert_eq!(SlotRenew::decode(&payload), Ok(SlotRenew { key_id, slot }));
    }

    #[test]
    fn texts_of_any_length_are_cut_to_what_is_taken(endpoint in any_text(), error in any_text()) {
        let (endpoint_given, error_given) = (Some(endpoint.as_str()), Some(error.as_str()));
        let report =
            Increment { endpoint: endpoint_given, error: error_given, ..Increment::new(1) };
        let payload = written(|out| report.encode(out));
        let decoded = Increment::decode(&payload).expect("cut to its bounds");
        prop_assert!(endpoint.starts_with(decoded.endpoint.unwrap_or_default()));
        prop_assert!(error.starts_with(decoded.error.unwrap_or_default()));
        prop_assert_eq!(decoded.endpoint.is_none(), endpoint.is_empty());
        prop_assert_eq!(decoded.error.is_none(), error.is_empty());
    }

    #[test]
    fn batches_come_back(items in vec(vec(any::<u8>(), 0..40), 1..=BATCH_ITEMS_MAX)) {
        let payload = written(|out| {
            let mut batch = BatchWriter::new(out);
            items.iter().for_each(|item| batch.item(|out| out.extend_from_slice(item)));
            batch.finish();
        });
        let batch = Batch::decode(&payload).expect("within bounds");
        prop_assert_eq!(batch.len(), items.len());
        prop_assert!(batch.eq(items.iter().map(Vec::as_slice)));
    }

    #[test]
    fn errors_come_back(code in select(ErrorCode::ALL), message in any_text()) {
        let payload = written(|out| ErrorReply::encode(code, &message, out));
        let reply = ErrorReply::decode(&payload).expect("cut to its bound");
        prop_assert_eq!((reply.code, reply.byte), (Some(code), code as u8));
        prop_assert!(message.starts_with(reply.message));
        prop_assert!(reply.message.len() + 4 > message.len().min(ERROR_MESSAGE_BYTES_MAX));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..600)) {
        let frame = frame::decode(&bytes, REPLY_FRAME_BYTES_MAX);
        if let Ok(Some((frame, taken))) = frame {
            prop_assert!(taken == frame.payload.len() + frame::PREFIX_BYTES && taken <= bytes.len());
        }
        let _ = Hello::decode(&bytes);
        let _ = HelloReply::decode(&bytes);
        let _ = Verdict::decode(&bytes);
        let _ = Increment::decode(&bytes);
        let _ = IncrementOutcome::decode(&bytes);
        let _ = SlotRenew::decode(&bytes);
        let _ = RenewOutcome::decode(&bytes);
        let _ = ErrorReply::decode(&bytes);
        if let Ok(question) = Validate::decode(&bytes) {
            prop_assert!(question.facts.scopes_all().count() <= SCOPES_DEMANDED_MAX);
            prop_assert!(question.facts.features().count() <= FEATURES_DEMANDED_MAX);
            prop_assert!(question.facts.limits().count() <= LIMITS_NAMED_MAX);
            let _ = (question.facts.stated(), question.facts.tenant());
        }
        if let Ok(batch) = Batch::decode(&bytes) {
            prop_assert_eq!(batch.len(), batch.count());
        }
    }
}

#[test]
fn outcomes_come_back() {
    use IncrementOutcome::{Counted, Duplicate, NotFound, SlotGone};
    for outcome in [Counted, Duplicate, NotFound, SlotGone] {
        let payload = written(|out| outcome.encode(out));
        assert_eq!(payload.len(), IncrementOutcome::BYTES);
        assert_eq!(IncrementOutcome::decode(&payload), Ok(outcome));
    }
    for outcome in [RenewOutcome::Renewed, RenewOutcome::Gone, RenewOutcome::NotFound] {
        let payload = written(|out| outcome.encode(out));
        assert_eq!(RenewOutcome::decode(&payload), Ok(outcome));
    }
}

#[test]
fn a_batch_that_the_layout_cannot_carry_is_refused_by_its_reader() {
    let beyond = usize::from(u16::MAX) + 1;
    let (long, empty) = (vec![b'x'; beyond], Vec::new());
    for (items, item) in [(1, &long), (beyond, &empty), (BATCH_ITEMS_MAX + 1, &empty), (0, &empty)]
    {
        let payload = written(|out| {
            let mut batch = BatchWriter::new(out);
            (0..items).for_each(|_| batch.item(|out| out.extend_from_slice(item)));
            batch.finish();
        });
        let refused = Batch::decode(&payload).map(|batch| batch.len());
        let why = "it is 1 to 512";
        assert_eq!(refused, Err(PayloadError::OutOfBounds { field: "count", why }), "{items}");
    }
}

#[test]
fn secrets_are_not_shown_by_debug() {
    let token = b"kg_live_secret";
    let mut out = BytesMut::new();
    frame::encode(&mut out, 0x10, Flags::NONE, 1, |out| {
        let writer = ValidateWriter::new(out, ValidateFlags::NONE, 1, token);
        assert_eq!(format!("{writer:?}"), "ValidateWriter { .. }");
    });
    let (frame, _) = frame::decode(&out, DATA_FRAME_BYTES_MAX).expect("a frame").expect("whole");
    let question = Validate::decode(frame.payload).expect("a question");
    let batch = written(|out| {
        let mut batch = BatchWriter::new(out);
        batch.item(|out| out.extend_from_slice(frame.payload));
        batch.finish();
    });
    let batch = Batch::decode(&batch).expect("a batch");
    let shown = format!("{frame:?} {question:?} {batch:?}");
    for part in ["secret", "115, 101, 99"] {
        assert!(!shown.contains(part), "{shown}");
    }
}
