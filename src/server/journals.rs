//! Who is told of what happens: the audit log, whoever watches, and whoever else takes notes.

use std::sync::Arc;

use keygate_protocol::VerdictCode;

use super::StartError;
use super::watchers::Watchers;
use crate::audit::{Audit, LogOptions, OnFailing, Options, Sync, SystemDisk, key};
use crate::clock::Clock;
use crate::config::{AuditSync, Config};
use crate::engine::Engine;
use crate::event::Journal;
use crate::notify::Notifier;

/// All of them.
#[derive(Clone)]
pub(super) struct Journals {
    /// The audit log, where one is kept.
    pub(super) audit: Option<Arc<Audit>>,
    /// Whoever watches.
    pub(super) watchers: Arc<Watchers>,
    /// What finds alerts.
    pub(super) alerts: Option<Arc<Notifier>>,
}

impl Default for Journals {
    /// Nobody.
    fn default() -> Self {
        Self { audit: None, watchers: Arc::new(Watchers::none()), alerts: None }
    }
}

impl Journals {
    /// Those of every change, in the order in which they are told.
    pub(super) fn of_changes(&self) -> Arc<dyn Journal> {
        let mut all: Vec<Arc<dyn Journal>> = Vec::new();
        if let Some(audit) = &self.audit {
            all.push(Arc::clone(audit) as Arc<dyn Journal>);
        }
        all.push(Arc::clone(&self.watchers) as Arc<dyn Journal>);
        all.extend(self.alerts.iter().map(|alerts| Arc::clone(alerts) as Arc<dyn Journal>));
        Arc::new(all)
    }
}

/// Opens the audit log that a configuration asks for.
///
/// # Errors
/// The key or the directory cannot be had.
pub(super) fn open_audit(
    config: &Config,
    engine: &Engine,
    clock: &Arc<dyn Clock>,
    on_failing: OnFailing,
) -> Result<Option<Arc<Audit>>, StartError> {
    let audit = &config.audit;
    if !audit.enabled {
        return Ok(None);
    }
    let dir = audit.dir_in(&config.data_dir);
    let path = key::path(&config.data_dir)?;
    let failed = |error| StartError::Audit { dir: dir.clone(), error };
    let may_make = !key::has_log(&dir).map_err(failed)?;
    if may_make && path.exists() {
        tracing::warn!(
            dir = %dir.display(),
            "there is a key of an audit log and no log: it begins anew, and what was in it before, if \
             anything was, is not there any more"
        );
    }
    let key = key::load(&path, may_make)?;
    let options = Options {
        log: LogOptions {
            dir: dir.clone(),
            file_bytes_max: audit.file_bytes_max,
            file_age_max_hours: audit.file_age_max_hours,
            files_max: audit.files_max,
        },
        sync: match audit.sync {
            AuditSync::Queue => Sync::Queue,
            AuditSync::Fsync => Sync::Fsync,
        },
        queue_records_max: audit.queue_records_max,
        denials_per_second_max: audit.denials_per_second_max,
        // Numbers, texts, lists and tables by text: nothing of it can fail to become JSON.
        configuration: serde_json::to_vec(config).unwrap_or_default(),
    };
    let places = (Arc::clone(engine.audit()), Arc::clone(clock));
    let names = |code| VerdictCode::from_byte(code).map(VerdictCode::name);
    let audit = Audit::start(options, key, Box::new(SystemDisk), places, names, on_failing);
    Ok(Some(Arc::new(audit.map_err(failed)?)))
}
