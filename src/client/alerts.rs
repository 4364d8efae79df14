//! The calls of the admin socket about alerts.

use keygate_protocol::Opcode;
use keygate_protocol::admin::{
    AlertEnabled, AlertList, AlertPage, AlertRef, AlertSecret, AlertSecrets, AlertTested,
};

use super::Client;
use super::error::Error;

impl Client {
    /// One page of alerts that wait, were given up, or were delivered of late. `next` of the answer is
    /// `after` of the next page.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn alerts(&self, list: &AlertList) -> Result<AlertPage, Error> {
        self.admin(Opcode::AlertList, list).await
    }

    /// Sends a test to everybody that alerts go to, and answers what came of it, after 20 s at the
    /// latest.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `INVALID` if nobody is named.
    pub async fn test_alert(&self, of: &AlertRef) -> Result<AlertTested, Error> {
        self.admin(Opcode::AlertTest, of).await
    }

    /// The secrets of a web hook, which is made one if it has none; another one on request.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] with `INVALID` if there is no web hook.
    pub async fn webhook_secrets(&self, of: &AlertSecret) -> Result<AlertSecrets, Error> {
        self.admin(Opcode::AlertSecret, of).await
    }

    /// Sends to a web hook again that had answered that it wants no more.
    ///
    /// # Errors
    /// As [`Client::webhook_secrets`].
    pub async fn enable_webhook(&self, of: &AlertRef) -> Result<AlertEnabled, Error> {
        self.admin(Opcode::AlertEnable, of).await
    }
}
