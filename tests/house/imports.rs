//! Finds import circles among the files of a crate.
//!
//! An import is a `use` declaration, or a path that begins with `crate`, `self` or `super`, before
//! the unit tests of the file. A name that another file exports with `pub use` counts as an import
//! of the file that defines it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    tokens::{Token, tokens},
    workspace::File,
};

type Path = Vec<String>;

/// The imports of one file. All paths begin at the crate's root.
#[derive(Debug, Default)]
struct Imports {
    used: Vec<Path>,
    /// What the file exports with `pub use`, and where it comes from.
    exported: Vec<(Path, Path)>,
}

/// Each circle as text, such as `a.rs -> b.rs -> a.rs`.
pub fn circles(files: &[File]) -> Vec<String> {
    let graph = graph(files);
    let mut done = BTreeSet::new();
    let mut circles = Vec::new();
    for file in 0..files.len() {
        visit(file, &graph, &mut Vec::new(), &mut done, &mut circles);
    }
    let path = |file: &usize| files[*file].path.clone();
    circles
        .iter()
        .map(|circle| circle.iter().map(path).collect::<Vec<_>>().join(" -> "))
        .collect()
}

fn visit(
    file: usize,
    graph: &[BTreeSet<usize>],
    trail: &mut Vec<usize>,
    done: &mut BTreeSet<usize>,
    circles: &mut Vec<Vec<usize>>,
) {
    if let Some(start) = trail.iter().position(|it| *it == file) {
        circles.push([&trail[start..], &[file]].concat());
        return;
    }
    if done.contains(&file) {
        return;
    }
    trail.push(file);
    for imported in &graph[file] {
        visit(*imported, graph, trail, done, circles);
    }
    trail.pop();
    done.insert(file);
}

/// The files that each file imports.
fn graph(files: &[File]) -> Vec<BTreeSet<usize>> {
    // With both a lib.rs and a main.rs, the root module is lib.rs: it comes first.
    let mut modules: BTreeMap<&[String], usize> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        modules.entry(&file.module).or_insert(index);
    }
    let imports: Vec<Imports> = files
        .iter()
        .map(|file| read(file, |path| modules.contains_key(path)))
        .collect();
    let exported: BTreeMap<Path, Path> = imports
        .iter()
        .flat_map(|imports| imports.exported.iter().cloned())
        .collect();
    imports
        .iter()
        .enumerate()
        .map(|(index, imports)| {
            let mut imported = BTreeSet::new();
            for path in &imports.used {
                let origin = origin(path, &exported, &modules);
                let file = prefixes(&origin).find_map(|prefix| modules.get(prefix));
                imported.extend(file.filter(|file| **file != index));
            }
            imported
        })
        .collect()
}

/// Follows `pub use` to the file that defines the name.
fn origin(
    path: &[String],
    exported: &BTreeMap<Path, Path>,
    modules: &BTreeMap<&[String], usize>,
) -> Path {
    const MAX_EXPORTS: usize = 8;
    let mut path = path.to_vec();
    for _ in 0..MAX_EXPORTS {
        let export = prefixes(&path)
            .filter(|prefix| !modules.contains_key(prefix))
            .find_map(|prefix| Some((prefix.len(), exported.get(prefix)?)));
        let Some((length, target)) = export else {
            break;
        };
        path = [&target[..], &path[length..]].concat();
    }
    path
}

/// The path, then the path without its last name, and so on to the empty path.
fn prefixes(path: &[String]) -> impl Iterator<Item = &[String]> {
    (0..=path.len()).rev().map(|length| &path[..length])
}

fn read(file: &File, is_module: impl Fn(&[String]) -> bool) -> Imports {
    let source = file.text.split("#[cfg(test)]").next().unwrap_or_default();
    let tokens = tokens(source);
    let absolute = |path: &[String]| absolute(&file.module, path, &is_module);
    let mut imports = Imports::default();
    let mut index = 0;
    while index < tokens.len() {
        let rest = &tokens[index..];
        // `use<'a>` in a type is not a declaration.
        let is_type = rest.get(1).is_some_and(|next| next.text == "<");
        if rest[0].text == "use" && !is_type {
            let length = rest.iter().take_while(|it| it.text != ";").count();
            let is_public = index > 0 && is_visibility(&tokens[..index]);
            for path in use_paths(&mut rest[1..length].iter()) {
                let Some(path) = absolute(&path) else {
                    continue;
                };
                match path.last() {
                    Some(name) if is_public => {
                        let export = [&file.module[..], std::slice::from_ref(name)].concat();
                        imports.exported.push((export, path));
                    }
                    _ => imports.used.push(path),
                }
            }
            index += length;
        } else {
            let is_start = index == 0 || tokens[index - 1].text != "::";
            let path = if is_start { path(rest) } else { Vec::new() };
            if let [first, _, ..] = &path[..]
                && ["crate", "self", "super"].contains(&first.as_str())
            {
                imports.used.extend(absolute(&path));
            }
            index += 1;
        }
    }
    imports
}

/// Whether the tokens end with `pub` or `pub(...)`.
fn is_visibility(tokens: &[Token]) -> bool {
    let texts = tokens.iter().rev().map(|it| it.text.as_str());
    let mut before = texts.skip_while(|text| [")", "crate", "super", "self", "("].contains(text));
    before.next() == Some("pub")
}

/// The names at the beginning, as far as `::` joins them.
fn path(tokens: &[Token]) -> Path {
    let mut names = vec![tokens[0].text.clone()];
    for pair in tokens[1..].chunks(2) {
        match pair {
            [colons, name] if colons.text == "::" && is_name(&name.text) => {
                names.push(name.text.clone());
            }
            _ => break,
        }
    }
    names
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The paths of a `use` tree, without aliases and `*`.
fn use_paths<'a>(tokens: &mut impl Iterator<Item = &'a Token>) -> Vec<Path> {
    let mut paths = Vec::new();
    let mut path = Path::new();
    let mut is_group = false;
    while let Some(token) = tokens.next() {
        match token.text.as_str() {
            "{" => {
                is_group = true;
                for inner in use_paths(tokens) {
                    paths.push([&path[..], &inner].concat());
                }
            }
            "," | "}" => {
                if !is_group && !path.is_empty() {
                    paths.push(std::mem::take(&mut path));
                }
                (path, is_group) = (Path::new(), false);
                if token.text == "}" {
                    return paths;
                }
            }
            "as" => {
                tokens.next();
            }
            name if is_name(name) => path.push(name.to_owned()),
            _ => {}
        }
    }
    if !is_group && !path.is_empty() {
        paths.push(path);
    }
    paths
}

/// The path from the crate's root; `None` for a path into another crate. `self` at the end of a
/// group names the module itself.
fn absolute(
    here: &[String],
    path: &[String],
    is_module: impl Fn(&[String]) -> bool,
) -> Option<Path> {
    let mut path = path;
    if let [start @ .., last] = path
        && last == "self"
        && !start.is_empty()
    {
        path = start;
    }
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([here, rest].concat()),
        "super" => {
            let count = path.iter().take_while(|name| *name == "super").count();
            let parent = here.len().checked_sub(count)?;
            Some([&here[..parent], &path[count..]].concat())
        }
        name => {
            let child = [here, &[name.to_owned()]].concat();
            is_module(&child).then(|| [here, path].concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of a made-up crate: the module path with dots, and the text.
    fn files(texts: &[(&str, &str)]) -> Vec<File> {
        let names = |module: &str| module.split('.').map(ToOwned::to_owned).collect();
        texts
            .iter()
            .map(|(module, text)| File {
                path: (*module).to_owned(),
                module: if module.is_empty() {
                    Vec::new()
                } else {
                    names(module)
                },
                text: (*text).to_owned(),
            })
            .collect()
    }

    #[test]
    fn a_circle_is_found_in_each_kind_of_import() {
        for import in [
            "use crate::b::B;",
            "use super::{c::C, b::{self, B as Other}};",
            "pub use super::b::*;",
            "fn f() { crate::b::f(); }",
        ] {
            let files = files(&[("a", import), ("b", "use crate::a::A;"), ("c", "")]);
            // An export is an import of its user, not of the exporting file.
            let expected: &[&str] = if import.starts_with("pub") {
                &[]
            } else {
                &["a -> b -> a"]
            };
            assert_eq!(circles(&files), expected, "{import}");
        }
    }

    #[test]
    fn a_circle_of_three_files_is_found() {
        let files = files(&[
            ("a", "use crate::b::c::C;"),
            ("b.c", "use super::super::d::D;"),
            ("d", "use crate::{a::A};"),
        ]);
        assert_eq!(circles(&files), ["a -> b.c -> d -> a"]);
    }

    #[test]
    fn comments_strings_tests_and_other_crates_are_no_imports() {
        let files = files(&[
            (
                "a",
                "// use crate::b::B;\nuse b::B;\nconst TEXT: &str = \"use crate::b::B;\";\n\
                 #[cfg(test)]\nmod tests { use crate::b::B; }",
            ),
            ("b", "use crate::a::A;"),
        ]);
        assert_eq!(circles(&files), Vec::<String>::new());
    }

    #[test]
    fn an_exported_name_counts_as_the_file_that_defines_it() {
        let files = files(&[
            ("", "pub use self::a::A; mod a; mod b;"),
            ("a", "pub struct A;"),
            ("b", "use crate::A;"),
            ("c", "pub(crate) use super::a::A as Other; use crate::b::B;"),
        ]);
        assert_eq!(circles(&files), Vec::<String>::new());
        let files = self::files(&[
            ("", "pub use self::a::A;"),
            ("a", "use crate::b::B;"),
            ("b", "use crate::A;"),
        ]);
        assert_eq!(circles(&files), ["a -> b -> a"]);
    }
}
