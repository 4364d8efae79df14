//! What a question states of the request that it is about.

use std::net::IpAddr;

use keygate_protocol::PayloadError;
use keygate_protocol::limits::{FACT_BYTES_MAX, ORIGIN_BYTES_MAX, TENANT_BYTES_MAX};
use keygate_protocol::validate::ValidateWriter;

use super::error::Error;
use super::request::TLV_BYTES;

/// Bytes of an IPv6 address.
const ADDRESS_BYTES_MAX: usize = 16;

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
}

impl<'a> Facts<'a> {
    /// The texts, each with its field and its bound.
    fn texts(&self) -> [(&'static str, usize, &'static str, Option<&'a str>); 6] {
        const NAME: &str = "it is 1 to 64 bytes";
        [
            ("origin", ORIGIN_BYTES_MAX, "it is 1 to 512 bytes", self.origin),
            ("environment", FACT_BYTES_MAX, NAME, self.environment),
            ("region", FACT_BYTES_MAX, NAME, self.region),
            ("integration", FACT_BYTES_MAX, NAME, self.integration),
            ("api_version", FACT_BYTES_MAX, NAME, self.api_version),
            ("tenant", TENANT_BYTES_MAX, NAME, self.tenant),
        ]
    }

    /// Refuses here what the daemon would refuse.
    pub(super) fn check(&self) -> Result<(), Error> {
        for (field, bytes_max, why, text) in self.texts() {
            if text.is_some_and(|text| text.is_empty() || text.len() > bytes_max) {
                return Err(Error::Invalid(PayloadError::OutOfBounds { field, why }));
            }
        }
        Ok(())
    }

    /// Bounds what `write` appends.
    pub(super) fn bytes_max(&self) -> usize {
        let texts = self.texts().into_iter().filter_map(|(_, _, _, text)| text);
        let texts: usize = texts.map(|text| TLV_BYTES + text.len()).sum();
        texts + TLV_BYTES + ADDRESS_BYTES_MAX + TLV_BYTES + 1
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
    }
}
