//! `keygate serve --demo`: everything in a throw-away directory, and three commands to paste.

use std::path::Path;

use keygate_protocol::admin::KeyCreate;
use serde_json::json;
use zeroize::Zeroizing;

use super::error::CliError;
use super::output::print;
use super::secret::TOKEN_ENV;
use crate::admin::{Admin, Caller};
use crate::config::Overrides;

/// The tenant of the demonstration's key.
const TENANT: &str = "demo";

/// The demonstration's key.
pub(super) struct DemoKey {
    id: String,
    token: Zeroizing<String>,
}

/// Makes the directory and points the configuration at it; sockets that were named stay.
pub(super) fn directory(overrides: &mut Overrides) -> Result<tempfile::TempDir, CliError> {
    let failed = |error| CliError::System { doing: "cannot make a throw-away directory", error };
    let scratch = tempfile::Builder::new().prefix("keygate-demo-").tempdir().map_err(failed)?;
    overrides.data_dir = Some(scratch.path().join("data"));
    overrides.socket.get_or_insert_with(|| scratch.path().join("keygate.sock"));
    overrides.admin_socket.get_or_insert_with(|| scratch.path().join("admin.sock"));
    Ok(scratch)
}

/// Makes the tenant's key.
pub(super) async fn make_key(admin: &Admin) -> Result<DemoKey, CliError> {
    let record = json!({
        "name": "Demonstration",
        "tenant_id": TENANT,
        "scopes": ["demo:*"],
        "requests_per_second": 10,
    });
    let created = admin
        .create(&Caller::daemon("demo"), KeyCreate { record, request_id: None })
        .await
        .map_err(|error| CliError::Usage(format!("the demonstration's key: {error}")))?;
    let id = created.key["id"].as_str().unwrap_or_default().to_owned();
    Ok(DemoKey { id, token: Zeroizing::new(created.token.unwrap_or_default()) })
}

/// Prints what to do next, on standard output: it is what the command was asked for.
pub(super) fn greet(key: &DemoKey, socket: &Path, admin_socket: &Path) {
    let keygate =
        std::env::current_exe().map_or("keygate".to_owned(), |path| path.display().to_string());
    let (data, admin) = (socket.display(), admin_socket.display());
    let (id, token) = (&key.id, key.token.as_str());
    // Nobody may read; the daemon serves all the same.
    let _ = print(&format!(
        "keygate serves a throw-away store. Tenant {TENANT:?} has one key, whose token is shown \
         only now:\n\n  {token}\n\nPaste into another terminal:\n\n\
         {TOKEN_ENV}={token} {keygate} --socket {data} validate --scope demo:read\n\
         {keygate} --socket {data} increment {id} --status 200 --latency-ms 12 --endpoint /demo\n\
         {keygate} --admin-socket {admin} usage {id}\n\n\
         Ctrl-C ends it and removes everything.\n"
    ));
}
