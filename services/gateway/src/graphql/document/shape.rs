//! Limits the size of a document with all fragments expanded.
//!
//! async-graphql's validation walks a fragment each time that it is spread, so thirty short fragments can
//! keep it busy for years. Here each fragment is measured once, and the first exceeded limit ends the
//! measurement.

use std::collections::HashMap;

use async_graphql::{
    Positioned, ServerError,
    parser::types::{
        Directive, ExecutableDocument, FragmentSpread, OperationDefinition, Selection, SelectionSet,
    },
};

use super::DocumentArgs;
use crate::graphql::error_text;

/// The maximum nesting of selection sets, fragments included. It is async-graphql's own limit, which
/// protects the execution from a stack overflow.
const MAX_NESTED_SETS: usize = 32;

/// Checks the limits of a parsed document that do not depend on its variables.
///
/// # Errors
/// The document exceeds a limit, or a fragment spreads itself.
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
        // The validation rejects a fragment that is not used, but walks it before.
        if !measure.fragments.contains_key(name.as_str()) {
            let size = measure.fragment(name.as_str(), 0)?;
            selections = selections.saturating_add(size.selections);
            measure.selections(selections)?;
        }
    }
    for (name, count, max) in [
        ("aliases", measure.aliases, args.max_aliases),
        ("directives", measure.directives, args.max_directives),
    ] {
        if count > max {
            return Err(error_text::too_many(name, max));
        }
    }
    Ok(())
}

/// The size of a selection set with its fragments expanded.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    /// The number of fields, inline fragments and spreads.
    selections: usize,
    /// The nesting of fields. `__typename` is not counted.
    fields: usize,
    /// The nesting of selection sets below this one.
    sets: usize,
}

/// The state of a fragment.
enum Fragment {
    /// The fragment is being measured. A spread of it is part of the fragment itself.
    InProgress,
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

    /// `above` is the number of sets around this one. The recursion is limited by [`MAX_NESTED_SETS`].
    fn set(&mut self, set: &'a SelectionSet, above: usize) -> Result<Size, ServerError> {
        let mut size = Size::default();
        if above > MAX_NESTED_SETS {
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
        if size.sets > MAX_NESTED_SETS || size.fields > self.args.max_depth {
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
            Some(Fragment::InProgress) => Err(error_text::spreads_itself(spread.pos)),
            None => self.fragment(name, above + 1),
        }
    }

    fn fragment(&mut self, name: &str, above: usize) -> Result<Size, ServerError> {
        let document = self.document;
        // The validation reports the missing fragment.
        let Some((name, fragment)) = document.fragments.get_key_value(name) else {
            return Ok(Size::default());
        };
        self.fragments.insert(name.as_str(), Fragment::InProgress);
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
        let max = self.args.max_selections;
        if count > max {
            return Err(error_text::too_many("selections", max));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
