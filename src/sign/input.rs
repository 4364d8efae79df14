//! The fields `Signature-Input` and `Signature` (RFC 9421, section 4).

use sfv::{BareItem, Dictionary, InnerList, ListEntry, Parser};

use super::base::is_derived;

/// Labels that the two fields may have; a request has one, or a few with proxies on its way.
pub const LABELS_MAX: usize = 16;
/// Components that one signature may cover.
pub const COMPONENTS_MAX: usize = 64;
/// Longest value of either field.
pub const FIELD_BYTES_MAX: usize = 8192;

/// What a signature covers: a derived component, or a header field in lower case. Parameters of
/// components (`sf`, `bs`, `key`, `req`, `tr`, `name`) are not known here, so none has any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component(String);

impl Component {
    /// A component of this name, if there is one.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let is_field = !name.is_empty()
            && name.bytes().all(|byte| {
                byte.is_ascii_lowercase()
                    || byte.is_ascii_digit()
                    || b"!#$%&'*+-.^_`|~".contains(&byte)
            });
        (is_derived(name) || is_field).then(|| Self(name.to_owned()))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// One signature of a request, read and not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// What it covers, each component once.
    pub components: Vec<Component>,
    /// The inner list with its parameters, as the signature base ends with it.
    pub params: String,
    /// Seconds since 1970.
    pub created: Option<i64>,
    /// Seconds since 1970.
    pub expires: Option<i64>,
    /// What the signer made up for this request alone.
    pub nonce: Option<String>,
    /// The name of its algorithm.
    pub alg: Option<String>,
    /// What names its verification key.
    pub key_id: Option<String>,
    /// The signature itself.
    pub signature: Vec<u8>,
}

/// Reads the two fields. A label that stands in one of them only, or covers what is not known here,
/// is no signature; `None` where a field is no dictionary or out of its bounds.
#[must_use]
pub fn read(input: &str, signature: &str) -> Option<Vec<Labelled>> {
    if input.len() > FIELD_BYTES_MAX || signature.len() > FIELD_BYTES_MAX {
        return None;
    }
    let inputs: Dictionary = Parser::new(input).parse().ok()?;
    let signatures: Dictionary = Parser::new(signature).parse().ok()?;
    if inputs.len() > LABELS_MAX || signatures.len() > LABELS_MAX {
        return None;
    }
    let labelled = inputs.iter().filter_map(|(label, input)| {
        let (ListEntry::InnerList(input), ListEntry::Item(signature)) =
            (input, signatures.get(label)?)
        else {
            return None;
        };
        one(input, signature.bare_item.as_byte_sequence()?)
    });
    Some(labelled.collect())
}

fn one(input: &InnerList, signature: &[u8]) -> Option<Labelled> {
    if input.items.len() > COMPONENTS_MAX {
        return None;
    }
    let mut components = Vec::with_capacity(input.items.len());
    for item in &input.items {
        let component = Component::new(item.bare_item.as_string()?.as_str())?;
        // A parameter changes what is signed: one that were passed over would be a lie.
        if !item.params.is_empty() || components.contains(&component) {
            return None;
        }
        components.push(component);
    }
    let mut one = Labelled {
        components,
        params: serialized(input)?,
        created: None,
        expires: None,
        nonce: None,
        alg: None,
        key_id: None,
        signature: signature.to_owned(),
    };
    for (name, value) in &input.params {
        match name.as_str() {
            "created" => one.created = Some(seconds(value)?),
            "expires" => one.expires = Some(seconds(value)?),
            "nonce" => one.nonce = Some(text(value)?),
            "alg" => one.alg = Some(text(value)?),
            "keyid" => one.key_id = Some(text(value)?),
            // Signed like all others; nothing here depends on it.
            "tag" => drop(text(value)?),
            _ => return None,
        }
    }
    Some(one)
}

/// The list alone, in the one way in which RFC 9651 writes it.
pub(super) fn serialized(input: &InnerList) -> Option<String> {
    let mut serializer = sfv::ListSerializer::new();
    let mut list = serializer.inner_list();
    list.items(&input.items);
    let _ = list.finish().parameters(&input.params);
    serializer.finish()
}

fn seconds(value: &BareItem) -> Option<i64> {
    value.as_integer().map(i64::from)
}

fn text(value: &BareItem) -> Option<String> {
    value.as_string().map(|text| text.as_str().to_owned())
}
