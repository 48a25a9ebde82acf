//! Rules for the layout of the source code: no import circles, no long files, no long functions. And the files
//! and tests that the documentation names exist.
//!
//! These tests read the source files and the documentation, and need no servers.

mod citations;
mod imports;
mod lengths;
mod tokens;
mod workspace;

use anyhow::ensure;

const MAX_FILE_LINES: usize = 400;
/// At most a tenth of the files may be longer.
const MAX_LINES_OF_MOST_FILES: usize = 250;
const MAX_FUNCTION_LINES: usize = 60;
/// The documentation names about 300 tests. If the check finds far fewer, it reads the pages wrongly.
const MIN_CITED_TESTS: usize = 200;

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
            if function.lines > MAX_FUNCTION_LINES {
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

/// The documentation names a test for each guarantee and for each threat, and many files.
#[test]
fn the_files_and_tests_that_the_docs_name_exist() -> anyhow::Result<()> {
    let files: Vec<_> = workspace::crates()?.into_values().flatten().collect();
    let citations = citations::check(&dev::paths::repository(), &files)?;
    ensure!(
        citations.missing.is_empty(),
        "the docs name what does not exist:\n{}",
        citations.missing.join("\n")
    );
    let found = citations.tests;
    ensure!(found > MIN_CITED_TESTS, "only {found} tests are named");
    Ok(())
}
