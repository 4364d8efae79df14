# The front door: `just` lists what there is. Each recipe is a plain cargo command, so nothing here
# is needed to work on keygate without `just`.

# What there is.
default:
    @just --list --unsorted

# Every test, as README has it.
test:
    cargo test --workspace

# Format and lints, as CI demands them.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Put the format right.
fmt:
    cargo fmt --all

# A throw-away daemon with one key to try; Ctrl-C ends it.
demo:
    cargo run --release -- serve --demo

# Criterion's benches (benches/README.md says what each figure means): `just bench codec`.
bench *FILTER:
    cargo bench {{ FILTER }}

# The load generator against a running daemon: `just load --connections 4 --depth 32`.
load *ARGS:
    cargo run --release -- bench {{ ARGS }}

# The documentation, with warnings as errors.
doc *ARGS:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps {{ ARGS }}

# What may be in the dependency tree (needs cargo-deny).
deny:
    cargo deny check licenses bans sources

# What a release is, of what is committed, into dist/.
release:
    .ci/release

# Makes it twice, in two places, and compares every byte.
reproduce:
    .ci/reproduce

# Everything that CI does; it installs packages, so it is meant for a machine of CI's kind.
ci:
    .ci/run
