//! What a start brings from the store into memory.

use std::collections::HashSet;
use std::sync::Arc;

use super::StartError;
use super::keyring::Keyring;
use super::replays::{self, LastRun};
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::Engine;
use crate::key::{KeyView, Pepper};
use crate::ledger::Ledger;
use crate::limit::replays::HORIZON_S;
use crate::limit::{LedgerState, lead_at_start};
use crate::store::rows::{
    HorizonFact, LeadFact, SIGNING_HORIZON, SIGNING_HORIZON_SCHEMA, SIGNING_LEAD,
    SIGNING_LEAD_SCHEMA,
};
use crate::store::{Committer, Keys, Seals, Store, StoreError};
use crate::vault::Vault;

/// The store with its secrets: shown to be those that it was written under, or made for a new one.
pub(super) fn open_keys(
    keyring: &Keyring,
    store: Arc<dyn Store>,
) -> Result<(Keys, Arc<Pepper>, Arc<Vault>), StartError> {
    let keys = Keys::begin(store)?;
    let (pepper, vault) = (Arc::new(keyring.pepper(&keys)?), Arc::new(keyring.vault(&keys)?));
    keys.set_seals(Seals::new(Arc::clone(&vault), Arc::clone(&pepper)));
    keys.settle()?;
    Ok((keys, pepper, vault))
}

/// Loads every key, and all usage; answers how many records could not be read.
pub(super) fn load_keys(
    engine: &Engine,
    keys: &Keys,
    clock: &dyn Clock,
) -> Result<u64, StartError> {
    let now = clock.now();
    // A key that cannot be judged denies; the others must not suffer for it.
    let mut left_out = HashSet::new();
    let mut leave_out = |id, error: &dyn std::fmt::Display| {
        left_out.insert(id);
        tracing::error!(key = id, %error, "a record could not be loaded");
    };
    let (mut unsound, mut first_unsound) = (0_u64, None);
    let compile = |id, record: Result<KeyView<'_>, StoreError>| {
        let compiled =
            record.map_err(StartError::from).and_then(|record| Ok(engine.compile(&record)?));
        compiled.map_err(|error| (id, error))
    };
    keys.load(compile, |keys| {
        engine.check_room(keys.iter().flatten().count())?;
        let compiled = keys
            .into_iter()
            .filter_map(|key| key.map_err(|(id, error)| leave_out(id, &error)).ok());
        let compiled: Vec<_> = compiled.collect();
        for key in compiled.iter().filter(|key| key.has_unsound_entry()) {
            unsound += 1;
            first_unsound.get_or_insert(key.id());
        }
        for (id, error) in engine.put_all(compiled, now) {
            leave_out(id, &error);
        }
        Ok::<(), StartError>(())
    })?;
    if let Some(first) = first_unsound {
        tracing::warn!(
            keys = unsound,
            first,
            "these keys have entries in their access rules (addresses, domains, names) that were \
             written before entries were checked, and that match nothing; a rule without another \
             entry denies all: `keygate key update` with the same entry says what is wrong with it"
        );
    }
    Ok(left_out.len() as u64 + load_usage(engine, keys, &left_out)?)
}

/// Loads what keys, tenants and the daemon were used for; answers how many rows could not be read.
fn load_usage(engine: &Engine, keys: &Keys, left_out: &HashSet<u64>) -> Result<u64, StoreError> {
    let mut unreadable = 0;
    keys.for_each_usage(|id, row| {
        match row {
            // Its record may be mended, so its usage stays where it is.
            Ok(_) if left_out.contains(&id) => {}
            Ok(row) => engine.restore_usage(id, row),
            Err(error) => {
                unreadable += 1;
                tracing::error!(key = id, %error, "usage could not be read");
            }
        }
        Ok::<(), StoreError>(())
    })?;
    keys.for_each_sum(|of, row| {
        match row {
            Ok(row) => engine.restore_sum(of, row),
            Err(error) => {
                unreadable += 1;
                tracing::error!(tenant = of, %error, "usage of a tenant could not be read");
            }
        }
        Ok::<(), StoreError>(())
    })?;
    Ok(unreadable)
}

/// Has the engine know which signatures of requests were used, and keep how far ahead any was.
pub(super) fn load_replays(
    engine: &Arc<Engine>,
    config: &Config,
    keys: &Keys,
    committer: &Arc<Committer>,
    crashed: bool,
    clock: &dyn Clock,
) -> Result<(), StartError> {
    let signing = &config.signing;
    engine.set_signing(signing.policy(), signing.room());
    let last = match (engine.key_count() + engine.deleted_count(), crashed) {
        (0, _) => LastRun::None,
        (_, true) => LastRun::Crashed,
        (_, false) => LastRun::Stopped,
    };
    let kept = keys.fact::<LeadFact>(SIGNING_LEAD, SIGNING_LEAD_SCHEMA)?;
    let kept = kept.map(|lead| lead.seconds);
    // Not less where signers are granted less by now: what was used then may pass again later.
    let lead_s = lead_at_start(kept, last == LastRun::None, signing.clock_skew_seconds);
    if kept.is_none() {
        committer.commit(vec![replays::lead(lead_s)?], true)?;
    }
    engine.replays().lead().kept(lead_s);
    replays::keep_lead(engine, committer);
    // A signer's clock may have been ahead, so what was used may have been made until then; and this
    // clock may have been set back since.
    let horizon = keys.fact::<HorizonFact>(SIGNING_HORIZON, SIGNING_HORIZON_SCHEMA)?;
    let now_s = clock.now().wall_us.div_euclid(1_000_000);
    let crashed_s = horizon.map_or(now_s, |horizon| horizon.until_s.max(now_s));
    let until_s = crashed_s.saturating_add(i64::from(lead_s));
    let is_unknown = replays::restore(&config.data_dir, engine, last, until_s);
    if is_unknown {
        tracing::warn!(
            seconds = until_s - now_s,
            "which signatures of requests the last run had used is not known: none is taken that was \
             made before this start, or within so many seconds after it"
        );
    }
    // What is lost stays behind the horizon that there was; what is known may be of a time to come, if
    // the clock was set back over a clean stop.
    let ahead_s = engine.replays().ahead_s(now_s).max(0);
    let last_s = if is_unknown { crashed_s } else { now_s.saturating_add(ahead_s) };
    let begin_s = last_s.max(now_s.saturating_add(HORIZON_S));
    committer.commit(vec![replays::horizon(begin_s)?], true)?;
    engine.replays().horizon().begin(begin_s);
    Ok(())
}

/// The ledger, with what the store has of every account back in the engine; answers how many rows
/// could not be read, and whether the last run ended without a clean stop.
pub(super) fn open_ledger(
    engine: &Arc<Engine>,
    keys: &Keys,
    committer: &Arc<Committer>,
    clock: &Arc<dyn Clock>,
    unavailable: LedgerState,
) -> Result<(Ledger, u64, bool), StoreError> {
    let (engine, committer, clock) = (Arc::clone(engine), Arc::clone(committer), Arc::clone(clock));
    let (ledger, found) = Ledger::open(engine, keys, committer, clock, unavailable)?;
    if found.crashed {
        tracing::warn!(
            debited = found.accounts,
            "the last run ended without a clean stop: what was leased and not spent counts as \
             spent, of the keys and tenants that were debited; of all others, the first lease of \
             their day and month, which needs no debit (`keygate usage` shows it as stranded)"
        );
    }
    Ok((ledger, found.unreadable, found.crashed))
}
