//! Rules for the layout of the source code: no import circles, no long files, no long functions.
//!
//! These tests read the source files of the workspace and need no servers.

mod imports;
mod lengths;
mod tokens;
mod workspace;

use anyhow::ensure;

const MAX_FILE_LINES: usize = 400;
/// At most a tenth of the files may be longer. The aim is 250.
const MAX_LINES_OF_MOST_FILES: usize = 300;
const MAX_FUNCTION_LINES: usize = 60;
/// A test function may list many cases. The aim is 60.
const MAX_TEST_LINES: usize = 85;

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
fn no_file_is_too_long() -> anyhow::Result<()> {
    let mut lengths = Vec::new();
    for file in workspace::crates()?.into_values().flatten() {
        lengths.push((file.text.lines().count(), file.path));
    }
    lengths.sort();
    let too_long: Vec<_> = lengths
        .iter()
        .filter(|(lines, _)| *lines > MAX_FILE_LINES)
        .collect();
    ensure!(
        too_long.is_empty(),
        "files over {MAX_FILE_LINES} lines: {too_long:#?}"
    );
    let (ninth_decile, _) = lengths[lengths.len() * 9 / 10];
    ensure!(
        ninth_decile <= MAX_LINES_OF_MOST_FILES,
        "10 % of the files have more than {ninth_decile} lines"
    );
    Ok(())
}

#[test]
fn no_function_is_too_long() -> anyhow::Result<()> {
    let mut too_long = Vec::new();
    for file in workspace::crates()?.into_values().flatten() {
        for function in lengths::functions(&file.text) {
            let is_table = lengths::TABLES.contains(&(&*file.path, &*function.name));
            let limit = if file.path.contains("tests/") {
                MAX_TEST_LINES
            } else {
                MAX_FUNCTION_LINES
            };
            if function.lines > limit && !is_table {
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

/// docs/guarantees.md names the test of each guarantee as `path::test`.
#[test]
fn the_tests_of_the_guarantees_exist() -> anyhow::Result<()> {
    let top = dev::paths::repository();
    let guarantees = std::fs::read_to_string(top.join("docs/guarantees.md"))?;
    let mut found = 0;
    for code in guarantees.split('`') {
        let Some((path, test)) = code.split_once(".rs::") else {
            continue;
        };
        let file = std::fs::read_to_string(top.join(path).with_extension("rs"))?;
        let mut words = file.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        ensure!(
            words.any(|word| word == test),
            "{path}.rs has no test {test}"
        );
        found += 1;
    }
    ensure!(found > 50, "only {found} tests are named");
    Ok(())
}
