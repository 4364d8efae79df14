//! What a measurement found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::Plan;
use super::lane::question_bytes;
use super::tally::Tally;

/// How it was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Connections.
    pub connections: u32,
    /// Most requests in flight on each.
    pub depth: u32,
    /// Requests a second that were due; `None` is the closed loop.
    pub rate: Option<u32>,
    /// Threads that asked.
    pub threads: u32,
    /// Keys asked about.
    pub keys: usize,
    /// Bytes of one question, its frame included.
    pub question_bytes: usize,
    /// Seconds that the daemon was measured, over all rounds.
    pub seconds: f64,
    /// Rounds.
    pub rounds: u32,
}

/// Percentiles in nanoseconds, each at most 0.1 % off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// The median.
    pub p50_ns: u64,
    /// One in ten is longer.
    pub p90_ns: u64,
    /// One in a hundred is longer.
    pub p99_ns: u64,
    /// One in a thousand is longer.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// What one side did.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Answers that came within the measured time.
    pub answered: u64,
    /// The same, for each second of it.
    pub per_second: f64,
    /// From due (open loop) or asked (closed loop) to answered.
    pub latency: Latency,
    /// Open loop: from due to asked, so what of `latency` was the generator's own lateness.
    pub late: Option<Latency>,
    /// Open loop: requests that were due and not asked before the end, because as many as allowed
    /// were in flight, or because the generator was late.
    pub unsent: u64,
    /// Answers by the verdict's name.
    pub verdicts: BTreeMap<String, u64>,
    /// Requests that could not be judged, by the error's name; in no other figure.
    pub errors: BTreeMap<String, u64>,
}

/// One round: the daemon, and the echo just before and after it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// The daemon's answers for each second.
    pub keygate_per_second: f64,
    /// The daemon's median latency.
    pub keygate_p50_ns: u64,
    /// The echo's answers for each second, both measurements together.
    pub echo_per_second: f64,
    /// The echo's median latency, likewise.
    pub echo_p50_ns: u64,
}

/// The daemon beside the yardstick.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// How it was measured.
    pub shape: Shape,
    /// The daemon, all rounds together.
    pub keygate: Figures,
    /// The bare echo, all rounds together.
    pub echo: Figures,
    /// Each round. Far from each other, the machine was not quiet.
    pub rounds: Vec<Round>,
}

impl Shape {
    pub(super) fn of(plan: &Plan) -> Self {
        Self {
            connections: plan.connections,
            depth: plan.depth,
            rate: plan.rate,
            threads: plan.threads(),
            keys: plan.tokens.len(),
            question_bytes: plan.tokens.first().map_or(0, |token| question_bytes(token.as_bytes())),
            seconds: plan.duration.as_secs_f64(),
            rounds: plan.rounds,
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "connections": self.connections,
            "depth": self.depth,
            "rate": self.rate,
            "threads": self.threads,
            "keys": self.keys,
            "question_bytes": self.question_bytes,
            "seconds": self.seconds,
            "rounds": self.rounds,
        })
    }
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            p50_ns: histogram.value_at_quantile(0.5),
            p90_ns: histogram.value_at_quantile(0.9),
            p99_ns: histogram.value_at_quantile(0.99),
            p999_ns: histogram.value_at_quantile(0.999),
            max_ns: histogram.max(),
        }
    }

    /// Each percentile with its name.
    fn rows(&self) -> [(&'static str, u64); 5] {
        [
            ("p50", self.p50_ns),
            ("p90", self.p90_ns),
            ("p99", self.p99_ns),
            ("p99.9", self.p999_ns),
            ("max", self.max_ns),
        ]
    }

    fn to_json(self) -> Value {
        json!({
            "p50_ns": self.p50_ns,
            "p90_ns": self.p90_ns,
            "p99_ns": self.p99_ns,
            "p999_ns": self.p999_ns,
            "max_ns": self.max_ns,
        })
    }
}

impl Figures {
    pub(super) fn of(tally: &Tally) -> Self {
        Self {
            answered: tally.answered,
            per_second: ratio(tally.answered, tally.duration.as_secs_f64()),
            latency: Latency::of(&tally.latency),
            late: (!tally.late.is_empty()).then(|| Latency::of(&tally.late)),
            unsent: tally.unsent,
            verdicts: tally.verdicts(),
            errors: tally.errors(),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "answered": self.answered,
            "per_second": self.per_second,
            "latency": self.latency.to_json(),
            "late": self.late.map(Latency::to_json),
            "unsent": self.unsent,
            "verdicts": self.verdicts,
            "errors": self.errors,
        })
    }
}

impl Report {
    /// `echo` has one measurement more than `keygate`: they took turns.
    pub(super) fn new(shape: Shape, keygate: &[Tally], echo: &[Tally]) -> Self {
        let rounds = keygate.iter().zip(echo.windows(2)).map(|(ours, bare)| {
            let (ours, bare) = (Figures::of(ours), Figures::of(&Tally::sum(bare)));
            Round {
                keygate_per_second: ours.per_second,
                keygate_p50_ns: ours.latency.p50_ns,
                echo_per_second: bare.per_second,
                echo_p50_ns: bare.latency.p50_ns,
            }
        });
        Self {
            shape,
            rounds: rounds.collect(),
            keygate: Figures::of(&Tally::sum(keygate)),
            echo: Figures::of(&Tally::sum(echo)),
        }
    }

    /// The median over the rounds of the daemon's answers for each second divided by the echo's.
    #[must_use]
    pub fn per_second_ratio(&self) -> f64 {
        median(self.rounds.iter().map(|it| it.keygate_per_second / it.echo_per_second))
    }

    /// The median over the rounds of the daemon's median latency divided by the echo's.
    #[must_use]
    pub fn p50_ratio(&self) -> f64 {
        median(self.rounds.iter().map(|it| ratio(it.keygate_p50_ns, lossy(it.echo_p50_ns))))
    }

    /// The report for programs: the fields of [`Report`] by their names, latencies in nanoseconds,
    /// and two sets of the daemon's figures divided by the echo's: `ratio` of all rounds together,
    /// `round_ratio` the median over the rounds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (ours, bare) = (self.keygate.latency.rows(), self.echo.latency.rows());
        let [p50, p90, p99, p999, max] =
            std::array::from_fn(|row| ratio(ours[row].1, lossy(bare[row].1)));
        let per_second = self.keygate.per_second / self.echo.per_second;
        json!({
            "shape": self.shape.to_json(),
            "keygate": self.keygate.to_json(),
            "echo": self.echo.to_json(),
            "rounds": self.rounds.iter().map(|it| it.to_json()).collect::<Vec<_>>(),
            "round_ratio": { "per_second": self.per_second_ratio(), "p50": self.p50_ratio() },
            "ratio": {
                "per_second": per_second,
                "p50": p50, "p90": p90, "p99": p99, "p999": p999, "max": max,
            },
        })
    }

    fn heading(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { connections, depth, rate, threads, keys, question_bytes, seconds, rounds } =
            &self.shape;
        let rate = rate.map_or("closed loop".to_owned(), |rate| {
            format!("open loop, {} requests/s due", grouped(rate.into()))
        });
        writeln!(f, "{rate}, {connections} connection(s), {depth} in flight on each")?;
        writeln!(f, "{keys} key(s), {question_bytes} B a question, {threads} thread(s) asking")?;
        writeln!(f, "{seconds} s in {rounds} round(s)")
    }

    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ours, bare) = (&self.keygate, &self.echo);
        writeln!(f, "{:<12}{:>14}{:>14}{:>9}", "", "keygate", "bare echo", "ratio")?;
        let quotient = ours.per_second / bare.per_second;
        let (a, b) = (rounded(ours.per_second), rounded(bare.per_second));
        writeln!(f, "{:<12}{a:>14}{b:>14}{quotient:>9.2}", "answers/s")?;
        for ((name, a), (_, b)) in ours.latency.rows().into_iter().zip(bare.latency.rows()) {
            let quotient = ratio(a, lossy(b));
            let (a, b) = (span(a), span(b));
            writeln!(f, "{name:<12}{a:>14}{b:>14}{quotient:>9.2}")?;
        }
        if let (Some(a), Some(b)) = (ours.late, bare.late) {
            let (a, b) = (span(a.p99_ns), span(b.p99_ns));
            writeln!(f, "{:<12}{a:>14}{b:>14}   (within the above)", "late p99")?;
        }
        Ok(())
    }

    fn remarks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = |counts: &BTreeMap<String, u64>| {
            let each = counts.iter().map(|(name, count)| format!("{name} {}", grouped(*count)));
            let each: Vec<String> = each.collect();
            if each.is_empty() { "none".to_owned() } else { each.join(", ") }
        };
        writeln!(f, "verdicts    {}", counts(&self.keygate.verdicts))?;
        writeln!(f, "errors      {}", counts(&self.keygate.errors))?;
        let spread = |p50: fn(&Round) -> u64| {
            let low = self.rounds.iter().map(p50).min().unwrap_or(0);
            let high = self.rounds.iter().map(p50).max().unwrap_or(0);
            format!("{} to {}", span(low), span(high))
        };
        let (ours, bare) = (spread(|it| it.keygate_p50_ns), spread(|it| it.echo_p50_ns));
        writeln!(f, "rounds      p50 of keygate {ours}, of the echo {bare}")?;
        let (p50, per_second) = (self.p50_ratio(), self.per_second_ratio());
        write!(f, "            median ratio {p50:.2} (p50), {per_second:.2} (answers/s)")?;
        if self.keygate.unsent > 0 {
            let unsent = grouped(self.keygate.unsent);
            let why = "all places were taken, or the generator was late";
            write!(f, "\n{unsent} due requests were not asked before the end: {why}")?;
        }
        Ok(())
    }
}

impl Round {
    fn to_json(self) -> Value {
        json!({
            "keygate": { "per_second": self.keygate_per_second, "p50_ns": self.keygate_p50_ns },
            "echo": { "per_second": self.echo_per_second, "p50_ns": self.echo_p50_ns },
        })
    }
}

/// The report for people: a table and what there is to remark.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.heading(f)?;
        writeln!(f)?;
        self.table(f)?;
        writeln!(f)?;
        self.remarks(f)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people; 2^53 is enough")]
const fn lossy(count: u64) -> f64 {
    count as f64
}

fn ratio(count: u64, by: f64) -> f64 {
    lossy(count) / by
}

/// The middle one, or the mean of both; not a number where there is none.
fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => figures[count / 2],
        count => f64::midpoint(figures[count / 2 - 1], figures[count / 2]),
    }
}

fn rounded(figure: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as saturates")]
    let whole = figure.round() as u64;
    grouped(whole)
}

/// A count with a comma at each thousand.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Nanoseconds in a unit that suits them.
fn span(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{:.2} µs", lossy(ns) / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", lossy(ns) / 1e6),
        _ => format!("{:.2} s", lossy(ns) / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::{grouped, median, span};

    #[test]
    fn the_median_is_the_middle_one() {
        assert!(median([].into_iter()).is_nan());
        for (figures, middle) in
            [(&[3.0][..], 3.0), (&[9.0, 1.0, 2.0][..], 2.0), (&[9.0, 1.0, 2.0, 4.0][..], 3.0)]
        {
            let found = median(figures.iter().copied());
            assert!((found - middle).abs() < 1e-9, "{figures:?}: {found}");
        }
    }

    #[test]
    fn figures_are_readable() {
        for (count, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(grouped(count), text);
        }
        for (ns, text) in [
            (0, "0.00 µs"),
            (11_250, "11.25 µs"),
            (2_500_000, "2.50 ms"),
            (3_000_000_000, "3.00 s"),
        ] {
            assert_eq!(span(ns), text);
        }
    }
}
