//! Families as text: [OpenMetrics 1.0](https://prometheus.io/docs/specs/om/open_metrics_spec/), or the
//! older [text format 0.0.4](https://prometheus.io/docs/instrumenting/exposition_formats/).

use std::fmt::{self, Write};

use super::family::seconds;
use super::{Family, Kind, Sample, Snapshot, Value};

/// How families are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics text 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Prometheus,
}

impl Format {
    /// What `Content-Type` says of it.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The one that an `Accept` header asks for: OpenMetrics where it is named in a version that is
    /// written here and nothing else is preferred, and the older where nothing is said.
    #[must_use]
    pub fn of_accept(accept: &str) -> Self {
        let (mut open, mut older) = (0, 0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1000, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim() {
                    "q" => quality = thousandths(value.trim()),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            match media.as_str() {
                "application/openmetrics-text" if matches!(version, None | Some("1.0.0")) => {
                    open = open.max(quality);
                }
                "text/plain" => older = older.max(quality),
                _ => {}
            }
        }
        if open > 0 && open >= older { Self::OpenMetrics } else { Self::Prometheus }
    }
}

/// A quality of RFC 9110, section 12.4.2: 0 to 1 with three decimals at the most. What is none counts
/// as not wanted.
fn thousandths(quality: &str) -> u32 {
    let (whole, rest) = quality.split_once('.').unwrap_or((quality, ""));
    let digits = |text: &str| text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    match (whole, digits(rest)) {
        ("1", true) => 1000,
        ("0", true) => format!("{rest:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

/// All families, in their order.
#[must_use]
pub fn render(families: &[Family], format: Format) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for family in families {
        // Nothing is lost: a string takes all that is written to it.
        let _ = put_family(&mut out, family, format);
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn put_family(out: &mut String, family: &Family, format: Format) -> fmt::Result {
    let Family { name, kind, help, samples } = family;
    // In the older text a family has the name of its samples.
    let (suffix, kind_name) = match (kind, format) {
        (Kind::Counter, Format::OpenMetrics) => ("", "counter"),
        (Kind::Counter, Format::Prometheus) => ("_total", "counter"),
        (Kind::Gauge, _) => ("", "gauge"),
        (Kind::Histogram, _) => ("", "histogram"),
        (Kind::Info, Format::OpenMetrics) => ("", "info"),
        (Kind::Info, Format::Prometheus) => ("_info", "gauge"),
    };
    writeln!(out, "# HELP {name}{suffix} {help}.")?;
    writeln!(out, "# TYPE {name}{suffix} {kind_name}")?;
    if format == Format::OpenMetrics
        && let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit))
    {
        writeln!(out, "# UNIT {name} {unit}")?;
    }
    let suffix = match kind {
        Kind::Counter => "_total",
        Kind::Info => "_info",
        Kind::Gauge | Kind::Histogram => "",
    };
    for Sample { labels, value } in samples {
        match value {
            Value::Whole(number) => put_sample(out, name, suffix, labels, *number)?,
            Value::Real(number) => put_sample(out, name, suffix, labels, *number)?,
            Value::Durations(durations) => put_durations(out, name, labels, durations)?,
        }
    }
    Ok(())
}

fn put_durations(
    out: &mut String,
    name: &str,
    labels: &[(&'static str, &'static str)],
    durations: &Snapshot,
) -> fmt::Result {
    let mut within = 0;
    let bounds = durations.buckets.iter().map(|bound| float(seconds(*bound)));
    for (count, bound) in durations.counts.iter().zip(bounds.chain(["+Inf".to_owned()])) {
        within += count;
        put_name(out, name, "_bucket", labels, Some(&bound))?;
        writeln!(out, " {within}")?;
    }
    put_sample(out, name, "_sum", labels, float(seconds(durations.sum_ns)))?;
    put_sample(out, name, "_count", labels, within)
}

/// A bound has a point in it, as OpenMetrics would have it.
fn float(number: f64) -> String {
    let text = number.to_string();
    if text.contains('.') { text } else { text + ".0" }
}

fn put_sample(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: &[(&'static str, &'static str)],
    value: impl fmt::Display,
) -> fmt::Result {
    put_name(out, name, suffix, labels, None)?;
    writeln!(out, " {value}")
}

fn put_name(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: &[(&'static str, &'static str)],
    bound: Option<&str>,
) -> fmt::Result {
    write!(out, "{name}{suffix}")?;
    let mut open = '{';
    for (label, value) in labels.iter().copied().chain(bound.map(|bound| ("le", bound))) {
        write!(out, "{open}{label}=\"{}\"", Escaped(value))?;
        open = ',';
    }
    if open == ',' { out.write_char('}') } else { Ok(()) }
}

/// A label's value between its quotes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '"' => out.write_str("\\\""),
            '\\' => out.write_str("\\\\"),
            '\n' => out.write_str("\\n"),
            character => out.write_char(character),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Histogram;
    use super::*;

    fn families() -> Vec<Family> {
        let durations = Histogram::new(&[5_000, 1_000_000_000]);
        durations.observe(1_000, 2);
        durations.observe(250_000_000, 1);
        let labels = &[("code", "VALID"), ("plane", "a\"b\\c\n")];
        vec![
            Family::new(Kind::Counter, "keygate_decisions", "Verdicts")
                .with(labels, Value::Whole(u64::MAX)),
            Family::seconds("keygate_lag_seconds", "Lag", 1_500_000_000),
            Family::durations("keygate_answer_seconds", "Answers", durations.snapshot()),
            Family::new(Kind::Info, "keygate_build", "Build")
                .with(&[("version", "1")], Value::Whole(1)),
            Family::gauge("keygate_keys", "Keys", 0),
        ]
    }

    #[test]
    fn openmetrics_says_units_and_its_end() {
        let expected = "# HELP keygate_decisions Verdicts.
# TYPE keygate_decisions counter
keygate_decisions_total{code=\"VALID\",plane=\"a\\\"b\\\\c\\n\"} 18446744073709551615
# HELP keygate_lag_seconds Lag.
# TYPE keygate_lag_seconds gauge
# UNIT keygate_lag_seconds seconds
keygate_lag_seconds 1.5
# HELP keygate_answer_seconds Answers.
# TYPE keygate_answer_seconds histogram
# UNIT keygate_answer_seconds seconds
keygate_answer_seconds_bucket{le=\"0.000005\"} 2
keygate_answer_seconds_bucket{le=\"1.0\"} 3
keygate_answer_seconds_bucket{le=\"+Inf\"} 3
keygate_answer_seconds_sum 0.250002
keygate_answer_seconds_count 3
# HELP keygate_build Build.
# TYPE keygate_build info
keygate_build_info{version=\"1\"} 1
# HELP keygate_keys Keys.
# TYPE keygate_keys gauge
keygate_keys 0
# EOF
";
        assert_eq!(render(&families(), Format::OpenMetrics), expected);
    }

    #[test]
    fn the_older_text_names_families_as_their_samples() {
        let text = render(&families(), Format::Prometheus);
        for line in [
            "# TYPE keygate_decisions_total counter\nkeygate_decisions_total{",
            "# TYPE keygate_build_info gauge\nkeygate_build_info{version=\"1\"} 1\n",
            "# TYPE keygate_answer_seconds histogram\nkeygate_answer_seconds_bucket{",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
    }

    #[test]
    fn the_format_is_the_one_that_is_asked_for() {
        #[rustfmt::skip]
        let cases = [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/html", Format::Prometheus),
            ("text/plain", Format::Prometheus),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; version=1.0.0", Format::OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\"; charset=utf-8", Format::OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Format::Prometheus),
            ("application/openmetrics-text;version=2.0.0", Format::Prometheus),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("application/openmetrics-text;q=0.5,text/plain;q=0.6", Format::Prometheus),
            ("application/openmetrics-text;q=0.6,text/plain;q=0.6", Format::OpenMetrics),
            ("application/openmetrics-text;q=7", Format::Prometheus),
            // Prometheus 2.42.
            ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Format::OpenMetrics),
            (",;=;,;q", Format::Prometheus),
        ];
        for (accept, expected) in cases {
            assert_eq!(Format::of_accept(accept), expected, "{accept}");
        }
    }
}
