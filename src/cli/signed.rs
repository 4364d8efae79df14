//! What `keygate validate` states of a signed request.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256, Sha512};

use super::error::CliError;
use crate::client::sign::{Body, Request};

/// The request as it came, for keys that demand a signature.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The HTTP request as it was signed (RFC 9421)")]
pub(super) struct SignedArgs {
    /// Its method, such as POST
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// http or https
    #[arg(long, value_name = "SCHEME")]
    scheme: Option<String>,
    /// Its host, with the port if one was sent
    #[arg(long, value_name = "HOST[:PORT]")]
    authority: Option<String>,
    /// Its path, as it was sent
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// What stood behind the first ? of its target
    #[arg(long, value_name = "QUERY")]
    query: Option<String>,
    /// A header field; all of them in their order, with Signature-Input and Signature
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// A file with its body, which is compared with the Content-Digest
    #[arg(long, value_name = "FILE")]
    body_file: Option<PathBuf>,
}

/// The digest of a body.
pub(super) enum Digested {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

impl SignedArgs {
    /// Whether anything of a request was given.
    pub(super) const fn is_given(&self) -> bool {
        self.method.is_some()
            || self.scheme.is_some()
            || self.authority.is_some()
            || self.path.is_some()
            || self.query.is_some()
            || !self.headers.is_empty()
            || self.body_file.is_some()
    }

    /// The header fields, borrowed.
    pub(super) fn headers(&self) -> Vec<(&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
    }

    /// Reads the body, and digests it by the algorithm that its `Content-Digest` has.
    pub(super) fn body(&self) -> Result<Option<Digested>, CliError> {
        let Some(path) = &self.body_file else { return Ok(None) };
        let is_sha512 = |(name, value): &(String, String)| {
            name.eq_ignore_ascii_case("content-digest") && value.contains("sha-512=")
        };
        Ok(Some(if self.headers.iter().any(is_sha512) {
            Digested::Sha512(digest::<Sha512>(path)?.into())
        } else {
            Digested::Sha256(digest::<Sha256>(path)?.into())
        }))
    }

    /// The request that was given.
    pub(super) fn request<'a>(
        &'a self,
        headers: &'a [(&'a str, &'a [u8])],
        body: Option<&'a Digested>,
    ) -> Request<'a> {
        Request {
            method: self.method.as_deref(),
            scheme: self.scheme.as_deref(),
            authority: self.authority.as_deref(),
            path: self.path.as_deref(),
            query: self.query.as_deref(),
            headers,
            body: body.map(|body| match body {
                Digested::Sha256(digest) => Body::Sha256(digest),
                Digested::Sha512(digest) => Body::Sha512(digest),
            }),
        }
    }
}

fn digest<D: Digest>(path: &Path) -> Result<sha2::digest::Output<D>, CliError> {
    let broken =
        |error| CliError::Usage(format!("cannot read the body in {}: {error}", path.display()));
    let mut file = File::open(path).map_err(broken)?;
    let mut digest = D::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer).map_err(broken)? {
            0 => return Ok(digest.finalize()),
            length => digest.update(&buffer[..length]),
        }
    }
}

/// Reads `NAME: VALUE`.
fn header(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once(':').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or("it is a name and a value with a colon between them")?;
    Ok((name.to_owned(), value.trim().to_owned()))
}
