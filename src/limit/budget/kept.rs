//! Figures without a limit, until it is there.

use crate::limit::credits::{Balance, CreditTerms};
use crate::limit::judge::Ask;
use crate::limit::named::{Named, NamedTerms};
use crate::limit::quota::Grant;
use crate::limit::{CreditDebits, NamedDebits};

/// Named limits that are remembered without being there: as many as a record may have of its own
/// and of its tier. Beyond that the oldest are forgotten.
const NAMED_MAX: usize = 32;

/// Figures of limits that are not there now: they were taken away, or the key's tier is missing at a
/// start. A limit that comes back finds what was spent of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    pub(super) credits: Option<CreditDebits>,
    pub(super) named: Vec<NamedDebits>,
}

impl Kept {
    pub(super) fn is_empty(&self) -> bool {
        self.credits.is_none() && self.named.is_empty()
    }

    /// A balance of which there are figures.
    pub(super) fn balance(&self, terms: &CreditTerms) -> Balance {
        let mut balance = Balance::new(terms);
        self.credits.iter().for_each(|row| balance.restore(row));
        balance
    }

    /// A named limit of which there are figures.
    pub(super) fn named(&self, terms: &NamedTerms, ask: &Ask<'_>) -> Named {
        let mut named = Named::new(terms);
        let of_name = self.named.iter().filter(|row| *row.name == *terms.name);
        of_name.for_each(|row| named.restore(&row.figures, ask));
        named
    }

    /// These figures, but for those of limits that are there.
    pub(super) fn without(mut self, credits: &Option<Balance>, named: &[Named]) -> Self {
        self.credits = self.credits.filter(|_| credits.is_none());
        self.named.retain(|row| !named.iter().any(|it| *it.name == *row.name));
        self
    }

    /// These figures, and those of limits that were there before and are not among these.
    pub(super) fn with(
        mut self,
        credits: Option<Balance>,
        before: Vec<Named>,
        named: &[Named],
    ) -> Self {
        // A balance that is set again is another one, whose figures say so.
        self.credits = self.credits.or_else(|| credits.map(|it| it.row(Grant::default())));
        let gone = before.into_iter().filter(|old| !named.iter().any(|it| it.name == old.name));
        self.named.extend(gone.map(|mut named| {
            named.give_back();
            named.row(None)
        }));
        let over = self.named.len().saturating_sub(NAMED_MAX);
        self.named.drain(..over);
        self
    }
}
