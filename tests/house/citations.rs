//! Finds files and tests that the documentation names and that do not exist.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

use crate::{tokens::tokens, workspace::File};

/// The pages beside those in docs/. The changelog may name what is gone.
const PAGES: [&str; 4] = [
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
];
/// A text in code font that begins with one of these folders is a path.
const FOLDERS: [&str; 6] = [
    "deploy/",
    "docs/",
    "migrations/",
    "proto/",
    "services/",
    "tests/",
];
/// A name in code font with this many underscores is the name of a test, if it is not one of those below.
const MIN_UNDERSCORES: usize = 3;
/// The names of metrics and tables begin with this. docs/operating.md leaves it out in most names of metrics.
const PREFIX: &str = "connector_details_";
const POSTGRES_SETTINGS: [&str; 2] = [
    "idle_in_transaction_session_timeout",
    "log_min_duration_statement",
];

/// What the documentation names.
#[derive(Debug, Default)]
pub struct Citations {
    /// The number of tests that are named.
    pub tests: usize,
    /// The files and tests that do not exist, with the page that names them.
    pub missing: Vec<String>,
}

/// Checks all pages of the documentation. `top` is the top of the repository.
pub fn check(top: &Path, files: &[File]) -> anyhow::Result<Citations> {
    let sources: Vec<Source> = files.iter().map(Source::new).collect();
    let mut citations = Citations::default();
    for page in pages(top)? {
        let name = page.strip_prefix(top).unwrap_or(&page).display();
        let text = fs::read_to_string(&page).with_context(|| name.to_string())?;
        for code in code_spans(&text).with_context(|| name.to_string())? {
            if let Some(test) = named_test(&code)
                && !(test.file.is_empty() && is_other_name(test.name, files))
            {
                citations.tests += 1;
                if !sources.iter().any(|source| source.defines(&test)) {
                    citations.missing.push(format!("{name}: no test {code}"));
                }
            }
            if let Some(path) = named_path(&code)
                && !exists(top, files, path)
            {
                citations.missing.push(format!("{name}: no file {code}"));
            }
        }
    }
    Ok(citations)
}

fn pages(top: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut pages: Vec<PathBuf> = PAGES.iter().map(|page| top.join(page)).collect();
    for entry in fs::read_dir(top.join("docs"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    Ok(pages)
}

/// The texts in code font, without blocks of code.
fn code_spans(markdown: &str) -> anyhow::Result<Vec<String>> {
    let mut is_block = false;
    let mut prose = String::new();
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
        } else if !is_block {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    let parts: Vec<&str> = prose.split('`').collect();
    ensure!(parts.len() % 2 == 1, "a backtick without its pair");
    let spans = parts.into_iter().skip(1).step_by(2);
    Ok(spans.map(ToOwned::to_owned).collect())
}

/// A test that the documentation names.
#[derive(Debug, PartialEq, Eq)]
struct Test<'a> {
    /// The end of the path of its file, without `.rs`; empty if the documentation has only the name.
    file: String,
    name: &'a str,
}

/// Recognises `path/file.rs::name`, and for long names also `folder::file::name` and `name`.
fn named_test(code: &str) -> Option<Test<'_>> {
    let (file, name) = code.rsplit_once("::").unwrap_or(("", code));
    if name.is_empty() || !is_snake_case(name) {
        return None;
    }
    if let Some(path) = file.strip_suffix(".rs") {
        let file = path.to_owned();
        return Some(Test { file, name });
    }
    let is_test = name.matches('_').count() >= MIN_UNDERSCORES;
    let file = file.replace("::", "/");
    (is_test && is_snake_case(&file.replace('/', ""))).then_some(Test { file, name })
}

fn is_snake_case(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether a name is that of a metric, a table or a setting.
fn is_other_name(name: &str, files: &[File]) -> bool {
    let metric = format!("\"{PREFIX}{name}\"");
    name.starts_with(PREFIX)
        || POSTGRES_SETTINGS.contains(&name)
        || files.iter().any(|file| file.text.contains(&metric))
}

fn named_path(code: &str) -> Option<&str> {
    let path = code.split_once("::").map_or(code, |(path, _)| path);
    let begins_with_folder = FOLDERS.iter().any(|folder| path.starts_with(folder));
    let is_path = begins_with_folder || path.strip_suffix(".rs").is_some();
    (is_path && !path.contains(char::is_whitespace)).then_some(path)
}

/// Whether a file or a folder exists. The path of a source file may lack its first folders. Of a pattern,
/// only the folder before the `*` is checked.
fn exists(top: &Path, files: &[File], path: &str) -> bool {
    let path = path.split_once('*').map_or(path, |(start, _)| {
        start.rsplit_once('/').map_or("", |(folder, _)| folder)
    });
    let end = format!("/{path}");
    top.join(path).exists() || files.iter().any(|file| file.path.ends_with(&end))
}

/// The functions of a source file.
struct Source {
    /// The path without `.rs`.
    path: String,
    functions: BTreeSet<String>,
}

impl Source {
    fn new(file: &File) -> Self {
        let path = file.path.strip_suffix(".rs").unwrap_or(&file.path);
        Self {
            path: path.to_owned(),
            functions: functions(&file.text),
        }
    }

    fn defines(&self, test: &Test<'_>) -> bool {
        let is_in_file = test.file.is_empty()
            || self.path == test.file
            || self.path.ends_with(&format!("/{}", test.file));
        is_in_file && self.functions.contains(test.name)
    }
}

/// The names of the functions. A macro makes the tests of the console from lines such as `name plays "..."`.
fn functions(source: &str) -> BTreeSet<String> {
    let tokens = tokens(source);
    let pairs = tokens
        .windows(2)
        .map(|pair| (pair[0].text.as_str(), pair[1].text.as_str()));
    pairs
        .filter_map(|pair| match pair {
            ("fn", name) | (name, "plays") => Some(name.to_owned()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_in_a_block_names_nothing() -> anyhow::Result<()> {
        let spans = code_spans("a `b` c\n```sh\nd `e`\n```\n`f g`")?;

        assert_eq!(spans, ["b", "f g"]);
        assert!(code_spans("a ` b").is_err());
        Ok(())
    }

    #[test]
    fn only_names_of_tests_are_tests() {
        let test = |code| named_test(code).map(|test| format!("{}:{}", test.file, test.name));
        for (code, expected) in [
            ("tests/a.rs::b", Some("tests/a:b")),
            ("a::b::c_d_e_f", Some("a/b:c_d_e_f")),
            ("c_d_e_f", Some(":c_d_e_f")),
            ("c_d_e", None),
            ("A::c_d_e_f", None),
            ("MAX_A_B_C", None),
            ("adversary::", None),
        ] {
            assert_eq!(test(code).as_deref(), expected, "{code}");
        }
    }

    #[test]
    fn functions_and_tests_of_macros_are_found() {
        let source = "// fn a() {}\nasync fn b() {}\nmacro! { c plays \"fn d\"; }";
        let names: Vec<String> = functions(source).into_iter().collect();

        assert_eq!(names, ["b", "c"]);
    }
}
