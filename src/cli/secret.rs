//! Tokens on their way into a command: standard input or the environment, so that no other user
//! sees them; an argument works and warns.

use std::io::Read;

use zeroize::Zeroizing;

use super::error::CliError;

/// The environment variable that may hold a token.
pub(super) const TOKEN_ENV: &str = "KEYGATE_TOKEN";
/// The environment variable that may hold a client secret.
pub(super) const CLIENT_SECRET_ENV: &str = "KEYGATE_CLIENT_SECRET";
/// More than any token has; the daemon judges longer ones malformed anyway.
const TOKEN_INPUT_BYTES_MAX: u64 = 4096;

/// The token: an argument, `-` for standard input, else the environment.
pub(super) fn token(argument: Option<&str>) -> Result<Zeroizing<String>, CliError> {
    let token = match argument {
        Some("-") => from_stdin()?,
        Some(token) => {
            eprintln!(
                "keygate: a token on the command line is visible to other users; give it in \
                 {TOKEN_ENV}, or as `-` on standard input"
            );
            Zeroizing::new(token.to_owned())
        }
        // Standard input is read only when it is asked for: it may be the caller's own.
        None => Zeroizing::new(std::env::var(TOKEN_ENV).unwrap_or_default()),
    };
    // A mistake in a script must not look like a denial.
    if token.is_empty() {
        return Err(CliError::Usage(format!(
            "no token: set {TOKEN_ENV}, or give `-` and the token on standard input"
        )));
    }
    Ok(token)
}

/// The client secret: standard input if it is asked for, else the environment, else none.
pub(super) fn client_secret(stdin: bool) -> Result<Option<Zeroizing<String>>, CliError> {
    let secret = if stdin {
        from_stdin()?
    } else {
        Zeroizing::new(std::env::var(CLIENT_SECRET_ENV).unwrap_or_default())
    };
    // A mistake in a script must not look like a denial.
    if secret.is_empty() && stdin {
        return Err(CliError::Usage("no client secret came on standard input".to_owned()));
    }
    Ok(Some(secret).filter(|secret| !secret.is_empty()))
}

/// A shared secret in base64, from standard input.
pub(super) fn shared_secret() -> Result<Zeroizing<String>, CliError> {
    let secret = from_stdin()?;
    if secret.is_empty() {
        return Err(CliError::Usage("no shared secret came on standard input".to_owned()));
    }
    Ok(secret)
}

fn from_stdin() -> Result<Zeroizing<String>, CliError> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin()
        .take(TOKEN_INPUT_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| CliError::System { doing: "cannot read standard input", error })?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
