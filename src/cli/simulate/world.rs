//! The engine, with what stands around it in a daemon: time, records, the ledger, ids of reports.

use std::collections::VecDeque;

use bytes::BytesMut;
use keygate_protocol::{Increment, IncrementOutcome, RenewOutcome, SlotRenew, Validate};

use super::super::verdict::About;
use super::fields::Slot;
use super::keys::{self, Records, Tenants};
use super::ledger::Ledger;
use super::trace::{Asked, Renewal, Reported, Target, Update, member_names};
use crate::clock::Now;
use crate::config::Config;
use crate::engine::{Account, Answer, Answers, Engine, EngineLimits};
use crate::key::token::Prefixes;
use crate::key::{KeyRecord, Pepper, RecordInput, Rules, TenantRecord, Time};
use crate::limit::Change;

/// How often a request may be judged again after a debit; once is enough.
const DEBITS_MAX: usize = 8;
/// Between two looks for slots whose time has ended unseen.
const REAP_US: i64 = 1_000_000;
/// The daemon's own look at warnings counts in days.
const DAY_US: i64 = 86_400_000_000;
/// From the first line to the last: 500 years. Nanoseconds are counted up to 584.
const ELAPSED_US_MAX: u64 = 500 * 31_557_600 * 1_000_000;
const _: () = assert!(ELAPSED_US_MAX < u64::MAX / 1000);

/// The secret of digests that nobody stores.
pub(super) fn pepper() -> &'static Pepper {
    static PEPPER: std::sync::LazyLock<Pepper> =
        std::sync::LazyLock::new(|| Pepper::new(&[0; Pepper::BYTES]));
    &PEPPER
}

/// Everything that a line of a trace may meet.
pub(super) struct World {
    config: Config,
    rules: std::sync::Arc<Rules>,
    keys: Records,
    tenants: Tenants,
    ledger: Ledger,
    /// Ids of reports, oldest first: they are stored at once, so that they survive a crash.
    ids: VecDeque<(i64, u128)>,
    started: Option<Started>,
    answers: Answers,
    buffer: BytesMut,
}

/// What there is from the first line on.
struct Started {
    engine: Engine,
    first_us: i64,
    now: Now,
    reaped_us: i64,
}

impl World {
    pub(super) fn new(config: Config, keys: Records, tenants: Tenants) -> Self {
        Self {
            rules: std::sync::Arc::new(config.rules()),
            config,
            keys,
            tenants,
            ledger: Ledger::default(),
            ids: VecDeque::new(),
            started: None,
            answers: Answers::default(),
            buffer: BytesMut::new(),
        }
    }

    /// Moves the clock to an instant, which is no earlier than that of the line before. The first is
    /// that at which the records are as their file has them.
    pub(super) fn go_to(&mut self, at_us: i64) -> Result<(), String> {
        if let Some(started) = &mut self.started {
            let elapsed_us = (at_us - started.first_us).unsigned_abs();
            if elapsed_us > ELAPSED_US_MAX {
                let (at, first) = (Time::from_micros(at_us), Time::from_micros(started.first_us));
                return Err(format!(
                    "at: {at} is more than 500 years after the first line, {first}; a trace lasts \
                     no longer"
                ));
            }
            started.now = Now { mono_ns: elapsed_us * 1000, wall_us: at_us };
            return Ok(());
        }
        self.date_records(Time::from_micros(at_us))?;
        let now = Now { mono_ns: 0, wall_us: at_us };
        let engine = self.engine(now)?;
        self.started = Some(Started { engine, first_us: at_us, now, reaped_us: at_us });
        Ok(())
    }

    /// Balances are what they are at the first instant, as an import has it.
    fn date_records(&mut self, at: Time) -> Result<(), String> {
        for id in self.keys.ids() {
            let Some(mut record) = self.keys.get(id) else { continue };
            record.created_at = record.created_at.or(Some(at));
            record.credits = record.credits.map(|credits| credits.granted(None, at));
            self.keys.put(&record).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// An engine that has all keys and tenants, and what the ledger knows of them.
    fn engine(&self, now: Now) -> Result<Engine, String> {
        let window_us =
            i64::try_from(self.config.limits.increment_id_window_ms.saturating_mul(1000));
        let limits = EngineLimits {
            keys_max: self.config.limits.keys_max,
            expiry_warning_us: i64::from(self.config.keys.expiry_warning_days) * DAY_US,
            increment_id_window_us: window_us.unwrap_or(i64::MAX),
            increment_ids_max: self.config.limits.increment_ids_max,
            slots_max: self.config.limits.slots_max,
            usage_history: false,
            usage_detail_bytes_max: 0,
        };
        let engine = Engine::new(Pepper::new(&[0; Pepper::BYTES]), Prefixes::default(), limits);
        engine.set_rules(std::sync::Arc::clone(&self.rules));
        engine.set_deny_rotation_overdue(self.config.keys.deny_rotation_overdue);
        self.tenants.values().for_each(|record| engine.put_tenant(record, now));
        for record in self.keys.iter() {
            engine.put(&with_token(record), now).map_err(|error| error.to_string())?;
        }
        self.ledger.restore(&engine, now);
        self.ids.iter().for_each(|(_, id)| engine.restore_increment_id(*id, now));
        Ok(engine)
    }

    fn started(&self) -> Result<&Started, String> {
        self.started.as_ref().ok_or_else(not_begun)
    }

    /// Whether the records have a key of this id.
    pub(super) fn has_key(&self, id: u64) -> bool {
        self.keys.have(id)
    }

    /// Judges a request, when its debits are done.
    pub(super) fn validate(&mut self, asked: &Asked) -> Result<&Answer, String> {
        let Self { started, ledger, answers, buffer, config, .. } = self;
        let Started { engine, now, reaped_us, .. } = started.as_mut().ok_or_else(not_begun)?;
        if engine.slots_held() >= config.limits.slots_max {
            reap(engine, *now, reaped_us);
        }
        asked.write(&token_of(asked.key_id), buffer);
        let question = Validate::decode(buffer).map_err(|error| error.to_string())?;
        for _ in 0..DEBITS_MAX {
            engine.validate(std::slice::from_ref(&question), *now, answers);
            let Some(wait) = answers.first().and_then(|answer| answer.wait.as_ref()) else { break };
            for account in wait.accounts() {
                ledger.debit(engine, account, *now);
            }
        }
        ledger.debit_asking(engine, *now);
        answers.first().ok_or_else(|| "the engine gave no answer".to_owned())
    }

    /// Slots that are held now. One whose time has ended may be counted for a second more, if nobody
    /// has asked for its key since; `most` is the number from which on it is worth a look.
    pub(super) fn slots_held(&mut self, most: usize) -> usize {
        let Some(Started { engine, now, reaped_us, .. }) = &mut self.started else { return 0 };
        if engine.slots_held() > most {
            reap(engine, *now, reaped_us);
        }
        engine.slots_held()
    }

    /// Counts a report: what became of it.
    pub(super) fn increment(&mut self, reported: &Reported) -> Result<&'static str, String> {
        let Self { started, ledger, .. } = self;
        let Started { engine, now, .. } = started.as_ref().ok_or_else(not_begun)?;
        let slot = reported.slot.map(|slot| slot_of(engine, reported.key_id, slot, *now));
        let report = reported.report(slot);
        let mut payload = BytesMut::new();
        report.encode(&mut payload);
        let report = Increment::decode(&payload).map_err(|error| error.to_string())?;
        let outcome = engine.increment(&report, *now);
        // Its id is stored at once, and then its credits are given back.
        let refunds = engine.take_refunds();
        let fresh = engine.take_fresh_increment_ids();
        for (id, credits) in refunds {
            engine.refund(id, credits, *now);
        }
        ledger.debit_asking(engine, *now);
        let at_us = now.wall_us;
        self.remember(at_us, fresh);
        Ok(match outcome {
            IncrementOutcome::Counted => "COUNTED",
            IncrementOutcome::Duplicate => "DUPLICATE",
            IncrementOutcome::SlotGone => "SLOT_GONE",
            IncrementOutcome::NotFound => "NOT_FOUND",
        })
    }

    /// Keeps the ids that a restart has to know, and no others.
    fn remember(&mut self, at_us: i64, ids: Vec<u128>) {
        let limits = &self.config.limits;
        let window_us = limits.increment_id_window_ms.saturating_mul(1000);
        self.ids.extend(ids.into_iter().map(|id| (at_us, id)));
        while let Some((oldest_us, _)) = self.ids.front()
            && (self.ids.len() > limits.increment_ids_max
                || (at_us - oldest_us).unsigned_abs() >= window_us)
        {
            self.ids.pop_front();
        }
    }

    /// Holds a slot for its whole time again: what became of that.
    pub(super) fn renew(&self, renewal: &Renewal) -> &'static str {
        let Ok(Started { engine, now, .. }) = self.started() else { return "NOT_FOUND" };
        let key_id = renewal.key_id;
        let slot = slot_of(engine, key_id, renewal.slot, *now);
        match engine.renew_slot(None, SlotRenew { key_id, slot }, *now) {
            RenewOutcome::Renewed => "RENEWED",
            RenewOutcome::Gone => "GONE",
            RenewOutcome::NotFound => "NOT_FOUND",
        }
    }

    /// Changes the record of a key or of a tenant.
    pub(super) fn update(&mut self, update: &Update) -> Result<(), String> {
        let account = match &update.of {
            Target::Key(id) => self.update_key(*id, update)?,
            Target::Tenant(id) => self.update_tenant(id, update)?,
        };
        let Some(Started { engine, now, .. }) = &self.started else { return Ok(()) };
        self.ledger.settle(engine, account, *now);
        Ok(())
    }

    fn update_key(&mut self, id: u64, update: &Update) -> Result<Account, String> {
        let Started { engine, now, .. } = self.started()?;
        let Some(before) = self.keys.get(id) else {
            return Err(format!("there is no key {id}; --keys has the keys that there are"));
        };
        if before.deleted_at.is_some() {
            return Err(format!("there is no key {id}: it is deleted"));
        }
        let mut input = RecordInput::from_value(update.set.clone().into()).map_err(words)?;
        let (moves_expiry, grants) = (input.names("expires_at"), input.names("credits"));
        let change = Change::naming(update.spent, |field| input.names(field));
        input.put_right(false, Some(&before));
        let mut after = input.update(&before, pepper()).map_err(words)?;
        keys::check(&after, &self.rules).map_err(words)?;
        if after.tenant_id != before.tenant_id {
            self.check_tenant_is_there(&after.tenant_id)?;
        }
        let at = Time::from_micros(now.wall_us);
        if moves_expiry {
            after.renew(at);
        }
        if grants {
            let before = before.credits.as_ref();
            after.credits = after.credits.map(|credits| credits.granted(before, at));
        }
        after.updated_at = Some(at);
        let put = engine.change(&with_token(after.clone()), &change, *now);
        put.map_err(|error| error.to_string())?;
        self.keys.put(&after).map_err(|error| error.to_string())?;
        Ok(Account::Key(id))
    }

    fn update_tenant(&mut self, id: &str, update: &Update) -> Result<Account, String> {
        let Started { engine, now, .. } = self.started()?;
        if engine.tenant(id).is_none() {
            return Err(format!("there is no tenant {id:?}: no key of --keys names it"));
        }
        self.check_tenant_is_there(id)?;
        let before = self.tenants.get(id).cloned();
        let before = before.unwrap_or_else(|| TenantRecord::unrecorded(id));
        let names = member_names(&update.set);
        let change = Change::naming(update.spent, |field| names.iter().any(|name| name == field));
        let after = before.update(update.set.clone().into()).map_err(words)?;
        engine.change_tenant(&after, &change, *now);
        self.tenants.insert(id.to_owned(), after);
        Ok(Account::Tenant(id.into()))
    }

    /// A deleted tenant takes neither keys nor changes.
    fn check_tenant_is_there(&self, id: &str) -> Result<(), String> {
        match self.tenants.get(id) {
            Some(TenantRecord { deleted_at: Some(_), .. }) => {
                Err(format!("tenant {id:?} is deleted"))
            }
            _ => Ok(()),
        }
    }

    /// Ends as by SIGKILL, and starts again at the same instant.
    pub(super) fn crash(&mut self) -> Result<(), String> {
        let now = self.started()?.now;
        self.ledger.crash(now);
        self.start_again(now)
    }

    /// Stops cleanly, and starts again at the same instant.
    pub(super) fn restart(&mut self) -> Result<(), String> {
        let Some(Started { engine, now, .. }) = &self.started else { return Ok(()) };
        self.ledger.stop(engine, *now);
        self.start_again(*now)
    }

    fn start_again(&mut self, now: Now) -> Result<(), String> {
        let engine = self.engine(now)?;
        if let Some(started) = &mut self.started {
            started.engine = engine;
        }
        Ok(())
    }
}

/// What a verdict says of the key, as the command `validate` asks for it.
pub(super) fn about(answer: &Answer) -> About<'_> {
    let scopes = answer.policy.as_ref().map(|policy| policy.scopes.iter().collect());
    let (tenant_id, scopes) = (answer.tenant.as_deref(), scopes.unwrap_or_default());
    About { tenant_id, scopes, metadata: None }
}

fn not_begun() -> String {
    "the simulation has not begun".to_owned()
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn reap(engine: &Engine, now: Now, reaped_us: &mut i64) {
    if now.wall_us - *reaped_us >= REAP_US {
        *reaped_us = now.wall_us;
        engine.reap_slots(now);
    }
}

/// The slot that a line means. No slot has the number 0.
fn slot_of(engine: &Engine, key_id: u64, slot: Slot, now: Now) -> u64 {
    match slot {
        Slot::Number(number) => number,
        Slot::Oldest => engine.oldest_slot(key_id, now).unwrap_or(0),
        Slot::Last => engine.latest_slot(key_id, now).unwrap_or(0),
    }
}

/// The made-up token of a key: of no daemon's shape, so that it is looked up.
fn token_of(id: u64) -> String {
    format!("sim:{id}")
}

fn with_token(record: KeyRecord) -> KeyRecord {
    let key_hash = Some(pepper().seal_token(token_of(record.id).as_bytes()));
    KeyRecord { key_hash, foreign_token: true, ..record }
}
