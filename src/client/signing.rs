//! The calls of the admin socket about verification keys (SPEC §9), of both clients.

use keygate_protocol::Opcode;
use keygate_protocol::admin::{
    KeyChanged, SigningAdd, SigningAdded, SigningKeys, SigningList, SigningRemove,
};

use super::{Client, Error, blocking};

/// What both clients can be asked; the blocking one waits where the other is awaited.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident, $opcode:ident: $request:ident: $type:ty => $made:expr, $reply:ty;)+) => {
        /// What signed requests are verified by. On the data socket the daemon refuses these.
        impl Client {
            $($(#[$doc])*
            pub async fn $name(&self, $request: $type) -> Result<$reply, Error> {
                self.admin(Opcode::$opcode, $made).await
            })+
        }

        /// What signed requests are verified by. On the data socket the daemon refuses these.
        impl blocking::Client {
            $($(#[$doc])*
            pub fn $name(&mut self, $request: $type) -> Result<$reply, Error> {
                self.admin(Opcode::$opcode, $made)
            })+
        }
    };
}

calls! {
    /// Adds a verification key to a key. A secret that the daemon makes is shown in the answer and
    /// nowhere else.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `CONFLICT` if the name is taken, for one key too many, and
    /// if the revision is not the expected one.
    add_signing_key, SigningAdd: add: &SigningAdd => add, SigningAdded;

    /// The verification keys of a key.
    ///
    /// # Errors
    /// [`Error`].
    signing_keys, SigningList: id: u64 => &SigningList { id: id.to_string() }, SigningKeys;

    /// Removes a verification key from a key: what is signed by it passes no more.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `NOT_FOUND` if there is none of that name.
    remove_signing_key, SigningRemove: remove: &SigningRemove => remove, KeyChanged;
}
