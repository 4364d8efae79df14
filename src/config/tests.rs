use super::*;

#[test]
fn a_file_overrides_defaults_and_unknown_names_are_named() {
    let config: Config = toml::from_str(
        "threads = 3\ntcp = [\"127.0.0.1:7000\"]\n[limits]\nidle_timeout_ms = 5000\n",
    )
    .expect("a configuration");
    assert_eq!((config.threads, config.limits.idle_timeout_ms), (3, 5000));
    assert_eq!(config.limits.frame_bytes_max, DATA_FRAME_BYTES_MAX);
    let error = toml::from_str::<Config>("[limits]\nidle_timeout = 5\n").expect_err("unknown");
    assert!(error.to_string().contains("idle_timeout_ms"), "{error}");
    assert!(error.to_string().contains("line 2"), "{error}");
}

#[test]
fn values_out_of_bounds_are_refused_by_name() {
    Config::default().check().expect("the defaults are within their bounds");
    type Change = fn(&mut Config);
    let cases: [(Change, &str); 8] = [
        (|c| c.limits.idle_timeout_ms = 0, "limits.idle_timeout_ms is 0"),
        (|c| c.limits.frame_bytes_max = 1 << 20, "limits.frame_bytes_max is 1048576"),
        (|c| c.tcp = vec!["0.0.0.0:1".parse().expect("an address")], "loopback"),
        (|c| c.limits.increment_ids_max = 0, "increment_ids_max"),
        (|c| c.store.cache_bytes = 1000, "store.cache_bytes is 1000"),
        (|c| c.store.cache_bytes = u64::MAX, "store.cache_bytes"),
        (|c| c.keys.expiry_warning_days = 3651, "keys.expiry_warning_days is 3651"),
        (|c| c.keys.rotation_grace_ms = u64::MAX, "keys.rotation_grace_ms"),
    ];
    for (change, expected) in cases {
        let mut config = Config::default();
        change(&mut config);
        let error = config.check().expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}
