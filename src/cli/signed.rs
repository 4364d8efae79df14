//! What `keygate validate` states of a signed request.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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

/// What a signature must cover at least (SPEC §8).
const COVERED: [&str; 4] = ["@method", "@authority", "@path", "@query"];

/// The digest of a body.
pub(super) enum Digested {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

impl Digested {
    fn base64(&self) -> String {
        match self {
            Self::Sha256(digest) => STANDARD.encode(digest),
            Self::Sha512(digest) => STANDARD.encode(digest),
        }
    }
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

    /// What the question lacks for a signature to be found in it.
    pub(super) fn hint_required(&self) -> Option<String> {
        if !self.is_given() {
            return Some(
                "the key demands signed requests, and the question did not state one: --method, \
                 --scheme, --authority, --path, --query and each --header"
                    .to_owned(),
            );
        }
        let lacking = ["Signature-Input", "Signature"].map(|name| (name, self.values(name).next()));
        let lacking = lacking.iter().filter(|(_, value)| value.is_none());
        let lacking: Vec<_> = lacking.map(|(name, _)| format!("--header \"{name}: …\"")).collect();
        (!lacking.is_empty()).then(|| format!("the question lacks {}", lacking.join(" and ")))
    }

    /// Why no signature may be right, as far as the question alone tells.
    pub(super) fn hint_invalid(&self, body: Option<&Digested>) -> String {
        let inputs = || self.values("Signature-Input");
        let covers = |name: &str| inputs().any(|input| input.contains(&format!("\"{name}\"")));
        let uncovered: Vec<_> = COVERED.into_iter().filter(|name| !covers(name)).collect();
        if !uncovered.is_empty() {
            return format!(
                "by default it must cover {}, and Signature-Input does not name {}",
                COVERED.join(", "),
                uncovered.join(", ")
            );
        }
        if self.query.as_ref().is_some_and(|query| query.starts_with('?')) {
            return "--query is what stands behind the ?, without it".to_owned();
        }
        if self
            .method
            .as_ref()
            .is_some_and(|method| method.bytes().any(|it| it.is_ascii_lowercase()))
        {
            return "--method is taken as it is written, and methods are in capitals".to_owned();
        }
        match body {
            None if covers("content-digest") => {
                return "the signature covers content-digest, and no body was stated: --body-file"
                    .to_owned();
            }
            Some(_) if !covers("content-digest") => {
                return "there is a body, and the signature does not cover content-digest"
                    .to_owned();
            }
            Some(body)
                if !self.values("Content-Digest").any(|value| value.contains(&body.base64())) =>
            {
                return "the body is not the one that Content-Digest was made of".to_owned();
            }
            _ => {}
        }
        "either method, scheme, authority, path, query or a covered header is not what was signed, or \
         no verification key of the key has the signature's keyid and made it: `keygate key signing \
         list ID` shows them"
            .to_owned()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.headers.iter().filter(move |(it, _)| it.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: SignedArgs,
    }

    #[test]
    fn what_the_question_tells_of_a_wrong_signature_is_said() {
        const INPUT: &str =
            "--header=Signature-Input: s=(\"@method\" \"@authority\" \"@path\" \"@query\"";
        let plain = format!("{INPUT});keyid=\"a\"");
        let digest = format!("{INPUT} \"content-digest\");keyid=\"a\"");
        let body = Digested::Sha256([7; 32]);
        let right = format!("--header=Content-Digest: sha-256=:{}:", body.base64());
        for (args, body, words) in [
            (
                vec!["--header=Signature-Input: s=(\"@method\")"],
                None,
                "does not name @authority, @path, @query",
            ),
            (vec![plain.as_str(), "--query=?a=1"], None, "behind the ?"),
            (vec![&plain, "--method=get"], None, "capitals"),
            (vec![&digest], None, "--body-file"),
            (vec![&plain], Some(&body), "does not cover content-digest"),
            (vec![&digest, "--header=Content-Digest: sha-256=:AA=:"], Some(&body), "not the one"),
            (vec![&digest, &right], Some(&body), "keyid"),
            (vec![&plain, "--method=GET", "--query=a=1"], None, "keyid"),
        ] {
            let Cli { args } = Cli::parse_from([vec!["x"], args].concat());
            let hint = args.hint_invalid(body);
            assert!(hint.contains(words), "{words}: {hint}");
        }
    }
}
