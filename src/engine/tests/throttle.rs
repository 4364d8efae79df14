//! Guesses that fail, and who is slowed down by them.

use super::*;
use crate::limit::FailureRate;

impl Bench {
    fn guess(&self, token: &str, address: Option<&str>, peer: u64) -> VerdictCode {
        let mut payload = BytesMut::new();
        let mut writer =
            ValidateWriter::new(&mut payload, ValidateFlags::PEEK, 1, token.as_bytes());
        address.iter().for_each(|it| writer.address(it.parse().expect("an address")));
        writer.client_secret(b"a guess");
        let question = Validate::decode(&payload).expect("well-formed");
        let mut answers = Answers::default();
        let standing = Standing { peer, ..Standing::default() };
        // By number: those from 100 on answer for themselves, and from 200 on ask again.
        let standing = Standing { answers_for_itself: peer >= 100, ..standing };
        let asker = Asker { tenant: None, standing, again: peer >= 200 };
        self.engine.validate_for(asker, &[question], self.clock.now(), &mut answers);
        answers[0].verdict.code
    }
}

#[test]
fn an_address_that_fails_too_often_is_told_nothing_and_others_notice_nothing() {
    use VerdictCode::{Malformed, NotFound, Throttled, Valid};
    let bench = Bench::new();
    let rate = FailureRate::new(60, 3);
    bench.engine.set_throttle(Throttle::new(rate, rate, 64));
    let (known, unknown) = (bench.token(1), bench.token(2));
    bench.put(&bench.record(7, &known));
    let (guesser, other) = (Some("2001:db8::1"), Some("203.0.113.7"));
    for _ in 0..3 {
        assert_eq!(bench.guess(&known, guesser, 5), Valid);
        // What was never looked up is no guess.
        assert_eq!(bench.guess("kg_live_x", guesser, 5), Malformed);
        assert_eq!(bench.guess(&unknown, guesser, 5), NotFound);
    }
    for token in [&unknown, &known] {
        assert_eq!(bench.guess(token, guesser, 5), Throttled);
        assert_eq!(bench.guess(token, Some("2001:db8::2"), 5), Throttled, "the same subscriber");
    }
    assert_eq!(bench.guess(&known, guesser, 6), Valid, "what one peer states holds up no other");
    assert_eq!(bench.guess(&known, other, 5), Valid);
    assert_eq!(bench.guess(&known, None, 5), Valid, "its peer has not failed");
    bench.clock.advance_us(999_999);
    assert_eq!(bench.guess(&known, guesser, 5), Throttled);
    bench.clock.advance_us(1);
    assert_eq!(bench.guess(&known, guesser, 5), Valid);
    assert_eq!(bench.guess(&unknown, guesser, 5), NotFound);
    assert_eq!(bench.guess(&known, guesser, 5), Throttled, "one guess a second");
}

#[test]
fn peers_are_slowed_down_where_no_address_is_stated_and_strangers_never() {
    use VerdictCode::{ClientSecretWrong, NotFound, Throttled, Valid};
    let bench = Bench::new();
    bench.engine.set_throttle(Throttle::new(None, FailureRate::new(60, 1), 64));
    let (known, secret, unknown) = (bench.token(1), bench.token(2), bench.token(3));
    bench.put(&bench.record(7, &known));
    let client_secret_hash = Some(bench.engine.pepper().seal_token(b"right"));
    let record = bench.record(8, &secret);
    bench.put(&KeyRecord { requires_client_secret: true, client_secret_hash, ..record });
    assert_eq!(bench.guess(&secret, None, 5), ClientSecretWrong);
    assert_eq!(bench.guess(&known, None, 5), Throttled, "a wrong secret is a guess too");
    assert_eq!(bench.guess(&known, None, 6), Valid);
    for _ in 0..3 {
        assert_eq!(bench.guess(&unknown, None, 0), NotFound, "not told apart from others");
    }
}

#[test]
fn whoever_answers_for_itself_is_slowed_down_whatever_it_states() {
    use VerdictCode::{NotFound, Throttled, Valid};
    let bench = Bench::new();
    let rate = FailureRate::new(60, 3);
    bench.engine.set_throttle(Throttle::new(rate, rate, 64));
    let (known, unknown) = (bench.token(1), bench.token(2));
    bench.put(&bench.record(7, &known));
    let address = |number: u8| format!("203.0.113.{number}");
    for number in 0..3 {
        assert_eq!(bench.guess(&unknown, Some(&address(number)), 100), NotFound);
        assert_eq!(bench.guess(&unknown, Some(&address(number)), 5), NotFound);
    }
    assert_eq!(bench.guess(&known, Some(&address(9)), 100), Throttled);
    assert_eq!(bench.guess(&known, None, 100), Throttled);
    assert_eq!(bench.guess(&known, Some(&address(9)), 5), Valid, "a service is not its clients");
}

#[test]
fn what_was_let_through_is_not_throttled_when_it_is_judged_anew() {
    let bench = Bench::new();
    bench.engine.set_throttle(Throttle::new(None, FailureRate::new(60, 1), 64));
    let (known, unknown) = (bench.token(1), bench.token(2));
    bench.put(&bench.record(7, &known));
    assert_eq!(bench.guess(&unknown, None, 200), VerdictCode::NotFound);
    assert_eq!(bench.guess(&known, None, 200), VerdictCode::Valid);
    assert_eq!(bench.guess(&unknown, None, 150), VerdictCode::NotFound);
    assert_eq!(bench.guess(&known, None, 150), VerdictCode::Throttled);
}
