//! A trace of whatever bytes, judged without a word.

use super::keys::{Tenants, read_from};
use super::trace::{Event, Op, Trace};
use super::world::World;
use crate::config::Config;

/// The keys that the trace may name: one without limits, one with all of them.
const KEYS: &[u8] = br#"[
    {"id": "1", "name": "plain"},
    {"id": "2", "name": "limited", "requests_per_second": 2, "burst": 3, "requests_per_day": 50,
     "monthly_request_quota": "60", "max_uses": "70", "concurrent_requests": 2,
     "limits": [{"name": "a", "count": "5", "period": "90s"}],
     "credits": {"balance": "9", "refill": {"amount": "2", "every": "day", "mode": "add"}}}
]"#;

/// Judges the lines of a trace until one is refused; how many were judged.
///
/// # Panics
/// When the records above are not sound.
#[must_use]
pub fn trace(bytes: &[u8]) -> usize {
    let config = Config::default();
    let (keys, _) = read_from(KEYS, "the keys", &config.rules()).unwrap_or_default();
    assert!(keys.have(2), "the records are sound");
    let mut world = World::new(config, keys, Tenants::new());
    let mut trace = Trace::new(bytes);
    let mut judged = 0;
    while let Ok(Some(line)) = trace.next_line() {
        let Ok(event) = Event::parse(line.bytes, line.after_us) else { break };
        if judge(&mut world, &event).is_err() {
            break;
        }
        let at_us = event.at_us;
        trace.passed(at_us);
        judged += 1;
    }
    judged
}

fn judge(world: &mut World, event: &Event<'_>) -> Result<(), String> {
    world.go_to(event.at_us)?;
    match &event.op {
        Op::Validate(asked) => world.validate(asked).map(drop),
        Op::Increment(report) => world.increment(report).map(drop),
        Op::Renew(renew) => {
            let _ = world.renew(renew);
            Ok(())
        }
        Op::Update(update) => world.update(update),
        Op::Crash => world.crash(),
        Op::Restart => world.restart(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_trace_is_judged_to_its_end() {
        let lines = br#"
{"at": 1769903997000, "op": "validate", "key_id": "1"}
{"at": 1769903998000, "op": "validate", "key_id": "2", "limits": ["a"]}
{"at": 1769903998000, "op": "crash"}
{"at": 1769903999000, "op": "validate", "key_id": "2"}
no line"#;
        assert_eq!(super::trace(lines), 4);
    }
}
