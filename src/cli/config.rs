//! `keygate config check` and `keygate config show`: no daemon is asked.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::error::CliError;
use super::output::{print, print_json};
use super::{Exit, Global};
use crate::config::{Config, ConfigError, Problem};
use crate::server::{FilesFound, config_files};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Say everything that is wrong with a configuration and the files that it names; exit code 1 if
    /// anything is
    Check(Check),
    /// Show every setting of a configuration: what it says, and the defaults of what it does not
    Show(File),
}

#[derive(Debug, clap::Args)]
pub(super) struct File {
    /// The configuration, in TOML
    #[arg(env = "KEYGATE_CONFIG", hide_env_values = true)]
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    #[command(flatten)]
    file: File,
    /// Do not look at the certificates, keys and passwords that it names: they are on another machine
    #[arg(long)]
    without_files: bool,
}

pub(super) fn run(command: &Command, global: &Global) -> Result<Exit, CliError> {
    match command {
        Command::Check(args) => check(args, global),
        Command::Show(args) => show(args, global),
    }
}

fn check(args: &Check, global: &Global) -> Result<Exit, CliError> {
    let file = &args.file.file;
    let (problems, notices) = match Config::from_file(file) {
        Ok(_) if args.without_files => (Vec::new(), Vec::new()),
        Ok(config) => {
            let FilesFound { wrong, hidden } = config_files(&config);
            let problem = |reason| Problem { line: None, reason };
            (wrong.into_iter().map(problem).collect(), hidden)
        }
        Err(ConfigError::File { problems, .. } | ConfigError::Values { problems }) => {
            (problems, Vec::new())
        }
        Err(error) => return Err(error.into()),
    };
    let ok = problems.is_empty();
    if global.json {
        let file = file.display().to_string();
        print_json(&json!({"file": file, "ok": ok, "problems": problems, "notices": notices}))?;
    } else if ok {
        let but = if notices.is_empty() { "" } else { " in what could be looked at" };
        print(&format!("{}: nothing is wrong{but}\n", file.display()))?;
    } else {
        print(&problems.iter().map(|problem| line(&args.file, problem)).collect::<String>())?;
    }
    if !global.json {
        for notice in notices {
            eprintln!("not looked at: {notice}");
        }
    }
    Ok(if ok { Exit::Fine } else { Exit::Error })
}

/// In the form that editors jump to.
fn line(args: &File, problem: &Problem) -> String {
    let file = args.file.display();
    match problem.line {
        Some(line) => format!("{file}:{line}: {}\n", problem.reason),
        None => format!("{file}: {}\n", problem.reason),
    }
}

fn show(args: &File, global: &Global) -> Result<Exit, CliError> {
    let config = Config::from_file(&args.file)?;
    if global.json {
        print_json(&config)?;
        return Ok(Exit::Fine);
    }
    let defaults = lines(&Config::default());
    let rows = lines(&config).into_iter().map(|(name, value)| {
        let is_default = defaults.iter().any(|row| (&row.0, &row.1) == (&name, &value));
        format!("{name} = {value}{}\n", if is_default { "  # the default" } else { "" })
    });
    print(&rows.collect::<String>())?;
    Ok(Exit::Fine)
}

/// Every setting by its dotted name, with its value.
fn lines(config: &Config) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    // Numbers, texts, lists and tables by text: nothing of it can fail to become JSON.
    flatten("", &serde_json::to_value(config).unwrap_or_default(), &mut lines);
    lines
}

fn flatten(name: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (member, value) in members {
                let member = crate::key::rules::TomlKey(member);
                let dot = if name.is_empty() { "" } else { "." };
                flatten(&format!("{name}{dot}{member}"), value, lines);
            }
        }
        // A mode is read in octal, and written so.
        Value::Number(mode) if name == "admin_socket_mode" => {
            lines.push((name.to_owned(), format!("0o{:o}", mode.as_u64().unwrap_or_default())));
        }
        value => lines.push((name.to_owned(), toml_value(value))),
    }
}

/// A value as TOML writes it: inside of a list, an object is an inline table.
fn toml_value(value: &Value) -> String {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let member = |(name, value): (&String, &Value)| {
                format!("{} = {}", crate::key::rules::TomlKey(name), toml_value(value))
            };
            format!("{{ {} }}", members.iter().map(member).collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml_value).collect::<Vec<_>>().join(","))
        }
        value => value.to_string(),
    }
}
