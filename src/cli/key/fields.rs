//! The flags of `key create` and `key update` that set fields of the record: one table, a flag for
//! each field that a writer may set. What a value may be is the daemon's to say, which names the
//! field; here it is read as far as its kind goes.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::{Map, Value, json};

use crate::cli::whole::{seconds, whole};
use crate::cli::{limits, when};
use crate::key::Time;

/// The fields that flags have set, by their names in the record.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Whether a flag has set this field.
    pub(super) fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// Puts the fields into a record, over what it had.
    pub(super) fn put(&self, record: &mut Map<String, Value>) {
        record.extend(self.0.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
}

/// How a flag's value becomes a field's.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    /// Given once for each entry.
    List,
    /// The same, kept as one text with commas.
    Commas,
    /// `--flag`, or `--flag=false` to take it back.
    Switch,
    Number,
    Seconds,
    Decimal,
    /// A JSON text, kept as bytes.
    Json,
    /// A duration from now, or an instant.
    Expiry,
    /// A named limit, given once for each.
    Limits,
    /// What there is of credits.
    Balance,
    /// What comes to them.
    Refill,
}

/// What `--credits-refill` sets, inside the field that `--credits` sets.
const REFILL: &str = "credits.refill";

/// A name of a flag beside its own and its field's, which people try first.
const ALSO: [(&str, &str); 1] = [("billing_tier", "tier")];

/// One flag.
struct Flag {
    long: &'static str,
    field: &'static str,
    kind: Kind,
    value: &'static str,
    help: &'static str,
}

const fn flag([long, field, value, help]: [&'static str; 4], kind: Kind) -> Flag {
    Flag { long, field, kind, value, help }
}

#[rustfmt::skip]
const WHAT_IT_IS: &[Flag] = &[
    flag(["name", "name", "N", "A name for people"], Kind::Text),
    flag(["description", "description", "TEXT", "What it is used for"], Kind::Text),
    flag(["tag", "tags", "T", "A tag"], Kind::List),
    flag(["metadata", "metadata_json", "JSON", "Any JSON up to 16 KiB, told with a verdict on demand"], Kind::Json),
    flag(["documentation-url", "documentation_url", "URL", "A page about it"], Kind::Text),
    flag(["support-contact", "support_contact", "TEXT", "Whom to ask"], Kind::Text),
    flag(["tenant", "tenant_id", "T", "The tenant that the key belongs to; \"default\" if none is named"], Kind::Text),
    flag(["organization", "organization_id", "ID", "The organization above the tenant"], Kind::Text),
    flag(["workspace", "workspace_id", "ID", "The workspace below the tenant"], Kind::Text),
    flag(["account", "account_id", "ID", "The account below the workspace"], Kind::Text),
];

#[rustfmt::skip]
const RULES: &[Flag] = &[
    flag(["scope", "scopes", "S", "A scope to grant, such as leads:read, leads:* or *"], Kind::List),
    flag(["allow-ip", "allowed_ips", "BLOCK", "An address or block that clients may have, such as 203.0.113.0/24"], Kind::List),
    flag(["allow-domain", "allowed_domains", "HOST", "A host that requests may come from, or *.HOST for all below it"], Kind::List),
    flag(["environment", "allowed_environments", "NAME", "An environment that may be called, such as production"], Kind::List),
    flag(["residency", "data_residency", "REGION", "A region that may be called"], Kind::Commas),
    flag(["integration", "approved_integrations", "NAME", "An integration that may call"], Kind::List),
    flag(["api-version", "api_version", "V", "The only version of the API that may be called"], Kind::Text),
    flag(["feature", "supported_features", "NAME", "A feature that may be asked for"], Kind::List),
    flag(["enforce-https", "enforce_https", "", "Deny what did not come by HTTPS"], Kind::Switch),
    flag(["expires", "expires_at", "WHEN", "When the key ends: a duration such as 90d, or an RFC 3339 time"], Kind::Expiry),
];

#[rustfmt::skip]
const LIMITS: &[Flag] = &[
    flag(["rps", "requests_per_second", "N", "Requests a second; unlimited if not given"], Kind::Number),
    flag(["burst", "burst", "N", "Requests at once; as many as --rps if not given"], Kind::Number),
    flag(["requests-per-day", "requests_per_day", "N", "Requests a day"], Kind::Number),
    flag(["monthly-quota", "monthly_request_quota", "N", "Requests a month"], Kind::Number),
    flag(["max-uses", "max_uses", "N", "Requests in all"], Kind::Number),
    flag(["concurrent", "concurrent_requests", "N", "Requests under way at a time"], Kind::Number),
    flag(["slot-ttl", "slot_ttl_seconds", "SECONDS", "How long a place among --concurrent is held that nobody gives back; 60 if nothing says otherwise"], Kind::Seconds),
    flag(["limit", "limits", "NAME=COUNT/PERIOD", "A limit that requests spend by its name, such as exports=10/h (a list); PERIOD is hour, day, week, month or year of the calendar, or a rolling time such as 90s, 15m, 1h, 30d or 2w"], Kind::Limits),
    flag(["credits", "credits", "N", "A balance that requests spend; without --credits-refill nothing comes to it"], Kind::Balance),
    flag(["credits-refill", REFILL, "REFILL", "What comes to it: AMOUNT/day or AMOUNT/month@DAY, then add or replace"], Kind::Refill),
    flag(["billing-tier", "billing_tier", "NAME", "The tier whose limits it has where it has none"], Kind::Text),
    flag(["cost-per-request", "cost_per_request", "MONEY", "What a request costs, up to nine decimals"], Kind::Decimal),
];

#[rustfmt::skip]
const PROOFS: &[Flag] = &[
    flag(["require-client-secret", "requires_client_secret", "", "Demand a second secret"], Kind::Switch),
    flag(["client-secret-hash", "client_secret_hash", "SHA256", "The hash of that secret, 64 hexadecimal digits"], Kind::Text),
    flag(["enforce-mutual-tls", "enforce_mutual_tls", "", "Demand a client certificate"], Kind::Switch),
    flag(["client-certificate-hash", "client_certificate_hash", "SHA256", "The hash of its DER, hexadecimal or base64url"], Kind::Text),
    flag(["enforce-signing", "enforce_signing", "", "Demand signed requests"], Kind::Switch),
    flag(["require-request-signing", "require_request_signing", "", "The same, by its other name in the record"], Kind::Switch),
    flag(["signature-algorithm", "allowed_signature_algorithms", "NAME", "An algorithm that signatures may have, such as ed25519"], Kind::List),
];

#[rustfmt::skip]
const CARE: &[Flag] = &[
    flag(["rotation-days", "rotation_frequency_days", "N", "After how many days it is to be rotated"], Kind::Number),
    flag(["compliance-standard", "compliance_standards", "NAME", "A profile that it must fit"], Kind::List),
    flag(["classification", "data_classification", "CLASS", "public, internal, confidential or restricted"], Kind::Text),
    flag(["encrypted", "encrypted", "", "Encrypt the record at rest"], Kind::Switch),
    flag(["log-all-requests", "log_all_requests", "", "Log every decision"], Kind::Switch),
    flag(["require-audit-logging", "requires_audit_logging", "", "Give no valid verdict that is not audited"], Kind::Switch),
    flag(["alert-email", "alert_emails", "ADDRESS", "Where alerts are mailed to"], Kind::List),
    flag(["webhook-url", "webhook_url", "URL", "Where alerts are posted to"], Kind::Text),
    flag(["monitor", "monitoring_integrations", "SINK", "A sink that gets its events"], Kind::List),
    flag(["alert-on-quota", "alert_on_quota_threshold", "", "Alert when much of the month's quota is spent"], Kind::Switch),
    flag(["quota-threshold", "quota_alert_threshold", "SHARE", "How much, 0 to 1"], Kind::Decimal),
    flag(["alert-on-errors", "alert_on_error_spike", "", "Alert when many requests fail"], Kind::Switch),
    flag(["error-threshold", "error_alert_threshold", "SHARE", "How many, 0 to 1"], Kind::Decimal),
];

const GROUPS: &[(&str, &[Flag])] = &[
    ("What the key is", WHAT_IT_IS),
    (
        "What it may do (a list: give the flag for each entry; an update replaces all there were)",
        RULES,
    ),
    ("Limits", LIMITS),
    ("Proofs", PROOFS),
    ("Care and alerts", CARE),
];

/// The names of fields, as flags have them.
static OF_FIELDS: LazyLock<BTreeMap<&'static str, String>> = LazyLock::new(|| {
    let flags = GROUPS.iter().flat_map(|(_, flags)| *flags);
    let fields = flags.map(|flag| flag.field).filter(|field| *field != REFILL);
    fields.map(|field| (field, field.replace('_', "-"))).collect()
});

impl Flag {
    fn arg(&self, heading: &'static str) -> Arg {
        let arg = Arg::new(self.field).long(self.long).help(self.help).help_heading(heading);
        let arg = arg.aliases(self.other_names());
        match self.kind {
            Kind::Switch => arg
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_name("true|false")
                .value_parser(value_parser!(bool)),
            Kind::List | Kind::Commas => arg.value_name(self.value).action(ArgAction::Append),
            Kind::Text => arg.value_name(self.value),
            // What begins with a dash is refused as a number then, and not as a flag.
            Kind::Number | Kind::Balance => {
                arg.value_name(self.value).value_parser(whole).allow_negative_numbers(true)
            }
            Kind::Seconds => {
                arg.value_name(self.value).value_parser(seconds).allow_negative_numbers(true)
            }
            Kind::Limits => arg
                .value_name(self.value)
                .value_parser(limits::named_limit)
                .action(ArgAction::Append),
            Kind::Refill => arg.value_name(self.value).value_parser(limits::refill),
            Kind::Decimal => {
                arg.value_name(self.value).value_parser(decimal).allow_negative_numbers(true)
            }
            Kind::Json => arg.value_name(self.value).value_parser(json),
            Kind::Expiry => arg.value_name(self.value).value_parser(when::from_now),
        }
    }

    /// The name of the field, which the record and the configuration teach, is a name of the flag
    /// too. No help shows it, but the tip for a mistyped one does: it would name another flag.
    fn other_names(&self) -> impl Iterator<Item = &'static str> {
        let of_field = OF_FIELDS.get(self.field).map(String::as_str);
        let also = ALSO.into_iter().filter(|(field, _)| *field == self.field);
        let names = of_field.into_iter().chain(also.map(|(_, name)| name));
        names.filter(|name| *name != self.long)
    }

    fn value(&self, matches: &ArgMatches) -> Option<Value> {
        let field = self.field;
        let list = || -> Option<Vec<String>> {
            Some(matches.get_many::<String>(field)?.cloned().collect())
        };
        match self.kind {
            Kind::List => list().map(Value::from),
            Kind::Commas => list().map(|names| names.join(",").into()),
            Kind::Text | Kind::Json => matches.get_one::<String>(field).cloned().map(Value::from),
            Kind::Switch => matches.get_one::<bool>(field).copied().map(Value::from),
            Kind::Number | Kind::Seconds => matches.get_one::<u64>(field).copied().map(Value::from),
            Kind::Decimal => matches.get_one::<f64>(field).copied().map(Value::from),
            Kind::Expiry => matches.get_one::<Time>(field).map(|time| time.to_string().into()),
            Kind::Limits => {
                let limits = matches.get_many::<Value>(field)?;
                Some(limits.cloned().collect())
            }
            Kind::Balance => {
                matches.get_one::<u64>(field).map(|balance| json!({ "balance": balance }))
            }
            Kind::Refill => matches.get_one::<Value>(field).cloned(),
        }
    }
}

impl clap::Args for Fields {
    fn augment_args(command: Command) -> Command {
        GROUPS.iter().fold(command, |command, (heading, flags)| {
            command.args(flags.iter().map(|flag| flag.arg(heading)))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Fields {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = GROUPS.iter().flat_map(|(_, flags)| *flags);
        let set = flags.filter_map(|flag| Some((flag.field.to_owned(), flag.value(matches)?)));
        let mut set: Map<String, Value> = set.collect();
        if let Some(refill) = set.remove(REFILL) {
            // A refill alone would set the balance too, to what nobody has said.
            let credits = set.get_mut("credits").ok_or_else(|| {
                let message = "--credits-refill sets the balance anew: state it too, with \
                               --credits N\n";
                clap::Error::raw(ErrorKind::MissingRequiredArgument, message)
            })?;
            credits["refill"] = refill;
        }
        Ok(Self(set))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}

/// A number that JSON has: without a word, what it has not would clear the field.
fn decimal(text: &str) -> Result<f64, String> {
    let number = text.parse().map_err(|_| "it is a number, such as 0.5".to_owned())?;
    if f64::is_finite(number) {
        Ok(number)
    } else {
        Err("it is no number that is finite".to_owned())
    }
}

/// A JSON text, in base64, as the source system has bytes.
fn json(text: &str) -> Result<String, String> {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(STANDARD.encode(text)),
        Err(error) => Err(format!("it is not JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::key::KeyRecord;
    use crate::key::record::Class;
    use clap::{Args, FromArgMatches};

    fn read(args: &[String]) -> Result<Map<String, Value>, clap::Error> {
        let command = Fields::augment_args(Command::new("key").no_binary_name(true));
        let matches = command.try_get_matches_from(args)?;
        let mut record = Map::new();
        Fields::from_arg_matches(&matches)?.put(&mut record);
        Ok(record)
    }

    /// A flag by one of its names, with a value that it takes.
    fn given(flag: &Flag, name: &str) -> String {
        match flag.kind {
            Kind::Switch => format!("--{name}"),
            Kind::Expiry => format!("--{name}=2127-03-01T09:00:00Z"),
            Kind::Limits => format!("--{name}=a=1/h"),
            Kind::Refill => format!("--{name}=1/day"),
            _ => format!("--{name}=1"),
        }
    }

    #[test]
    fn every_field_that_a_writer_may_set_has_a_flag() {
        let flags = GROUPS.iter().flat_map(|(_, flags)| *flags);
        let args: Vec<String> = flags.map(|flag| given(flag, flag.long)).collect();
        let set: BTreeSet<String> =
            read(&args).expect("every flag is taken").into_iter().map(|(name, _)| name).collect();
        // The status has commands of its own, and the mark of a test key is a flag of `create`.
        let own = ["status", "is_test_key"];
        let fields = KeyRecord::FIELDS.iter().filter(|field| field.class != Class::Derived);
        let fields = fields.map(|field| field.name.to_owned());
        let expected: BTreeSet<String> =
            fields.filter(|name| !own.contains(&name.as_str())).collect();
        assert_eq!(set, expected);
    }

    #[test]
    fn every_flag_is_found_by_the_name_of_its_field_too() {
        let flags = GROUPS.iter().flat_map(|(_, flags)| *flags);
        for flag in flags.filter(|flag| flag.field != REFILL) {
            let by_field = flag.field.replace('_', "-");
            let [own, other] =
                [flag.long, &by_field].map(|name| read(&[given(flag, name)]).expect(name));
            assert_eq!(own, other, "{by_field}");
        }
        let by_tier = read(&["--tier=gold".to_owned()]).expect("as people call it");
        assert_eq!(by_tier["billing_tier"], "gold");
        let help = Fields::augment_args(Command::new("key")).render_long_help().to_string();
        assert!(!help.contains("--requests-per-second"), "one name is enough there: {help}");
    }

    #[test]
    fn each_kind_of_value_becomes_that_of_its_field() {
        let args = [
            "--name=x",
            "--allow-ip",
            "10.0.0.0/8",
            "--allow-ip=::1",
            "--residency=eu-west-1",
            "--residency=eu-west-2",
            "--enforce-https",
            "--encrypted=false",
            "--rps=5",
            "--quota-threshold=0.5",
            "--metadata",
            "{\"a\":1}",
            "--expires=2027-03-01T09:00:00Z",
            "--limit=exports=10/h",
            "--limit",
            "b=5/month",
            "--credits=1000",
            "--credits-refill",
            "500/month@31 add",
        ];
        let record = read(&args.map(str::to_owned)).expect("flags");
        let expected = json!({
            "name": "x", "allowed_ips": ["10.0.0.0/8", "::1"],
            "data_residency": "eu-west-1,eu-west-2", "enforce_https": true, "encrypted": false,
            "requests_per_second": 5, "quota_alert_threshold": 0.5, "metadata_json": "eyJhIjoxfQ==",
            "expires_at": "2027-03-01T09:00:00Z",
            "limits": [
                {"name": "exports", "count": 10, "period": "h"},
                {"name": "b", "count": 5, "period": "month"},
            ],
            "credits": {
                "balance": 1000,
                "refill": {"amount": 500, "every": "month", "day": 31, "mode": "add"},
            },
        });
        assert_eq!(Value::Object(record), expected);
        for bad in [
            "--rps=many",
            "--rps=-1",
            "--encrypted=maybe",
            "--metadata={",
            "--expires=soon",
            "--cost-per-request=nan",
            "--quota-threshold=inf",
            "--limit=exports",
            "--credits=-1",
            "--credits-refill=500/week",
        ] {
            assert!(read(&[bad.to_owned()]).is_err(), "{bad}");
        }
        let alone = read(&["--credits-refill=500/day".to_owned()]).expect_err("of what balance?");
        assert!(alone.to_string().contains("--credits N"), "{alone}");
    }
}
