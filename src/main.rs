//! The `keygate` binary: arguments, then one call per command.

/// See `Cargo.toml`: what is measured is the import, and what a start holds.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    keygate::cli::main()
}
