//! What a key demands beside its token, as it is decided.

use super::*;

type Put = fn(&mut ValidateWriter<'_>);

const CERTIFICATE: [u8; 32] = [0xAB; 32];

impl Bench {
    /// The code of a question with these facts about a key with these fields, of a connection.
    fn proven(
        &self,
        fields: &dyn Fn(&mut KeyRecord),
        facts: &dyn Fn(&mut ValidateWriter<'_>),
        standing: Standing,
    ) -> VerdictCode {
        let token = self.token(1);
        let mut record = self.record(7, &token);
        fields(&mut record);
        self.put(&record);
        let mut payload = BytesMut::new();
        let flags = ValidateFlags::NONE;
        facts(&mut ValidateWriter::new(&mut payload, flags, 1, token.as_bytes()));
        let question = Validate::decode(&payload).expect("well-formed");
        let mut answers = Answers::default();
        let asker = Asker { standing, ..Asker::default() };
        self.engine.validate_for(asker, &[question], self.clock.now(), &mut answers);
        answers[0].verdict.code
    }

    fn with_secrets(&self, ends_at: Option<i64>) -> impl Fn(&mut KeyRecord) + use<'_> {
        let pepper = self.engine.pepper();
        move |record| {
            record.requires_client_secret = true;
            record.client_secret_hash = Some(pepper.seal_token(b"the present one"));
            record.previous_client_secret_hash = ends_at.map(|_| pepper.seal_token(b"the old one"));
            record.previous_client_secret_ends_at = ends_at.map(Time::from_micros);
        }
    }
}

const PRESENT: Put = |it| it.client_secret(b"the present one");
const OLD: Put = |it| it.client_secret(b"the old one");
const NEARLY: Put = |it| it.client_secret(b"the present onf");
const NOTHING: Put = |_| {};

#[test]
fn a_client_secret_passes_until_its_overlap_ends() {
    use VerdictCode::{ClientSecretRequired, ClientSecretWrong, Valid};
    let bench = Bench::new();
    let second = START_US + 1_000_000;
    let overlap = bench.with_secrets(Some(second));
    let of = |key: &dyn Fn(&mut KeyRecord), put: Put| bench.proven(key, &put, Standing::default());
    for (put, code) in [
        (PRESENT, Valid),
        (OLD, Valid),
        (NEARLY, ClientSecretWrong),
        (NOTHING, ClientSecretRequired),
    ] {
        assert_eq!(of(&overlap, put), code);
    }
    assert_eq!(bench.engine.keys_with_retired_secret(second - 1), [0_u64; 0]);
    assert_eq!(bench.engine.keys_with_retired_secret(second), [7]);
    bench.clock.advance_us(1_000_000);
    assert_eq!(of(&overlap, OLD), ClientSecretWrong, "its overlap ends at that instant");
    assert_eq!(of(&overlap, PRESENT), Valid);
    assert_eq!(of(&bench.with_secrets(None), OLD), ClientSecretWrong);
}

#[test]
fn a_key_without_a_secret_denies_where_it_demands_one_and_looks_at_none_where_it_does_not() {
    use VerdictCode::{ClientSecretRequired, Valid};
    let bench = Bench::new();
    let demands = |record: &mut KeyRecord| record.requires_client_secret = true;
    let has_one = |record: &mut KeyRecord| {
        record.client_secret_hash = Some(bench.engine.pepper().seal_token(b"x"));
    };
    for put in [PRESENT, NOTHING] {
        assert_eq!(bench.proven(&demands, &put, Standing::default()), ClientSecretRequired);
        assert_eq!(bench.proven(&has_one, &put, Standing::default()), Valid);
    }
    // What was sealed under another pepper is no secret that anybody has.
    let sealed = |record: &mut KeyRecord| {
        record.requires_client_secret = true;
        record.client_secret_hash = Some(Pepper::new(&[9; 32]).seal_token(b"the present one"));
    };
    assert_eq!(bench.proven(&sealed, &PRESENT, Standing::default()), ClientSecretRequired);
}

#[test]
fn secrets_of_every_length_are_compared_whole() {
    let bench = Bench::new();
    for length in [1, 31, 32, 55, 56, 64, 512] {
        let secret = vec![b's'; length];
        let key = |record: &mut KeyRecord| {
            record.requires_client_secret = true;
            record.client_secret_hash = Some(bench.engine.pepper().seal_token(&secret));
        };
        let code =
            |stated: &[u8]| bench.proven(&key, &|it| it.client_secret(stated), Standing::default());
        assert_eq!(code(&secret), VerdictCode::Valid, "{length}");
        for at in [0, length - 1] {
            let mut wrong = secret.clone();
            wrong[at] ^= 1;
            assert_eq!(code(&wrong), VerdictCode::ClientSecretWrong, "{length}, byte {at}");
        }
    }
}

#[test]
fn a_certificate_is_the_connections_own_or_what_a_trusted_one_states() {
    use VerdictCode::{ClientCertificateMismatch, ClientCertificateRequired, Valid};
    let bench = Bench::new();
    let any = |record: &mut KeyRecord| record.enforce_mutual_tls = true;
    let one = |record: &mut KeyRecord| {
        record.enforce_mutual_tls = true;
        record.client_certificate_hash = "AB".repeat(32);
    };
    let unsound = |record: &mut KeyRecord| {
        record.enforce_mutual_tls = true;
        record.client_certificate_hash = "ab:ab".to_owned();
    };
    let lax = |record: &mut KeyRecord| record.client_certificate_hash = "cd".repeat(32);
    let none = Standing::default();
    let tls = Standing { certificate: Some(CERTIFICATE), ..none };
    let other = Standing { certificate: Some([1; 32]), ..none };
    let states = Standing { states_certificates: true, ..tls };
    let good: Put = |it| it.client_certificate(&[0xAB; 32]);
    let bad: Put = |it| it.client_certificate(&[0xAC; 32]);
    type Key<'a> = &'a dyn Fn(&mut KeyRecord);
    let cases: [(Key<'_>, Standing, Put, VerdictCode); 14] = [
        (&any, none, NOTHING, ClientCertificateRequired),
        // A service's own, which asks for clients that have shown it none.
        (&any, tls, NOTHING, ClientCertificateRequired),
        (&any, tls, bad, ClientCertificateRequired),
        (&any, states, bad, Valid),
        // What may state certificates shows its own, which is none of its clients'.
        (&any, states, NOTHING, ClientCertificateRequired),
        (&one, states, NOTHING, ClientCertificateRequired),
        (&one, tls, NOTHING, Valid),
        (&one, other, NOTHING, ClientCertificateMismatch),
        (&one, states, good, Valid),
        (&one, states, bad, ClientCertificateMismatch),
        // Without trust a statement is nothing; the server refuses the question before.
        (&one, none, good, ClientCertificateRequired),
        (&one, other, good, ClientCertificateMismatch),
        (&unsound, states, good, ClientCertificateMismatch),
        (&lax, none, NOTHING, Valid),
    ];
    for (number, (key, standing, put, code)) in cases.into_iter().enumerate() {
        assert_eq!(bench.proven(key, &put, standing), code, "case {number}");
    }
}
