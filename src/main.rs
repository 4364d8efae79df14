//! The `keygate` binary: arguments, then one call per command.

fn main() -> std::process::ExitCode {
    keygate::cli::main()
}
