//! What a question states of the request that it is about.

use std::net::IpAddr;

use keygate_protocol::PayloadError;
use keygate_protocol::limits::{FACT_BYTES_MAX, TENANT_BYTES_MAX};
use keygate_protocol::validate::ValidateWriter;

use super::error::Error;
use super::request::TLV_BYTES;

/// Bytes of an IPv6 address.
const ADDRESS_BYTES_MAX: usize = 16;
/// Bytes of a SHA-256.
const CERTIFICATE_BYTES: usize = 32;
/// The bound of every name that is stated.
const NAME_BYTES_MAX: usize = FACT_BYTES_MAX;
const _: () = assert!(NAME_BYTES_MAX == TENANT_BYTES_MAX);

/// What is stated, each at most once.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts<'a> {
    pub(super) address: Option<IpAddr>,
    pub(super) origin: Option<&'a str>,
    pub(super) environment: Option<&'a str>,
    pub(super) region: Option<&'a str>,
    pub(super) integration: Option<&'a str>,
    pub(super) api_version: Option<&'a str>,
    pub(super) https: Option<bool>,
    pub(super) tenant: Option<&'a str>,
    pub(super) client_certificate: Option<[u8; CERTIFICATE_BYTES]>,
}

impl<'a> Facts<'a> {
    /// The names, each with its field.
    const fn names(&self) -> [(&'static str, Option<&'a str>); 5] {
        [
            ("environment", self.environment),
            ("region", self.region),
            ("integration", self.integration),
            ("api_version", self.api_version),
            ("tenant", self.tenant),
        ]
    }

    /// Refuses here what the daemon would refuse.
    pub(super) fn check(&self) -> Result<(), Error> {
        for (field, name) in self.names() {
            if name.is_some_and(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
                let why = "it is 1 to 64 bytes";
                return Err(Error::Invalid(PayloadError::OutOfBounds { field, why }));
            }
        }
        Ok(())
    }

    /// Bounds what `write` appends.
    pub(super) fn bytes_max(&self) -> usize {
        let names = self.names().into_iter().filter_map(|(_, name)| name);
        let texts: usize = names.chain(self.origin).map(|text| TLV_BYTES + text.len()).sum();
        texts + TLV_BYTES + ADDRESS_BYTES_MAX + TLV_BYTES + 1 + TLV_BYTES + CERTIFICATE_BYTES
    }

    pub(super) fn write(&self, writer: &mut ValidateWriter<'_>) {
        self.address.iter().for_each(|address| writer.address(*address));
        self.origin.iter().for_each(|origin| writer.origin(origin));
        self.environment.iter().for_each(|environment| writer.environment(environment));
        self.region.iter().for_each(|region| writer.region(region));
        self.integration.iter().for_each(|integration| writer.integration(integration));
        self.api_version.iter().for_each(|version| writer.api_version(version));
        self.https.iter().for_each(|https| writer.https(*https));
        self.tenant.iter().for_each(|tenant| writer.tenant(tenant));
        self.client_certificate.iter().for_each(|sha256| writer.client_certificate(sha256));
    }
}
