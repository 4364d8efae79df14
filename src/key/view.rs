//! What the type of a record's field is when it is borrowed from the bytes that it lies in.

use serde::Deserialize;

use super::{Credits, NamedLimit, SealedHash, SigningKey, Status, Time};

/// A type of a field, with its borrowed form. The two are the same bytes on disk.
pub trait Stored {
    /// The borrowed form.
    type View<'a>: Deserialize<'a>
    where
        Self: 'a;

    /// Borrows the field.
    fn view(&self) -> Self::View<'_>;
}

macro_rules! copied {
    ($($type:ty)+) => {
        $(impl Stored for $type {
            type View<'a> = Self;

            fn view(&self) -> Self {
                *self
            }
        })+
    };
}

copied! {
    bool u64 Status
    Option<u32> Option<u64> Option<f64> Option<Time> Option<SealedHash> Option<Credits>
}

impl Stored for String {
    type View<'a> = &'a str;

    fn view(&self) -> &str {
        self
    }
}

impl Stored for Vec<u8> {
    type View<'a> = &'a [u8];

    fn view(&self) -> &[u8] {
        self
    }
}

impl Stored for Vec<String> {
    type View<'a> = Vec<&'a str>;

    fn view(&self) -> Vec<&str> {
        self.iter().map(String::as_str).collect()
    }
}

/// Few records have any, and an empty list allocates nothing.
impl Stored for Vec<NamedLimit> {
    type View<'a> = Self;

    fn view(&self) -> Self {
        self.clone()
    }
}

/// Likewise.
impl Stored for Vec<SigningKey> {
    type View<'a> = Self;

    fn view(&self) -> Self {
        self.clone()
    }
}
