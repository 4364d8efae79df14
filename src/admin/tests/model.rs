//! Random lives of a key against a model of a few lines: whatever is asked in whatever order, every
//! token it ever had gets the verdict that the model says, also after a restart.

use keygate_protocol::VerdictCode;
use proptest::prelude::*;

use super::life::Bench;
use super::*;
use crate::key::Status;

#[derive(Debug, Clone, Copy)]
enum Step {
    Advance { ms: i64 },
    SetStatus(usize),
    Rotate { grace_ms: u64 },
    Expire { in_ms: i64 },
    NeverExpire,
    Delete,
    Restore,
    Purge,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3000_i64).prop_map(|ms| Step::Advance { ms }),
        3 => (0..Status::ALL.len()).prop_map(Step::SetStatus),
        4 => (0..3000_u64).prop_map(|grace_ms| Step::Rotate { grace_ms }),
        1 => (-1000..4000_i64).prop_map(|in_ms| Step::Expire { in_ms }),
        1 => Just(Step::NeverExpire),
        2 => Just(Step::Delete),
        3 => Just(Step::Restore),
        1 => Just(Step::Purge),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..40)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum There {
    Live,
    Deleted,
    Purged,
}

/// What should be true of the key.
struct Model {
    there: There,
    status: Status,
    expires_us: i64,
    /// Every token it ever had, the newest last.
    tokens: Vec<String>,
    /// When the last but one ends.
    ends_us: i64,
}

impl Model {
    fn code(&self, token: usize, now_us: i64) -> VerdictCode {
        let age = self.tokens.len() - 1 - token;
        if self.there != There::Live || age > 1 {
            return VerdictCode::NotFound;
        }
        match self.status {
            Status::Active | Status::Deprecated => {}
            Status::Suspended => return VerdictCode::Suspended,
            Status::PendingVerification => return VerdictCode::PendingVerification,
            Status::Revoked => return VerdictCode::Revoked,
            Status::Expired => return VerdictCode::Expired,
            Status::RateLimited => return VerdictCode::RateLimited,
            Status::PendingReview => return VerdictCode::PendingReview,
            Status::Maintenance => return VerdictCode::Maintenance,
        }
        if now_us >= self.expires_us {
            VerdictCode::Expired
        } else if age == 1 && now_us >= self.ends_us {
            VerdictCode::RotatedOut
        } else {
            VerdictCode::Valid
        }
    }

    fn live(&self) -> bool {
        self.there == There::Live
    }

    /// Does a step to the model and to the real thing; both do it or both refuse it.
    async fn step(&mut self, bench: &mut Bench, id: &str, step: Step) {
        let now_us = bench.now_us();
        match step {
            Step::Advance { ms } => bench.clock.step_wall_us(ms * 1000),
            Step::SetStatus(number) => {
                let to = Status::ALL[number];
                let may = self.live() && self.status.may_become(to).is_ok();
                assert_eq!(bench.set_status(id, to, (None, None)).await.is_ok(), may, "{step:?}");
                if may {
                    self.status = to;
                }
            }
            Step::Rotate { grace_ms } => {
                let rotated = bench.rotate(id, Some(grace_ms)).await;
                let may = self.live() && self.status != Status::Revoked;
                assert_eq!(rotated.is_ok(), may, "{step:?}");
                if let Ok(rotated) = rotated {
                    self.tokens.push(rotated.token);
                    let grace_us = i64::try_from(grace_ms).expect("small") * 1000;
                    self.ends_us = (now_us + grace_us).min(self.expires_us);
                }
            }
            Step::Expire { in_ms } => self.expire(bench, id, now_us + in_ms * 1000).await,
            Step::NeverExpire => self.expire(bench, id, i64::MAX).await,
            Step::Delete => {
                assert_eq!(bench.delete(id, false).await.is_ok(), self.live(), "{step:?}");
                if self.live() {
                    self.there = There::Deleted;
                }
            }
            Step::Restore => {
                let may = self.there == There::Deleted;
                assert_eq!(bench.restore(id).await.is_ok(), may, "{step:?}");
                if may {
                    self.there = There::Live;
                }
            }
            Step::Purge => {
                let may = self.there != There::Purged;
                assert_eq!(bench.delete(id, true).await.is_ok(), may, "{step:?}");
                self.there = There::Purged;
            }
            Step::Restart => bench.restart(),
        }
    }

    async fn expire(&mut self, bench: &Bench, id: &str, at_us: i64) {
        let at = (at_us != i64::MAX).then(|| crate::key::Time::from_micros(at_us).to_string());
        let updated = bench.update(id, json!({ "expires_at": at })).await;
        assert_eq!(updated.is_ok(), self.live());
        if self.live() {
            self.expires_us = at_us;
            if self.status == Status::Expired && at_us > bench.now_us() {
                self.status = Status::Active;
            }
        }
    }
}

async fn live(steps: Vec<Step>) {
    let mut bench = Bench::new();
    let rows_before = bench.rows();
    let (id, token) = bench.create(json!({"name": "n"})).await;
    let mut model = Model {
        there: There::Live,
        status: Status::Active,
        expires_us: i64::MAX,
        tokens: vec![token],
        ends_us: i64::MIN,
    };
    for step in steps {
        model.step(&mut bench, &id, step).await;
        let now_us = bench.now_us();
        for (at, token) in model.tokens.iter().enumerate() {
            assert_eq!(bench.code(token), model.code(at, now_us), "token {at} after {step:?}");
        }
    }
    if model.there != There::Purged {
        bench.delete(&id, true).await.expect("purged");
    }
    assert_eq!(bench.rows(), rows_before, "nothing is left of it");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn every_token_of_any_life_gets_the_verdict_of_the_model(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(live(steps));
    }
}
