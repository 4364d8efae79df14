//! A start, seen from the model: it takes over what the ledger's row says of an account, after it
//! has seen that this is no less than was spent, and no more than the stated bound.
//!
//! After a clean stop a row is exact. After a crash it says for each limit that is in the window of
//! the row: spent is what was spent, and what was leased, and the one debit that was on its way. A
//! limit without a figure in its window had spent no more than its initial lease, and the window is
//! marked as void, so that it is charged when it is entered.

use super::driver::Kept;
use super::oracle::Account;
use super::parts::{Balance, Bucket, Form, Units, initial};
use crate::clock::Now;
use crate::limit::{CreditDebits, Debits, FigureOf, Figures, NamedFigures, Windows};

type Wrong = Result<(), String>;

/// What is known of the crash.
struct Bound<'a> {
    /// How every limit stood at the crash; `None` for a clean stop.
    leased: Option<&'a [Figures]>,
    /// How they stood before a debit that was kept and not granted.
    before: Option<&'a [Figures]>,
}

fn of<'f>(figures: &'f [Figures], name: &str) -> Option<&'f Figures> {
    figures.iter().find(|it| match &it.limit {
        FigureOf::Common(common) => common.name().trim_start_matches("tenant_") == name,
        FigureOf::Named(named) => &**named == name.trim_start_matches("named "),
    })
}

impl Bound<'_> {
    /// Whether a row says exactly what was spent and leased of a limit, with what was on its way.
    fn check(&self, name: &str, units: &Units, row: &Debits) -> Wrong {
        let spent = units.spent;
        if spent == units.charged && row.debited < spent {
            // Nothing is known to be spent, and there are figures after all: of limits that were
            // taken away, in a window to which the clock has gone back.
            return Ok(());
        }
        let lost = row.debited.checked_sub(spent);
        let Some(lost) = lost else {
            return Err(format!("{name}: {spent} were spent, and the row says {}", row.debited));
        };
        let Some(leased) = self.leased else {
            // One that nobody has used since a crash has the row of then.
            let stranded = row.stranded + row.debited - row.spent;
            let exact = lost == 0 && stranded == units.stranded;
            return exact.then_some(()).ok_or_else(|| format!("{name}: {spent}, not {row:?}"));
        };
        // One that does not limit leases nothing.
        let Some(figures) = of(leased, name) else { return Ok(()) };
        let on_its_way = self
            .before
            .and_then(|before| of(before, name))
            .map_or(0, |before| row.debited.saturating_sub(before.spent + before.leased));
        let most = figures.leased + on_its_way;
        (lost == most).then_some(()).ok_or_else(|| {
            format!("{name}: {lost} lost; {} leased and {on_its_way} debited", figures.leased)
        })
    }
}

/// Units of a window: what its row says, or nothing in no window.
fn units(units: &mut Units, row: &Debits, void: u32, name: &str, bound: &Bound<'_>) -> Wrong {
    if row.window == units.window {
        if row.window > 0 {
            bound.check(name, units, row)?;
        }
    } else if row.window < units.window {
        let (lost, window) = (units.spent, units.window);
        let charged = window <= void && lost <= initial(units.cap);
        if lost > 0 && !charged {
            return Err(format!("{name}: {lost} spent in {window}, of which no row tells"));
        }
        let past = units.past.get(&row.window).copied().unwrap_or(0);
        if past > row.debited {
            return Err(format!("{name}: {past} spent in {}, not {}", row.window, row.debited));
        }
    } else if units.spent > units.charged {
        return Err(format!("{name}: {} spent, and the row is of a later window", units.spent));
    }
    let lost = row.debited - row.spent.min(row.debited);
    (units.window, units.spent) = (row.window, row.debited);
    (units.stranded, units.charged) = (row.stranded + lost, 0);
    units.past.retain(|window, _| *window < row.window);
    Ok(())
}

fn credits(balance: &mut Balance, row: Option<&CreditDebits>, bound: &Bound<'_>) -> Wrong {
    let granted_us = balance.terms.granted_at.map_or(0, crate::key::Time::micros_up);
    let mut new = Balance::new(balance.terms);
    if let Some(row) = row.filter(|row| row.granted_us == granted_us) {
        let lost = row.debits.debited - row.debits.spent.min(row.debits.debited);
        new.units = Units {
            cap: Some(row.base),
            window: row.debits.window,
            spent: row.debits.debited,
            stranded: row.debits.stranded + lost,
            ..Units::default()
        };
        if row.debits.window == balance.units.window && Some(row.base) == balance.units.cap {
            bound.check("credits", &balance.units, &row.debits)?;
        }
    }
    // Brought to the same refill, it has no more than there was.
    let mut later = new.clone();
    if let Some(refill) = later.terms.refill {
        while later.units.window < balance.units.window {
            if refill.adds {
                later.units.window += 1;
                later.units.cap = later.units.cap.map(|cap| cap + refill.amount);
            } else {
                let (window, cap) = (balance.units.window, Some(refill.amount));
                later.units = Units { cap, window, ..Units::default() };
            }
        }
    }
    let (is, was) = (later.units.remaining(), balance.units.remaining());
    if is > was || bound.leased.is_none() && is != was {
        return Err(format!("credits: {is} left, and there were {was}"));
    }
    *balance = new;
    Ok(())
}

fn rolling(bucket: &mut Bucket, figures: &NamedFigures, clean: bool) -> Wrong {
    let NamedFigures::Rolling { count, period_ns, debited, .. } = figures else {
        return Err("a rolling limit has a row of the calendar".to_owned());
    };
    let debited = i128::try_from(*debited).expect("a date of this millennium");
    // The row says when the last part will have leaked out, in ticks of its own count.
    let empty_at =
        |bucket: &Bucket| i128::from(bucket.at_ns) * i128::from(bucket.count) + bucket.parts;
    let was = empty_at(bucket);
    let same = (*count, *period_ns) == (bucket.count, bucket.period_ns);
    let own = i128::from(bucket.count);
    let is =
        if same { debited } else { (debited + i128::from(*count) - 1) / i128::from(*count) * own };
    if bucket.parts > 0 && is < was || clean && bucket.parts > 0 && is != was {
        return Err(format!("a rolling limit is empty at {is} and not at {was}"));
    }
    (bucket.parts, bucket.at_ns) = (is, 0);
    Ok(())
}

/// Takes over what the row of an account says, or that there is none.
pub(super) fn account(
    account: &mut Account,
    kept: &Kept,
    leased: Option<&[Figures]>,
    void: Windows,
    now: Now,
) -> Wrong {
    let bound = Bound { leased, before: kept.before.as_deref() };
    let none = crate::limit::AccountRow::default();
    let row = kept.row.as_ref().unwrap_or(&none);
    units(&mut account.day, &row.day, void.day, "day", &bound)?;
    units(&mut account.month, &row.month, void.month, "month", &bound)?;
    units(&mut account.lifetime, &row.lifetime, 0, "lifetime", &bound)?;
    if let Some(balance) = &mut account.credits {
        credits(balance, row.credits.as_ref(), &bound)?;
    }
    for named in &mut account.named {
        let debits = row.named.iter().find(|debits| debits.name == named.name);
        let name = format!("named {}", named.name);
        match (&mut named.form, debits.map(|debits| &debits.figures)) {
            (Form::Calendar(period, own), Some(NamedFigures::Calendar { period: of, debits }))
                if period == of =>
            {
                units(own, debits, 0, &name, &bound)?;
            }
            (Form::Rolling(bucket), Some(figures @ NamedFigures::Rolling { .. })) => {
                rolling(bucket, figures, leased.is_none())
                    .map_err(|wrong| format!("{name}: {wrong}"))?;
            }
            (Form::Calendar(_, own), _) => units(own, &Debits::default(), 0, &name, &bound)?,
            (Form::Rolling(bucket), _) if bucket.parts(super::parts::wall_ns(now.wall_us)) > 0 => {
                return Err(format!("{name}: spent, and no row tells of it"));
            }
            (Form::Rolling(bucket), _) => bucket.parts = 0,
        }
    }
    account.written = kept.row.is_some();
    account.there = account.limits_beyond_the_second()
        || account.slot_ttl_ns.is_some()
        || account.written
        || account.is_tenant && account.second.is_some();
    if !account.there {
        account.forget_if_blank();
    }
    Ok(())
}
