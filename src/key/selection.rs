//! Which records a list shows, as far as a record alone can tell.

use super::{KeyView, Time};

/// What a record must have to be shown; what is given is joined by "and".
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// What `key_prefix` begins with.
    pub prefix: Option<String>,
    /// `expires_at` is there and before this instant.
    pub expiring_before: Option<Time>,
    /// `last_security_review_at` is before this instant, or not there.
    pub not_reviewed_since: Option<Time>,
    /// The rotation was overdue at this instant.
    pub rotation_overdue_at: Option<Time>,
    /// Stands in the name, the description or a tag.
    pub search: Option<Search>,
}

impl Selection {
    /// Whether it shows every record.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        self.prefix.is_none()
            && self.expiring_before.is_none()
            && self.not_reviewed_since.is_none()
            && self.rotation_overdue_at.is_none()
            && self.search.is_none()
    }

    /// Whether it shows this record.
    #[must_use]
    pub fn shows(&self, key: &KeyView<'_>) -> bool {
        let begins = |prefix: &String| key.key_prefix.starts_with(prefix.as_str());
        let overdue = |at: Time| key.rotation_due_us().is_some_and(|due| due <= at.micros_up());
        let ends_before = |at| key.expires_at.is_some_and(|expires| expires < at);
        self.prefix.as_ref().is_none_or(begins)
            && self.expiring_before.is_none_or(ends_before)
            && self.not_reviewed_since.is_none_or(|at| key.last_security_review_at < Some(at))
            && self.rotation_overdue_at.is_none_or(overdue)
            && self.search.as_ref().is_none_or(|search| search.finds(key))
    }
}

/// A text to search for, in whatever case.
#[derive(Debug, Clone)]
pub struct Search {
    lower: String,
}

impl Search {
    /// A search for this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { lower: text.to_lowercase() }
    }

    fn finds(&self, key: &KeyView<'_>) -> bool {
        self.is_in(key.name)
            || self.is_in(key.description)
            || key.tags.iter().any(|tag| self.is_in(tag))
    }

    fn is_in(&self, text: &str) -> bool {
        if !text.is_ascii() {
            return text.to_lowercase().contains(&self.lower);
        }
        // As a byte-wise copy. Not by comparing at each place: a text that was made for it would cost
        // its length times that of the search, in every record.
        text.to_ascii_lowercase().contains(&self.lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyRecord;

    fn time(text: &str) -> Time {
        Time::parse(text).expect(text)
    }

    fn all() -> Selection {
        Selection::default()
    }

    #[test]
    fn each_filter_shows_what_it_says_and_never_counts_as_long_ago() {
        let at = time("2026-01-02T00:00:00Z");
        let (before, after) = (time("2026-01-01T23:59:59Z"), time("2026-01-02T00:00:01Z"));
        let expiring = Selection { expiring_before: Some(at), ..all() };
        let unreviewed = Selection { not_reviewed_since: Some(at), ..all() };
        let prefixed = Selection { prefix: Some("kg_live_a".to_owned()), ..all() };
        let expires = |at| KeyRecord { expires_at: at, ..KeyRecord::default() };
        let reviewed = |at| KeyRecord { last_security_review_at: at, ..KeyRecord::default() };
        let named = |prefix: &str| KeyRecord { key_prefix: prefix.into(), ..KeyRecord::default() };
        for (selection, record, shown) in [
            (&all(), KeyRecord::default(), true),
            (&expiring, expires(None), false),
            (&expiring, expires(Some(before)), true),
            (&expiring, expires(Some(at)), false),
            (&unreviewed, reviewed(None), true),
            (&unreviewed, reviewed(Some(before)), true),
            (&unreviewed, reviewed(Some(at)), false),
            (&unreviewed, reviewed(Some(after)), false),
            (&prefixed, named("kg_live_abc"), true),
            (&prefixed, named("kg_live_A"), false),
            (&prefixed, named("x kg_live_a"), false),
        ] {
            assert_eq!(selection.shows(&record.view()), shown, "{selection:?} {record:?}");
        }
        assert!(all().is_all() && !prefixed.is_all());
    }

    #[test]
    fn a_rotation_is_overdue_when_its_days_have_passed_since_the_last_or_the_first() {
        let key = |days, created, rotated: Option<&str>| KeyRecord {
            rotation_frequency_days: days,
            created_at: Some(time(created)),
            last_rotated_at: rotated.map(time),
            ..KeyRecord::default()
        };
        let at = Some(time("2026-03-31T00:00:00Z"));
        for (record, overdue) in [
            (key(None, "2020-01-01T00:00:00Z", None), false),
            (key(Some(0), "2020-01-01T00:00:00Z", None), false),
            (key(Some(30), "2026-03-01T00:00:00Z", None), true),
            (key(Some(30), "2026-03-01T00:00:00.000001Z", None), false),
            (key(Some(30), "2020-01-01T00:00:00Z", Some("2026-03-01T00:00:01Z")), false),
            (key(Some(30), "2020-01-01T00:00:00Z", Some("2026-02-01T00:00:00Z")), true),
        ] {
            let selection = Selection { rotation_overdue_at: at, ..all() };
            assert_eq!(selection.shows(&record.view()), overdue, "{record:?}");
        }
    }

    #[test]
    fn a_search_looks_at_name_description_and_tags_in_whatever_case() {
        let record = KeyRecord {
            name: "Leads, Zürich".to_owned(),
            description: "for the CRM".to_owned(),
            tags: vec!["growth".to_owned(), "Q3-2026".to_owned()],
            key_prefix: "kg_live_x".to_owned(),
            ..KeyRecord::default()
        };
        for (text, found) in [
            ("leads", true),
            ("ZÜRICH", true),
            ("zurich", false),
            ("the crm", true),
            ("GROWTH", true),
            ("q3-2026", true),
            ("growthq3", false),
            ("kg_live", false),
            ("for the CRM and more", false),
        ] {
            let selection = Selection { search: Some(Search::new(text)), ..all() };
            assert_eq!(selection.shows(&record.view()), found, "{text}");
        }
    }
}
