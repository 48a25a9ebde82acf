//! How large a document is with its fragments put where they are spread, before the schema sees it.
//!
//! async-graphql's checks walk every operation with all of its fragments, each time that one is
//! spread, so thirty short fragments can make them walk for years. Here each fragment is measured
//! once, and the measuring ends as soon as a limit is reached.

use std::collections::HashMap;

use async_graphql::{
    Positioned, ServerError,
    parser::types::{
        Directive, ExecutableDocument, FragmentSpread, OperationDefinition, Selection, SelectionSet,
    },
};

use super::DocumentArgs;
use crate::graphql::error_text;

/// Selection sets may be nested this deep, those of fragments included: async-graphql's own limit,
/// which keeps the execution from overflowing the stack.
const NESTED_SETS: usize = 32;

/// Checks a parsed document against the limits that hold whatever its variables are.
///
/// # Errors
/// It is larger than a limit, or a fragment spreads itself.
pub(super) fn check(document: &ExecutableDocument, args: &DocumentArgs) -> Result<(), ServerError> {
    let mut measure = Measure {
        document,
        args,
        fragments: HashMap::new(),
        aliases: 0,
        directives: 0,
    };
    let mut selections = 0_usize;
    for (_, operation) in document.operations.iter() {
        let size = measure.operation(&operation.node)?;
        selections = selections.saturating_add(size.selections);
        measure.selections(selections)?;
    }
    for name in document.fragments.keys() {
        // Nothing spreads this one; the validation walks it all the same, and then refuses it.
        if !measure.fragments.contains_key(name.as_str()) {
            let size = measure.fragment(name.as_str(), 0)?;
            selections = selections.saturating_add(size.selections);
            measure.selections(selections)?;
        }
    }
    for (what, is, most) in [
        ("aliases", measure.aliases, args.max_aliases),
        ("directives", measure.directives, args.max_directives),
    ] {
        if is > most {
            return Err(error_text::too_many(what, most));
        }
    }
    Ok(())
}

/// The size of a selection set with its fragments.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    /// Fields, inline fragments and spreads.
    selections: usize,
    /// How deep fields are nested. `__typename` is not counted.
    fields: usize,
    /// How deep selection sets are nested below this one.
    sets: usize,
}

/// A fragment that was reached.
enum Fragment {
    /// And is being measured: whoever reaches it now is part of it.
    Begun,
    Measured(Size),
}

struct Measure<'a> {
    document: &'a ExecutableDocument,
    args: &'a DocumentArgs,
    fragments: HashMap<&'a str, Fragment>,
    aliases: usize,
    directives: usize,
}

impl<'a> Measure<'a> {
    fn operation(&mut self, operation: &'a OperationDefinition) -> Result<Size, ServerError> {
        self.directives(&operation.directives);
        for variable in &operation.variable_definitions {
            self.directives(&variable.node.directives);
        }
        self.set(&operation.selection_set.node, 0)
    }

    /// Recursive, and never deeper than [`NESTED_SETS`]: `above` counts the sets that this one is in.
    fn set(&mut self, set: &'a SelectionSet, above: usize) -> Result<Size, ServerError> {
        let mut size = Size::default();
        if above > NESTED_SETS {
            return Err(error_text::nested_too_deep());
        }
        for item in &set.items {
            let (inner, is_set, field) = match &item.node {
                Selection::Field(field) => {
                    self.aliases += usize::from(field.node.alias.is_some());
                    self.directives(&field.node.directives);
                    let inner = &field.node.selection_set.node;
                    let is_set = !inner.items.is_empty();
                    let counts = usize::from(field.node.name.node != "__typename");
                    (
                        self.set(inner, above + usize::from(is_set))?,
                        is_set,
                        counts,
                    )
                }
                Selection::InlineFragment(inline) => {
                    self.directives(&inline.node.directives);
                    let inner = &inline.node.selection_set.node;
                    (self.set(inner, above + 1)?, true, 0)
                }
                Selection::FragmentSpread(spread) => (self.spread(spread, above)?, true, 0),
            };
            size.selections = size
                .selections
                .saturating_add(1)
                .saturating_add(inner.selections);
            size.fields = size.fields.max(field + inner.fields);
            size.sets = size.sets.max(usize::from(is_set) + inner.sets);
            self.selections(size.selections)?;
        }
        if size.sets > NESTED_SETS || size.fields > self.args.max_depth {
            return Err(error_text::nested_too_deep());
        }
        Ok(size)
    }

    fn spread(
        &mut self,
        spread: &'a Positioned<FragmentSpread>,
        above: usize,
    ) -> Result<Size, ServerError> {
        self.directives(&spread.node.directives);
        let name = spread.node.fragment_name.node.as_str();
        match self.fragments.get(name) {
            Some(Fragment::Measured(size)) => Ok(*size),
            Some(Fragment::Begun) => Err(error_text::spreads_itself(spread.pos)),
            None => self.fragment(name, above + 1),
        }
    }

    fn fragment(&mut self, name: &str, above: usize) -> Result<Size, ServerError> {
        let document = self.document;
        // The validation says that it is not there.
        let Some((name, fragment)) = document.fragments.get_key_value(name) else {
            return Ok(Size::default());
        };
        self.fragments.insert(name.as_str(), Fragment::Begun);
        self.directives(&fragment.node.directives);
        let size = self.set(&fragment.node.selection_set.node, above)?;
        let measured = Fragment::Measured(size);
        self.fragments.insert(name.as_str(), measured);
        Ok(size)
    }

    fn directives(&mut self, directives: &[Positioned<Directive>]) {
        self.directives += directives.len();
    }

    fn selections(&self, count: usize) -> Result<(), ServerError> {
        let most = self.args.max_selections;
        if count > most {
            return Err(error_text::too_many("selections", most));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use async_graphql::parser::parse_query;

    use super::*;

    fn refusal(query: &str) -> anyhow::Result<Option<String>> {
        let document = parse_query(query)?;
        let refused = check(&document, &DocumentArgs::default()).err();
        Ok(refused.map(|error| error.message))
    }

    /// Fragments that spread the next one so many times.
    fn bomb(levels: usize, spreads: usize) -> String {
        let level = |n: usize| {
            let spread = format!("...F{} ", n + 1).repeat(spreads);
            format!("fragment F{n} on Query {{ {spread} }} ")
        };
        let levels_text: String = (0..levels).map(level).collect();
        format!("{{ ...F0 }} {levels_text} fragment F{levels} on Query {{ a }}")
    }

    #[test]
    fn fragments_that_spread_fragments_are_refused_at_once() -> anyhow::Result<()> {
        let started = Instant::now();
        for query in [
            bomb(30, 3),
            bomb(9, 2),
            // Not spread by the operation.
            bomb(30, 3).replace("{ ...F0 }", "{ a }"),
            format!(
                "{{ {} }} fragment F on Query {{ {} }}",
                "...F ".repeat(40),
                "a ".repeat(30)
            ),
        ] {
            let refusal = refusal(&query)?.unwrap_or_default();
            assert!(refusal.contains("more than 1000 selections"), "{refusal}");
        }
        assert!(started.elapsed() < Duration::from_millis(500));
        assert_eq!(refusal(&bomb(6, 2))?, None);
        Ok(())
    }

    #[test]
    fn a_fragment_that_spreads_itself_is_refused() -> anyhow::Result<()> {
        for query in [
            "{ ...A } fragment A on Query { ...A }",
            "{ ...A } fragment A on Query { b { ...B } } fragment B on Query { ... { ...A } }",
            "{ a } fragment A on Query { ...B } fragment B on Query { ...A }",
        ] {
            let refusal = refusal(query)?.unwrap_or_default();
            assert!(refusal.contains("spreads itself"), "{query}: {refusal}");
        }
        assert_eq!(
            refusal("{ ...A ...A ...Nowhere } fragment A on Query { a }")?,
            None
        );
        Ok(())
    }

    #[test]
    fn nesting_counts_through_fragments() -> anyhow::Result<()> {
        let chain = |links: usize| {
            let link = |n: usize| format!("fragment F{n} on Query {{ ...F{} }} ", n + 1);
            let links_text: String = (0..links).map(link).collect();
            format!("{{ ...F0 }} {links_text} fragment F{links} on Query {{ a }}")
        };
        assert_eq!(refusal(&chain(NESTED_SETS - 1))?, None);
        for query in [
            chain(NESTED_SETS),
            chain(100),
            format!("{}a{}", "{ ... ".repeat(34), "}".repeat(34)).replace("... a", "a"),
            format!("{}a{}", "{ a ".repeat(16), "}".repeat(16)),
        ] {
            let refusal = refusal(&query)?.unwrap_or_default();
            assert!(refusal.contains("nested too deep"), "{query}: {refusal}");
        }
        Ok(())
    }
}
