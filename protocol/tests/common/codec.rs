//! Payloads to and from the `fields` of a vector, by way of the crate's own types.

use bytes::BytesMut;
use keygate_protocol::batch::{Batch, BatchWriter};
use keygate_protocol::hello::{Hello, HelloReply};
use keygate_protocol::validate::{Body, Signed, ValidateWriter};
use keygate_protocol::verdict::{put_details, put_metadata};
use keygate_protocol::{
    Counters, ErrorCode, ErrorReply, Increment, IncrementOutcome, LimitName, LimitReport,
    PayloadError, RenewOutcome, SlotRenew, Validate, ValidateFlags, Verdict, VerdictCode, Warnings,
    admin, tenant,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::common::from_hex;

/// Why bytes were refused, in the words of `vectors/README.md`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) fault: &'static str,
    pub(crate) field: Option<String>,
    pub(crate) answer: ErrorCode,
}

impl Fault {
    pub(crate) fn of(fault: &'static str, answer: ErrorCode) -> Self {
        Self { fault, field: None, answer }
    }
}

impl From<PayloadError> for Fault {
    fn from(error: PayloadError) -> Self {
        let (fault, field) = match error {
            PayloadError::Truncated { field } => ("TRUNCATED", field.to_owned()),
            PayloadError::OutOfBounds { field, .. } => ("OUT_OF_BOUNDS", field.to_owned()),
            PayloadError::Trailing { count } => ("TRAILING", count.to_string()),
            PayloadError::UnknownDemand { kind } => ("UNKNOWN_DEMAND", kind.to_string()),
        };
        Self { fault, field: Some(field), answer: error.into() }
    }
}

/// Decodes a payload into the `fields` of its kind.
pub(crate) fn decode(kind: &str, payload: &[u8]) -> Result<Value, Fault> {
    Ok(match kind {
        "Hello" => {
            let hello = Hello::decode(payload)?;
            json!({
                "version_min": hello.version_min,
                "version_max": hello.version_max,
                "name": hello.name,
                "tenant": hello.tenant,
            })
        }
        "HelloReply" => {
            let reply = HelloReply::decode(payload)?;
            json!({
                "version": reply.version,
                "admin": reply.admin,
                "batch_items_max": reply.batch_items_max,
                "frame_bytes_max": reply.frame_bytes_max,
                "name": reply.name,
            })
        }
        "Ping" | "PingReply" => json!({"payload_hex": to_hex(payload)}),
        "Validate" => validate(payload)?,
        "ValidateReply" => verdict(payload)?,
        "Increment" => increment(payload)?,
        "IncrementReply" => json!({"outcome": outcome_name(IncrementOutcome::decode(payload)?)}),
        "SlotRenew" => {
            let asked = SlotRenew::decode(payload)?;
            json!({"key_id": asked.key_id.to_string(), "slot": asked.slot.to_string()})
        }
        "SlotRenewReply" => json!({"outcome": renew_name(RenewOutcome::decode(payload)?)}),
        "ValidateBatch" => items(payload, |item| match validate(item)? {
            fields if fields["details"] == true || fields["metadata"] == true => {
                Err(Fault::of("DETAILS_IN_BATCH", ErrorCode::BadPayload))
            }
            fields => Ok(fields),
        })?,
        "ValidateBatchReply" => items(payload, verdict)?,
        "IncrementBatch" => items(payload, increment)?,
        "IncrementBatchReply" => items(payload, |item| decode("IncrementReply", item))?,
        "Error" => {
            let error = ErrorReply::decode(payload)?;
            json!({
                "code": error.code.map(ErrorCode::name),
                "byte": error.byte,
                "message": error.message,
            })
        }
        _ => admin_json(kind, payload)?,
    })
}

fn validate(payload: &[u8]) -> Result<Value, Fault> {
    let question = Validate::decode(payload)?;
    let scopes = |all: &mut dyn Iterator<Item = &[u8]>| -> Vec<String> {
        all.map(|scope| String::from_utf8_lossy(scope).into_owned()).collect()
    };
    let mut fields = json!({
        "peek": question.flags.has(ValidateFlags::PEEK),
        "details": question.flags.has(ValidateFlags::DETAILS),
        "cost": question.cost.to_string(),
        "scopes_all": scopes(&mut question.facts.scopes_all()),
        "scopes_any": scopes(&mut question.facts.scopes_any()),
    });
    match str::from_utf8(question.token) {
        Ok(token) => fields["token"] = token.into(),
        Err(_) => fields["token_hex"] = to_hex(question.token).into(),
    }
    for (name, flag) in LATER_FLAGS {
        put(&mut fields, name, question.flags.has(flag).then_some(true));
    }
    let stated = question.facts.stated();
    put(&mut fields, "address", stated.address.map(|address| address.to_string()));
    let names = [
        ("origin", stated.origin),
        ("environment", stated.environment),
        ("region", stated.region),
        ("integration", stated.integration),
        ("api_version", stated.api_version),
        ("tenant", question.facts.tenant().map(str::as_bytes)),
    ];
    for (name, value) in names {
        put(&mut fields, name, value.map(|value| str::from_utf8(value).expect("decode checked")));
    }
    put(&mut fields, "https", stated.https);
    if let Some(secret) = question.facts.client_secret() {
        match str::from_utf8(secret) {
            Ok(secret) => fields["client_secret"] = secret.into(),
            Err(_) => fields["client_secret_hex"] = to_hex(secret).into(),
        }
    }
    let certificate = question.facts.client_certificate();
    put(&mut fields, "client_certificate", certificate.map(|sha256| to_hex(&sha256)));
    put(&mut fields, "signed", signed(&question.facts.signed()));
    let features = scopes(&mut question.facts.features());
    put(&mut fields, "features", (!features.is_empty()).then_some(features));
    let limits = scopes(&mut question.facts.limits());
    put(&mut fields, "limits", (!limits.is_empty()).then_some(limits));
    Ok(fields)
}

/// The HTTP request that somebody signed, if anything of it is stated.
fn signed(signed: &Signed<'_>) -> Option<Value> {
    let mut fields = json!({});
    let texts = [
        ("method", signed.method),
        ("scheme", signed.scheme),
        ("authority", signed.authority),
        ("path", signed.path),
        ("query", signed.query),
    ];
    for (name, text) in texts {
        put(&mut fields, name, text);
    }
    let value = |value: &[u8]| match str::from_utf8(value) {
        Ok(value) => json!(value),
        Err(_) => json!({"hex": to_hex(value)}),
    };
    let headers: Vec<Value> =
        signed.headers().map(|(name, bytes)| json!([name, value(bytes)])).collect();
    put(&mut fields, "headers", (!headers.is_empty()).then_some(headers));
    let body = signed.body.map(|body| match body {
        Body::Checked => to_hex(&[1]),
        Body::Sha256(digest) => to_hex(digest),
        Body::Sha512(digest) => to_hex(digest),
    });
    put(&mut fields, "body", body);
    fields.as_object().is_some_and(|fields| !fields.is_empty()).then_some(fields)
}

/// Flags that came after the first vectors.
const LATER_FLAGS: [(&str, ValidateFlags); 2] =
    [("metadata", ValidateFlags::METADATA), ("keep_slot", ValidateFlags::KEEP_SLOT)];

/// Members that came after the first vectors are left out where there is nothing to say.
fn put(fields: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        fields[name] = value.into();
    }
}

fn verdict(payload: &[u8]) -> Result<Value, Fault> {
    let (verdict, details) = Verdict::decode(payload)?;
    let limits: Vec<Value> = verdict
        .limits
        .iter()
        .map(|report| {
            json!({
                "name": report.name.name(),
                "limit": report.limit.to_string(),
                "remaining": report.remaining.to_string(),
                "retry_after_us": report.retry_after_us.map(|us| us.to_string()),
                "reset_after_us": report.reset_after_us.map(|us| us.to_string()),
            })
        })
        .collect();
    let mut fields = json!({
        "code": verdict.code.name(),
        "denied_by": verdict.denied_by.map(LimitName::name),
        "warnings": verdict.warnings.names().collect::<Vec<_>>(),
        "key_id": verdict.key_id.to_string(),
        "limits": limits,
        "tenant_id": details.tenant_id,
        "scopes": details.scopes,
    });
    put(&mut fields, "metadata", details.metadata);
    put(&mut fields, "slot", verdict.slot.map(|slot| slot.to_string()));
    Ok(fields)
}

fn increment(payload: &[u8]) -> Result<Value, Fault> {
    let report = Increment::decode(payload)?;
    let mut fields = json!({
        "key_id": report.key_id.to_string(),
        "count": report.count,
        "latency_us": report.latency_us,
        "status": report.status,
        "endpoint": report.endpoint,
        "error": report.error,
        "id": report.id.map(|id| format!("{id:032x}")),
    });
    put(&mut fields, "slot", report.slot.map(|slot| slot.to_string()));
    put(&mut fields, "refund", report.refund.map(|credits| credits.to_string()));
    let counters: Vec<Value> = report
        .counters
        .iter()
        .map(|(name, counted)| json!({ "name": name, "counted": counted.to_string() }))
        .collect();
    put(&mut fields, "counters", Some(counters).filter(|counters| !counters.is_empty()));
    Ok(fields)
}

fn items(payload: &[u8], decode: impl Fn(&[u8]) -> Result<Value, Fault>) -> Result<Value, Fault> {
    let items = Batch::decode(payload)?.map(decode).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({"items": items}))
}

/// The name of an outcome, as SPEC §6.4 has it.
pub(crate) fn outcome_name(outcome: IncrementOutcome) -> &'static str {
    match outcome {
        IncrementOutcome::Counted => "COUNTED",
        IncrementOutcome::Duplicate => "DUPLICATE",
        IncrementOutcome::NotFound => "NOT_FOUND",
        IncrementOutcome::SlotGone => "SLOT_GONE",
    }
}

/// The name of what became of a slot, as SPEC §6.6 has it.
pub(crate) fn renew_name(outcome: RenewOutcome) -> &'static str {
    match outcome {
        RenewOutcome::Renewed => "RENEWED",
        RenewOutcome::Gone => "GONE",
        RenewOutcome::NotFound => "NOT_FOUND",
    }
}

fn admin_json(kind: &str, payload: &[u8]) -> Result<Value, Fault> {
    let typed = match kind {
        "KeyGetReply" => through::<Value>(payload),
        "KeyCreate" => through::<admin::KeyCreate>(payload),
        "KeyCreateReply" => through::<admin::KeyCreated>(payload),
        "KeyGet" | "KeyDelete" | "KeyUsage" => through::<admin::KeyRef>(payload),
        "KeyList" => through::<admin::KeyList>(payload),
        "KeyListReply" | "ExportReply" => through::<admin::KeyPage>(payload),
        "KeyUpdate" => through::<admin::KeyUpdate>(payload),
        "KeyUpdateReply" | "KeySetStatusReply" | "KeyDeleteReply" | "KeyRestoreReply"
        | "KeyReviewReply" => through::<admin::KeyChanged>(payload),
        "KeyRestore" => through::<admin::KeyRestore>(payload),
        "KeyReview" => through::<admin::KeyReview>(payload),
        "KeyRotate" => through::<admin::KeyRotate>(payload),
        "KeyRotateReply" => through::<admin::KeyRotated>(payload),
        "KeySecret" => through::<admin::KeySecret>(payload),
        "KeySecretReply" => through::<admin::KeySecretMade>(payload),
        "SigningAdd" => through::<admin::SigningAdd>(payload),
        "SigningAddReply" => through::<admin::SigningAdded>(payload),
        "SigningList" => through::<admin::SigningList>(payload),
        "SigningListReply" => through::<admin::SigningKeys>(payload),
        "SigningRemove" => through::<admin::SigningRemove>(payload),
        "SigningRemoveReply" => through::<admin::KeyChanged>(payload),
        "KeySetStatus" => through::<admin::KeySetStatus>(payload),
        "KeyUsageReply" => through::<admin::KeyUsage>(payload),
        "UsageHistory" => through::<admin::UsageHistoryRequest>(payload),
        "UsageHistoryReply" => through::<admin::UsageHistory>(payload),
        "UsageTop" => through::<admin::UsageTopRequest>(payload),
        "UsageTopReply" => through::<admin::UsageTop>(payload),
        "Import" => through::<admin::ImportChunk>(payload),
        "ImportReply" => through::<admin::ImportReport>(payload),
        "Export" | "Stats" | "Health" | "Reload" | "Verify" | "PepperRotate" | "PepperStatus"
        | "MasterRotate" | "MasterStatus" => {
            admin::NoFields::decode(payload).and_then(serde_json::to_value)
        }
        "TenantCreate" => through::<admin::TenantCreate>(payload),
        "TenantGet" | "TenantRestore" | "TenantUsage" => through::<admin::TenantRef>(payload),
        "TenantUsageReply" => through::<tenant::TenantUsage>(payload),
        "TenantGetReply" => through::<Value>(payload),
        "TenantList" => through::<admin::TenantList>(payload),
        "TenantListReply" => through::<admin::TenantPage>(payload),
        "TenantUpdate" => through::<admin::TenantUpdate>(payload),
        "TenantSetStatus" => through::<admin::TenantSetStatus>(payload),
        "TenantDelete" => through::<admin::TenantDelete>(payload),
        "TenantCreateReply"
        | "TenantUpdateReply"
        | "TenantSetStatusReply"
        | "TenantDeleteReply"
        | "TenantRestoreReply" => through::<admin::TenantChanged>(payload),
        "StatsReply" => through::<admin::Stats>(payload),
        "Backup" => through::<admin::Backup>(payload),
        "BackupReply" => through::<admin::BackupFrame>(payload),
        "Watch" => through::<admin::Watch>(payload),
        "WatchReply" => through::<admin::WatchFrame>(payload),
        "PepperRotateReply" | "PepperStatusReply" | "MasterRotateReply" | "MasterStatusReply" => {
            through::<admin::SecretStatus>(payload)
        }
        "VerifyReply" => through::<admin::VerifyFrame>(payload),
        "HealthReply" => through::<admin::Health>(payload),
        "ReloadReply" => through::<admin::Reloaded>(payload),
        "AlertList" => through::<admin::AlertList>(payload),
        "AlertListReply" => through::<admin::AlertPage>(payload),
        "AlertTest" | "AlertEnable" => through::<admin::AlertRef>(payload),
        "AlertTestReply" => through::<admin::AlertTested>(payload),
        "AlertSecret" => through::<admin::AlertSecret>(payload),
        "AlertSecretReply" => through::<admin::AlertSecrets>(payload),
        "AlertEnableReply" => through::<admin::AlertEnabled>(payload),
        _ => panic!("no such kind: {kind}"),
    };
    typed.map_err(|_| Fault::of("JSON", ErrorCode::BadPayload))
}

/// What is left of JSON that went into a type and came out again.
fn through<T: DeserializeOwned + Serialize>(payload: &[u8]) -> serde_json::Result<Value> {
    serde_json::to_value(serde_json::from_slice::<T>(payload)?)
}

/// Encodes `fields` into the payload of their kind.
pub(crate) fn encode(kind: &str, fields: &Value, out: &mut BytesMut) {
    match kind {
        "Hello" => Hello {
            version_min: number(&fields["version_min"]),
            version_max: number(&fields["version_max"]),
            name: fields["name"].as_str(),
            tenant: fields["tenant"].as_str(),
        }
        .encode(out),
        "HelloReply" => HelloReply {
            version: number(&fields["version"]),
            admin: fields["admin"] == true,
            batch_items_max: number(&fields["batch_items_max"]),
            frame_bytes_max: number(&fields["frame_bytes_max"]),
            name: fields["name"].as_str(),
        }
        .encode(out),
        "Ping" | "PingReply" => out.extend_from_slice(&from_hex(text(&fields["payload_hex"]))),
        "Validate" => put_validate(fields, out),
        "ValidateReply" => put_verdict(fields, out),
        "Increment" => put_increment(fields, out),
        "IncrementReply" => {
            (0..=u8::MAX)
                .filter_map(|byte| IncrementOutcome::decode(&[byte]).ok())
                .find(|outcome| outcome_name(*outcome) == fields["outcome"])
                .expect("a known outcome")
                .encode(out);
        }
        "SlotRenew" => {
            SlotRenew { key_id: number(&fields["key_id"]), slot: number(&fields["slot"]) }
                .encode(out);
        }
        "SlotRenewReply" => {
            (0..=u8::MAX)
                .filter_map(|byte| RenewOutcome::decode(&[byte]).ok())
                .find(|outcome| renew_name(*outcome) == fields["outcome"])
                .expect("a known outcome")
                .encode(out);
        }
        "ValidateBatch" => put_items("Validate", fields, out),
        "ValidateBatchReply" => put_items("ValidateReply", fields, out),
        "IncrementBatch" => put_items("Increment", fields, out),
        "IncrementBatchReply" => put_items("IncrementReply", fields, out),
        "Error" => {
            let code = ErrorCode::from_byte(number(&fields["byte"])).expect("a known error");
            ErrorReply::encode(code, text(&fields["message"]), out);
        }
        _ => out.extend_from_slice(&serde_json::to_vec(fields).expect("JSON")),
    }
}

fn put_validate(fields: &Value, out: &mut BytesMut) {
    let mut flags = ValidateFlags::NONE;
    let first = [("peek", ValidateFlags::PEEK), ("details", ValidateFlags::DETAILS)];
    for (name, flag) in first.into_iter().chain(LATER_FLAGS) {
        if fields[name] == true {
            flags = flags.with(flag);
        }
    }
    let token = match fields["token"].as_str() {
        Some(token) => token.as_bytes().to_vec(),
        None => from_hex(text(&fields["token_hex"])),
    };
    let mut writer = ValidateWriter::new(out, flags, number(&fields["cost"]), &token);
    if let Some(address) = fields["address"].as_str() {
        writer.address(address.parse().expect("an address"));
    }
    type Put = fn(&mut ValidateWriter<'_>, &str);
    let names: [(&str, Put); 5] = [
        ("origin", |writer, value| writer.origin(value)),
        ("environment", |writer, value| writer.environment(value)),
        ("region", |writer, value| writer.region(value)),
        ("integration", |writer, value| writer.integration(value)),
        ("api_version", |writer, value| writer.api_version(value)),
    ];
    for (name, put) in names {
        if let Some(value) = fields[name].as_str() {
            put(&mut writer, value);
        }
    }
    if let Some(https) = fields["https"].as_bool() {
        writer.https(https);
    }
    if let Some(secret) = fields["client_secret"].as_str() {
        writer.client_secret(secret.as_bytes());
    }
    if let Some(secret) = fields["client_secret_hex"].as_str() {
        writer.client_secret(&from_hex(secret));
    }
    if let Some(sha256) = fields["client_certificate"].as_str() {
        writer.client_certificate(&from_hex(sha256).try_into().expect("32 bytes"));
    }
    if fields["signed"].is_object() {
        put_signed(&fields["signed"], &mut writer);
    }
    for scope in list(&fields["scopes_all"]) {
        writer.scope_all(text(scope));
    }
    for scope in list(&fields["scopes_any"]) {
        writer.scope_any(text(scope));
    }
    for feature in fields["features"].as_array().into_iter().flatten() {
        writer.feature(text(feature));
    }
    if let Some(tenant) = fields["tenant"].as_str() {
        writer.tenant(tenant);
    }
    for limit in fields["limits"].as_array().into_iter().flatten() {
        writer.limit(text(limit));
    }
}

fn put_signed(fields: &Value, writer: &mut ValidateWriter<'_>) {
    type Put = fn(&mut ValidateWriter<'_>, &str);
    let texts: [(&str, Put); 5] = [
        ("method", |writer, value| writer.method(value)),
        ("scheme", |writer, value| writer.scheme(value)),
        ("authority", |writer, value| writer.authority(value)),
        ("path", |writer, value| writer.path(value)),
        ("query", |writer, value| writer.query(value)),
    ];
    for (name, put) in texts {
        if let Some(value) = fields[name].as_str() {
            put(writer, value);
        }
    }
    for header in fields["headers"].as_array().into_iter().flatten() {
        match header[1].as_str() {
            Some(value) => writer.header(text(&header[0]), value.as_bytes()),
            None => writer.header(text(&header[0]), &from_hex(text(&header[1]["hex"]))),
        }
    }
    if let Some(body) = fields["body"].as_str() {
        let body = from_hex(body);
        writer.body(match body.len() {
            1 => Body::Checked,
            32 => Body::Sha256(body.as_slice().try_into().expect("32 bytes")),
            _ => Body::Sha512(body.as_slice().try_into().expect("64 bytes")),
        });
    }
}

fn put_verdict(fields: &Value, out: &mut BytesMut) {
    let limit = |name: &Value| {
        LimitName::ALL.iter().copied().find(|limit| limit.name() == name).expect("a known limit")
    };
    let code = VerdictCode::ALL.iter().find(|code| code.name() == fields["code"]);
    let mut verdict = Verdict::of(*code.expect("a known verdict"), number(&fields["key_id"]));
    verdict.denied_by = Some(&fields["denied_by"]).filter(|name| !name.is_null()).map(limit);
    for name in list(&fields["warnings"]) {
        let bit = (0..16)
            .map(|bit| Warnings::from_bits(1 << bit))
            .find(|warning| warning.names().any(|known| known == name));
        verdict.warnings = verdict.warnings.with(bit.expect("a known warning"));
    }
    for report in list(&fields["limits"]) {
        verdict.limits.push(LimitReport {
            name: limit(&report["name"]),
            limit: number(&report["limit"]),
            remaining: number(&report["remaining"]),
            retry_after_us: optional(&report["retry_after_us"]),
            reset_after_us: optional(&report["reset_after_us"]),
        });
    }
    verdict.slot = optional(&fields["slot"]);
    verdict.encode(out);
    if let Some(tenant_id) = fields["tenant_id"].as_str() {
        put_details(tenant_id, list(&fields["scopes"]).iter().map(text), out);
    }
    if let Some(metadata) = fields["metadata"].as_str() {
        put_metadata(metadata.as_bytes(), out);
    }
}

fn put_increment(fields: &Value, out: &mut BytesMut) {
    let id = fields["id"].as_str();
    let counters: Vec<(&str, u64)> = fields["counters"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|counter| (text(&counter["name"]), number(&counter["counted"])))
        .collect();
    Increment {
        key_id: number(&fields["key_id"]),
        count: number(&fields["count"]),
        latency_us: optional(&fields["latency_us"]),
        status: optional(&fields["status"]),
        endpoint: fields["endpoint"].as_str(),
        error: fields["error"].as_str(),
        id: id.map(|id| u128::from_str_radix(id, 16).expect("32 hexadecimal digits")),
        slot: optional(&fields["slot"]),
        refund: optional(&fields["refund"]),
        counters: Counters::of(&counters),
    }
    .encode(out);
}

fn put_items(kind: &str, fields: &Value, out: &mut BytesMut) {
    let mut batch = BatchWriter::new(out);
    for item in list(&fields["items"]) {
        batch.item(|out| encode(kind, item, out));
    }
    batch.finish();
}

/// A number, written as one or as a decimal string.
fn number<T: std::str::FromStr>(value: &Value) -> T {
    optional(value).unwrap_or_else(|| panic!("{value} is no number of its field"))
}

fn optional<T: std::str::FromStr>(value: &Value) -> Option<T> {
    match value {
        Value::String(digits) => digits.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
