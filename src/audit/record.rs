//! A record on the writing thread: encoded, and on its way into the file.

use super::frame::Kind;
use super::log::note;
use super::payload::Note;
use super::queue::{Body, Item, Pledge};

/// A record on its way into the file.
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) payload: Vec<u8>,
    pub(super) places: usize,
    pub(super) waiter: Option<Pledge>,
    /// What it says, where it may have to be told otherwise: of a decision that is waited for.
    waited: Option<Body>,
    pub(super) class: Class,
}

/// What is counted where it is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Change,
    Decision,
    Alert,
    Note,
}

impl Record {
    pub(super) fn note(of: &Note) -> Self {
        let (payload, kind) = (note(of), Kind::Note);
        Self { kind, payload, places: 0, waiter: None, waited: None, class: Class::Note }
    }

    pub(super) fn of(item: Item) -> Self {
        let Item { body, places, waiter } = item;
        let payload = body.to_payload();
        let class = match body {
            Body::Decision(_) | Body::Refusal(_) => Class::Decision,
            Body::Change(_) => Class::Change,
            Body::Alert(_) => Class::Alert,
        };
        let waited = waiter.is_some().then_some(body);
        Self { kind: Kind::Event, payload, places, waiter, waited, class }
    }

    /// Its waiter is told that the record is not on disk, and the record says so.
    pub(super) fn refuse(&mut self) {
        if self.waiter.take().is_none() {
            return;
        }
        if let Some(mut body) = self.waited.take() {
            body.refuse();
            self.payload = body.to_payload();
        }
    }
}
