//! Rows and columns: as a table for people, or as comma-separated values.

use std::borrow::Cow;
use std::collections::BTreeSet;

use keygate_protocol::admin::UsageSums;

use super::super::error::CliError;
use super::super::output::{plain, print, table};

pub(super) struct Sheet {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Behind each row, for a terminal alone.
    bars: Vec<String>,
}

impl Sheet {
    pub(super) fn new(headings: &[&str], rows: Vec<Vec<String>>) -> Self {
        let headings = headings.iter().map(|heading| (*heading).to_owned()).collect();
        Self { headings, rows, bars: Vec::new() }
    }

    /// Everything that sums have, for machines: each code and counter has a column. What each item is
    /// stands before, under names of its own.
    pub(super) fn of_sums(names: &[&str], items: &[(Vec<String>, &UsageSums)]) -> Self {
        let all = |of: fn(&UsageSums) -> Vec<&String>| -> BTreeSet<&String> {
            items.iter().flat_map(|(_, sums)| of(sums)).collect()
        };
        let codes = all(|sums| sums.denials.keys().collect());
        let statuses = all(|sums| sums.statuses.keys().collect());
        let counters = all(|sums| sums.counters.keys().collect());
        let fixed = [
            "requests",
            "units",
            "cost",
            "denied",
            "reported_requests",
            "errors",
            "average_response_time",
            "p50_ms",
            "p90_ms",
            "p99_ms",
        ];
        let headings = names.iter().copied().chain(fixed).map(str::to_owned);
        let headings = headings
            .chain(codes.iter().map(|code| format!("denied:{code}")))
            .chain(statuses.iter().map(|status| format!("status:{status}")))
            .chain(counters.iter().map(|counter| format!("counter:{counter}")));
        let row = |(item, sums): &(Vec<String>, &UsageSums)| {
            let number = |number: Option<f64>| number.map(|it| it.to_string()).unwrap_or_default();
            let fixed = [
                sums.requests.to_string(),
                sums.units.to_string(),
                sums.cost.clone(),
                sums.denied.to_string(),
                sums.reported_requests.to_string(),
                sums.errors.to_string(),
                number(sums.average_response_time),
                number(sums.p50_ms),
                number(sums.p90_ms),
                number(sums.p99_ms),
            ];
            let count = |count: Option<&u64>| count.copied().unwrap_or(0).to_string();
            item.iter()
                .cloned()
                .chain(fixed)
                .chain(codes.iter().map(|code| count(sums.denials.get(*code))))
                .chain(statuses.iter().map(|status| count(sums.statuses.get(*status))))
                .chain(counters.iter().map(|counter| count(sums.counters.get(*counter))))
                .collect()
        };
        Self { headings: headings.collect(), rows: items.iter().map(row).collect(), bars: vec![] }
    }

    /// With a bar behind each row, where standard output is a terminal.
    pub(super) fn with_bars(mut self, figures: &[u64]) -> Self {
        self.bars = bars(figures);
        self
    }

    pub(super) fn print(mut self, csv: bool) -> Result<(), CliError> {
        if csv {
            return print(&self.csv()?);
        }
        if !self.bars.is_empty() && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            self.headings.push(String::new());
            self.rows.iter_mut().zip(&self.bars).for_each(|(row, bar)| row.push(bar.clone()));
        }
        let headings: Vec<&str> = self.headings.iter().map(String::as_str).collect();
        print(&table(&headings, &self.rows))
    }

    fn csv(&self) -> Result<String, CliError> {
        let failed = |error: csv::Error| CliError::System {
            doing: "cannot write comma-separated values",
            error: error.into(),
        };
        let mut out = csv::Writer::from_writer(Vec::new());
        for row in std::iter::once(&self.headings).chain(&self.rows) {
            out.write_record(row.iter().map(|cell| inert(cell).into_owned())).map_err(failed)?;
        }
        let bytes = out.into_inner().map_err(|error| CliError::System {
            doing: "cannot write comma-separated values",
            error: error.into_error(),
        })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A cell that no spreadsheet takes for a formula: names come from whoever reports. Control
/// characters are shown by their escapes.
fn inert(cell: &str) -> Cow<'_, str> {
    let cell = plain(cell);
    if cell.starts_with(['=', '+', '-', '@']) && cell.parse::<f64>().is_err() && cell != "-" {
        return format!("'{cell}").into();
    }
    cell
}

/// A bar for each figure, the largest 30 columns wide, in eighths of a column.
fn bars(figures: &[u64]) -> Vec<String> {
    const WIDTH: u128 = 30;
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let most = u128::from(figures.iter().copied().max().unwrap_or(0).max(1));
    let bar = |figure: &u64| {
        let eighths = (u128::from(*figure) * WIDTH * 8).div_ceil(most);
        let (whole, part) = (eighths / 8, eighths % 8);
        let whole = usize::try_from(whole).unwrap_or(0);
        "█".repeat(whole) + EIGHTHS[usize::try_from(part).unwrap_or(0)]
    };
    figures.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion_and_nothing_has_none() {
        let bars = bars(&[0, 1, 120, 240, u64::MAX / 2]);
        assert_eq!((bars[0].as_str(), bars[1].as_str()), ("", "▏"));
        assert_eq!(bars[4].chars().count(), 30);
        assert_eq!(super::bars(&[1, 2])[0].chars().count(), 15);
    }

    #[test]
    fn values_with_commas_quotes_and_line_ends_are_quoted() {
        let sheet = Sheet::new(&["A", "B"], vec![vec!["1,2".to_owned(), "say \"x\"\n".to_owned()]]);
        assert_eq!(sheet.csv().expect("text"), "A,B\n\"1,2\",\"say \"\"x\"\"\\n\"\n");
    }

    #[test]
    fn no_cell_is_a_formula_or_moves_a_cursor() {
        for (cell, written) in [
            ("=1+2", "'=1+2"),
            ("@x", "'@x"),
            ("+x", "'+x"),
            ("-2.5", "-2.5"),
            ("-", "-"),
            ("/a", "/a"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
        ] {
            assert_eq!(inert(cell), written);
        }
    }

    #[test]
    fn every_code_and_counter_has_a_column() {
        let mut a = UsageSums { requests: 2, cost: "0.5".to_owned(), ..UsageSums::default() };
        a.counters.insert("tokens".to_owned(), 1532);
        let mut b = UsageSums { cost: "0".to_owned(), ..UsageSums::default() };
        b.denials.insert("EXPIRED".to_owned(), 3);
        let sheet =
            Sheet::of_sums(&["start"], &[(vec!["x".to_owned()], &a), (vec!["y".to_owned()], &b)]);
        let csv = sheet.csv().expect("text");
        let lines: Vec<&str> = csv.lines().collect();
        assert!(
            lines[0].starts_with("start,requests,")
                && lines[0].ends_with("denied:EXPIRED,counter:tokens")
        );
        assert!(lines[1].starts_with("x,2,0,0.5,0,") && lines[1].ends_with(",0,1532"), "{csv}");
        assert!(lines[2].ends_with(",3,0"), "{csv}");
    }
}
