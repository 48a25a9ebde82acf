//! docs/configuration.md lists exactly the settings that the help texts of the programs show.

use std::collections::BTreeSet;

use anyhow::ensure;
use tests::servers::programs;

const PROGRAMS: [&str; 2] = ["gateway", "worker"];
/// In the long form of a help text a description is indented further than any flag.
const MAX_FLAG_INDENTATION: usize = 6;

#[tokio::test]
async fn the_page_lists_exactly_the_settings_of_the_help() -> anyhow::Result<()> {
    let mut in_help = BTreeSet::new();
    for program in PROGRAMS {
        let help = help_of(program, None).await?;
        in_help.extend(settings_of_help(program, &help)?);
        for command in subcommands(&help) {
            let help = help_of(program, Some(command)).await?;
            in_help.extend(settings_of_help(&format!("{program} {command}"), &help)?);
        }
    }
    let in_page = settings_of_page(include_str!("../../docs/configuration.md"))?;

    let differences = differences(&in_help, &in_page);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

async fn help_of(program: &str, command: Option<&str>) -> anyhow::Result<String> {
    let output = dev::services::command(&programs()?.join(program), &[])
        .args(command)
        .arg("--help")
        .output()
        .await?;
    ensure!(output.status.success(), "{program} {command:?} --help");
    Ok(String::from_utf8(output.stdout)?)
}

/// The commands of a program, without `help` itself.
fn subcommands(help: &str) -> Vec<&str> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect()
}

/// A setting as the help text and the page are compared by, and as a failure shows it.
fn setting(
    command: &str,
    flag: &str,
    variable: Option<&str>,
    default_value: Option<&str>,
) -> String {
    let (variable, default_value) = (variable.unwrap_or("none"), default_value.unwrap_or("none"));
    format!("{command}: {flag}, variable {variable}, default {default_value}")
}

fn secret(command: &str, variable: &str) -> String {
    format!("{command}: {variable}, or a file by {variable}_FILE")
}

/// The settings in the help text of a command.
fn settings_of_help(command: &str, help: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut settings = BTreeSet::new();
    let lines: Vec<&str> = help.lines().collect();
    let starts: Vec<usize> = (0..lines.len())
        .filter(|index| flag_of(lines[*index]).is_some())
        .collect();
    ensure!(!starts.is_empty(), "{command} --help shows no flag");
    let ends = starts.iter().copied().skip(1).chain([lines.len()]);
    let mut variables = 0;
    for (start, end) in starts.iter().copied().zip(ends) {
        let text = lines[start..end].join("\n");
        let flag = flag_of(lines[start]).unwrap_or_default();
        if ["--help", "--version"].contains(&flag) {
            continue;
        }
        // The value behind `=` is that of the environment of the test.
        let variable = between(&text, "[env: ", "]").map(|it| it.split('=').next().unwrap_or(it));
        variables += usize::from(variable.is_some());
        settings.insert(setting(
            command,
            flag,
            variable,
            between(&text, "[default: ", "]"),
        ));
    }
    ensure!(
        variables == help.matches("[env: ").count(),
        "{command} --help shows a variable that belongs to no flag, or two for one flag"
    );
    settings.extend(secrets_of_help(help).map(|variable| secret(command, variable)));
    Ok(settings)
}

/// The flag that a line of a help text describes.
fn flag_of(line: &str) -> Option<&str> {
    let text = line.trim_start();
    let is_flag = line.len() - text.len() <= MAX_FLAG_INDENTATION && text.starts_with('-');
    let mut words = text.split([' ', ',']);
    words.find(|word| is_flag && word.starts_with("--"))
}

/// The secrets stand behind the flags: two spaces, and a name in capitals.
fn secrets_of_help(help: &str) -> impl Iterator<Item = &str> {
    let is_capital = |c: char| c.is_ascii_uppercase() || c == '_';
    help.lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter_map(|line| line.split(' ').next())
        .filter(move |word| !word.is_empty() && word.chars().all(is_capital))
}

/// The settings in the page. A heading names the command that the tables below it are about. A row is
/// about a flag where its second cell is one, and about a secret where that names a `_FILE`.
fn settings_of_page(page: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut settings = BTreeSet::new();
    let mut command = "";
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            command = heading;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", variable, flag, default_value, ..] = cells[..] else {
            continue;
        };
        let (variable, Some(flag)) = (code(variable), code(flag)) else {
            continue;
        };
        let row = match variable {
            _ if flag.starts_with("--") => setting(command, flag, variable, code(default_value)),
            Some(variable) if flag == format!("{variable}_FILE") => secret(command, variable),
            _ => continue,
        };
        ensure!(
            settings.insert(row.clone()),
            "twice in docs/configuration.md: {row}"
        );
    }
    Ok(settings)
}

/// The text in backticks at the beginning of a cell.
fn code(cell: &str) -> Option<&str> {
    between(cell, "`", "`").filter(|_| cell.starts_with('`'))
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(open)?;
    let (inner, _) = rest.split_once(close)?;
    Some(inner)
}

/// The settings that only the help texts or only the page have.
fn differences(in_help: &BTreeSet<String>, in_page: &BTreeSet<String>) -> Vec<String> {
    let missing = in_help.difference(in_page);
    let unknown = in_page.difference(in_help);
    let missing = missing.map(|setting| format!("missing in docs/configuration.md: {setting}"));
    let unknown = unknown.map(|setting| format!("unknown to --help: {setting}"));
    missing.chain(unknown).collect()
}

const HELP: &str = "\
Usage: program [OPTIONS]

Options:
      --size <SIZE>
          How many bytes - at least one
          
          [env: SIZE=7]
          [default: 5]

      --dry-run  Change nothing
  -h, --help     Print help

Secrets:
  TOKEN_SECRET  At least 32 bytes,
                for tokens.
";

#[test]
fn a_setting_that_only_one_side_has_is_named() -> anyhow::Result<()> {
    let rows = [
        "## program",
        "| Variable | Flag | Default |",
        "|---|---|---|",
        "| `SIZE` | `--size` | `5` (bytes) |",
        "| - | `--dry-run` | - |",
        "| `TOKEN_SECRET` | `TOKEN_SECRET_FILE` | yes |",
    ];
    let in_help = settings_of_help("program", HELP)?;
    let against = |page: &str| anyhow::Ok(differences(&in_help, &settings_of_page(page)?));

    assert!(against(&rows.join("\n"))?.is_empty());
    for left_out in 3..rows.len() {
        let mut fewer = rows.to_vec();
        fewer.remove(left_out);
        let said = against(&fewer.join("\n"))?;
        assert!(
            matches!(&said[..], [one] if one.starts_with("missing in docs/configuration.md: program: ")),
            "{said:?}"
        );
    }
    let more = [&rows[..], &["| `GONE` | `--gone` | - |"]].concat();
    assert_eq!(
        against(&more.join("\n"))?,
        ["unknown to --help: program: --gone, variable GONE, default none"]
    );
    let other = rows.join("\n").replace("`5`", "`6`");
    assert_eq!(against(&other)?.len(), 2);
    let twice = [&rows[..], &rows[3..4]].concat();
    assert!(settings_of_page(&twice.join("\n")).is_err());
    Ok(())
}
