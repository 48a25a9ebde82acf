//! Rules for the layout of the source code: no import circles, no long files, no long functions.
//!
//! These tests read the source files of the workspace and need no servers.

mod imports;
mod lengths;
mod tokens;
mod workspace;

use anyhow::ensure;

#[test]
fn the_files_of_a_crate_have_no_import_circle() -> anyhow::Result<()> {
    let mut circles = Vec::new();
    for files in workspace::crates()?.values() {
        circles.extend(imports::circles(files));
    }
    ensure!(
        circles.is_empty(),
        "import circles:\n{}",
        circles.join("\n")
    );
    Ok(())
}

#[test]
fn no_file_is_longer_than_400_lines_and_few_are_longer_than_250() -> anyhow::Result<()> {
    let mut lengths = Vec::new();
    for file in workspace::crates()?.into_values().flatten() {
        lengths.push((file.text.lines().count(), file.path));
    }
    lengths.sort();
    let too_long: Vec<_> = lengths.iter().filter(|(lines, _)| *lines > 400).collect();
    ensure!(too_long.is_empty(), "files over 400 lines: {too_long:#?}");
    let (ninth_decile, _) = lengths[lengths.len() * 9 / 10];
    ensure!(
        ninth_decile <= 250,
        "10 % of the files have more than {ninth_decile} lines"
    );
    Ok(())
}

#[test]
fn no_function_is_longer_than_60_lines() -> anyhow::Result<()> {
    let mut too_long = Vec::new();
    for file in workspace::crates()?.into_values().flatten() {
        for function in lengths::functions(&file.text) {
            let is_table = lengths::TABLES.contains(&(&*file.path, &*function.name));
            if function.lines > 60 && !is_table {
                too_long.push(format!(
                    "{}: {}, {} lines",
                    file.path, function.name, function.lines
                ));
            }
        }
    }
    ensure!(too_long.is_empty(), "long functions: {too_long:#?}");
    Ok(())
}
