//! Figures without a limit, until it is there.

use crate::limit::credits::{Balance, CreditTerms};
use crate::limit::named::{Named, NamedTerms};
use crate::limit::{CreditDebits, NamedDebits};

/// Figures of limits that are not there now, as those of a key whose tier is missing at a start. A
/// limit that comes back finds what was spent of it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) credits: Option<CreditDebits>,
    pub(super) named: Vec<NamedDebits>,
}

impl Kept {
    pub(super) fn is_empty(&self) -> bool {
        self.credits.is_none() && self.named.is_empty()
    }

    /// A balance of which the ledger had figures.
    pub(super) fn balance(&self, terms: &CreditTerms) -> Balance {
        let mut balance = Balance::new(terms);
        self.credits.iter().for_each(|row| balance.restore(row));
        balance
    }

    /// A named limit of which the ledger had figures.
    pub(super) fn named(&self, terms: &NamedTerms) -> Named {
        let mut named = Named::new(terms);
        let of_name = self.named.iter().filter(|row| *row.name == *terms.name);
        of_name.for_each(|row| named.restore(&row.figures));
        named
    }
}
