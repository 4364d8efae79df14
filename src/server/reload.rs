//! The configuration, read again while the daemon serves: applied as a whole or not at all.

use std::sync::Arc;

use keygate_protocol::ErrorCode;
use keygate_protocol::admin::{CHANGES_MAX, Reloaded};
use serde_json::Value;
use tokio::sync::Mutex;

use super::daemon::micros;
use super::retention::life_rules;
use super::supervisor::Reloading;
use super::tls::{Material, Tls};
use crate::admin::{Admin, AdminError, Caller, Live};
use crate::config::change::{Change, changes};
use crate::config::{self, Config, ConfigError, Source, Unavailable};
use crate::engine::Engine;
use crate::event::{self, Subject};
use crate::limit::LedgerState;
use crate::notify;

/// Reads the configuration again. One at a time; the next waits.
pub struct Reload {
    source: Source,
    admin: Arc<Admin>,
    /// TLS, where it is spoken.
    tls: Option<Arc<Tls>>,
    /// What is in force. Locked for the whole of a reload.
    current: Mutex<Config>,
}

/// What of a configuration is applied while the daemon runs.
pub(super) fn live(config: &Config) -> Live {
    Live {
        rules: config.rules(),
        life: life_rules(&config.keys),
        deny_rotation_overdue: config.keys.deny_rotation_overdue,
        expiry_warning_us: micros(u64::from(config.keys.expiry_warning_days) * 86_400_000),
        ledger_unavailable: unavailable(&config.ledger),
    }
}

/// What the configuration says of units that are not leased while the store takes no writes.
pub(super) const fn unavailable(ledger: &config::Ledger) -> LedgerState {
    match ledger.unavailable {
        Unavailable::Deny => LedgerState::Denies,
        Unavailable::Allow => LedgerState::Allows,
    }
}

/// Says once which names of keys the configuration does not have.
pub(super) fn log_unknown(engine: &Engine) {
    for (tier, keys) in engine.unknown_tiers() {
        tracing::error!(
            tier,
            keys,
            "the configuration has no such tier: its keys are left out and unknown to decisions; \
             add it, and `keygate reload` takes them in"
        );
    }
    for (profile, keys) in engine.unknown_profiles() {
        tracing::warn!(profile, keys, "the configuration has no such profile, which keys name");
    }
}

impl Reload {
    pub(super) fn new(source: Source, admin: Arc<Admin>, current: Config) -> Self {
        Self { source, admin, tls: None, current: Mutex::new(current) }
    }

    /// Reads the files of TLS again, too.
    pub(super) fn with_tls(self, tls: Option<Arc<Tls>>) -> Self {
        Self { tls, ..self }
    }

    /// Reads, checks and applies the configuration; what changed is logged and answered, and so is
    /// why nothing did.
    ///
    /// # Errors
    /// `FORBIDDEN` for a caller that is bound to a tenant; `INVALID` without a file, for what is wrong
    /// in it, and for a setting that needs a restart; those of [`Admin::apply`].
    pub async fn reload(&self, caller: &Caller) -> Result<Reloaded, AdminError> {
        // Before the log hears of it: nothing was tried.
        caller.check_unbound("Reload")?;
        let outcome = self.apply(caller).await;
        match &outcome {
            Ok(reloaded) => tracing::info!(
                settings_changed = reloaded.settings_changed,
                keys_changed = reloaded.keys_changed,
                "the configuration was reloaded"
            ),
            Err(error) => tracing::error!(%error, "the configuration was not reloaded"),
        }
        outcome
    }

    async fn apply(&self, caller: &Caller) -> Result<Reloaded, AdminError> {
        let mut current = self.current.lock().await;
        // To the end of this one, also of one that is refused: the next has words of its own.
        let _reloading = Reloading::begin();
        let next = self.read().await?;
        let changes = changes(&current, &next);
        check_live(&changes)?;
        // It reads files, which may lie on a slow disk.
        let (alerts, sinks, tls) = (next.alerts.clone(), next.sinks.clone(), next.tls.clone());
        let read = move || (notify::deliverer(&alerts, &sinks), Material::load(&tls));
        let (courier, material) = tokio::task::spawn_blocking(read)
            .await
            .map_err(|_| refused("the daemon is stopping"))?;
        let material =
            material.map_err(|error| refused(&format!("nothing was applied: {error}")))?;
        let courier = courier.map_err(|error| refused(&format!("nothing was applied: {error}")))?;
        let applied = self.admin.apply(live(&next)).await?;
        let signing = &next.signing;
        self.admin.engine().set_signing(signing.policy(), signing.room());
        if let Ok(notifier) = self.admin.notifier() {
            notifier.set(notify::Settings::new(&next.alerts), courier);
        }
        if let (Some(tls), Some(material)) = (&self.tls, material) {
            let tls = Arc::clone(tls);
            // Certificates of open connections are verified anew, and may be many.
            let set = tokio::task::spawn_blocking(move || tls.set(material));
            set.await.map_err(|_| refused("the daemon is stopping"))?;
        }
        self.note(caller, &changes);
        *current = next;
        for Change { line, .. } in &changes {
            tracing::info!(change = line, "a setting was changed");
        }
        let mut notices = Vec::new();
        if applied.failed > 0 {
            notices.push(format!(
                "{} keys could not be read and keep the limits that they had; the log names them; \
                 restart keygate once that is mended",
                applied.failed
            ));
        }
        notices.extend(self.admin.health(caller, 0).reasons);
        Ok(Reloaded {
            settings_changed: changes.len() as u64,
            changes: changes.into_iter().take(CHANGES_MAX).map(|change| change.line).collect(),
            keys_changed: applied.keys,
            notices,
        })
    }

    /// Tells the journal which settings have other values.
    fn note(&self, caller: &Caller, changes: &[Change]) {
        let told = |of: fn(&Change) -> &Value| -> Value {
            changes.iter().map(|change| (change.name.clone(), of(change).clone())).collect()
        };
        self.admin.note(event::Change {
            action: "reload".to_owned(),
            actor: caller.actor(),
            subject: Subject::Configuration,
            before: told(|change| &change.before),
            after: told(|change| &change.after),
            reason: None,
        });
    }

    async fn read(&self) -> Result<Config, AdminError> {
        if self.source.file.is_none() {
            return Err(refused(
                "keygate was started without a configuration file, so there is nothing to read \
                 again; start it with --config FILE",
            ));
        }
        let source = self.source.clone();
        // The file may lie on a slow disk.
        let read = tokio::task::spawn_blocking(move || source.read_again()).await;
        let read = read.map_err(|_| refused("the daemon is stopping"))?;
        read.map_err(|error: ConfigError| refused(&format!("nothing was applied:\n{error}")))
    }
}

/// Refuses what cannot be applied while the daemon runs, and with it everything else.
fn check_live(changes: &[Change]) -> Result<(), AdminError> {
    let restart: Vec<&str> =
        changes.iter().filter(|change| change.restart).map(|change| change.name.as_str()).collect();
    match restart.as_slice() {
        [] => Ok(()),
        [one] => Err(refused(&format!("{one} needs a restart; nothing was applied"))),
        names => Err(refused(&format!("{} need a restart; nothing was applied", names.join(", ")))),
    }
}

fn refused(message: &str) -> AdminError {
    AdminError { code: ErrorCode::Invalid, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::dispatch::tests::engine;
    use super::*;
    use crate::clock::ManualClock;
    use crate::store::{Committer, CommitterOptions, Keys, MemoryStore};

    fn reload(file: Option<std::path::PathBuf>) -> Reload {
        let keys = Keys::open(Arc::new(MemoryStore::new())).expect("a store");
        let committer = Committer::start(&keys, &CommitterOptions::default()).expect("threads");
        let clock = Arc::new(ManualClock::new(0));
        let admin = Admin::new(
            Arc::new(engine()),
            keys,
            Arc::new(committer),
            clock,
            life_rules(&crate::config::Keys::default()),
        );
        let source = Source { file, ..Source::default() };
        Reload::new(source, Arc::new(admin), Config::default())
    }

    #[tokio::test]
    async fn who_is_bound_to_a_tenant_does_not_change_what_binds_all() {
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("keygate.toml");
        std::fs::write(&file, "[tiers.gold]\n").expect("written");
        let reload = reload(Some(file));
        let refused = reload.reload(&Caller::of_tenant("acme")).await.expect_err("of one tenant");
        assert_eq!(refused.code, ErrorCode::Forbidden);
        let reloaded = reload.reload(&Caller::unbound()).await.expect("of all");
        assert_eq!(reloaded.changes, ["tiers.gold: not set → {}"]);
    }

    /// To open a pipe that nobody writes to waits for ever, and every reload behind it would wait too.
    #[tokio::test]
    async fn what_is_no_file_any_more_is_refused_and_waited_for_by_nobody() {
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("keygate.toml");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &file, fifo, mode, 0).expect("a pipe");
        let reload = reload(Some(file.clone()));
        for what in ["a pipe", "nothing", "a directory"] {
            let refused = reload.reload(&Caller::unbound()).await.expect_err(what);
            assert_eq!(refused.code, ErrorCode::Invalid, "{what}");
            assert!(refused.message.contains("nothing was applied"), "{what}: {refused}");
            match what {
                "a pipe" => std::fs::remove_file(&file).expect("removed"),
                _ => drop(std::fs::create_dir(&file)),
            }
        }
        std::fs::remove_dir(&file).expect("removed");
        std::fs::write(&file, "").expect("written");
        assert!(reload.reload(&Caller::unbound()).await.is_ok());
    }

    #[tokio::test]
    async fn a_reply_fits_a_frame_whatever_has_changed() {
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("keygate.toml");
        let wide = |n: u32| {
            let name = format!("{n:04}{}", "\"".repeat(60));
            let target = "\"".repeat(500);
            format!("[sinks.'{name}']\nkind = 'file'\ntarget = '/{target}'\n")
        };
        let sinks: String = (0..1024).map(wide).collect();
        std::fs::write(&file, sinks + "[keys]\nexpiry_warning_days = 1\n").expect("written");
        let reloaded = reload(Some(file)).reload(&Caller::unbound()).await.expect("applied");
        assert_eq!((reloaded.settings_changed, reloaded.changes.len()), (1025, CHANGES_MAX));
        let bytes = serde_json::to_vec(&reloaded).expect("JSON").len();
        assert!(bytes < 900_000, "{bytes}");
    }
}
