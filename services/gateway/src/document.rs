//! Reads a GraphQL document before the schema does: whether it can be parsed, which operation is
//! meant, and whether its inputs have their variables.
//!
//! async-graphql looks at the last of these while it executes, which is too late for a document
//! with two saves: the first would be stored before the second is found wanting.

mod known;
mod limits;

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_graphql::{
    Positioned, ServerError, Variables,
    parser::types::{
        ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
    },
};
use async_graphql_value::{ConstValue, Name, Value};

pub(crate) use self::known::fits;
pub use self::limits::DocumentArgs;
use crate::{limits::Charge, validation};

/// Selections, lists and objects may be nested this deep in a document's text. Deeper ones are
/// refused before the parser, which is recursive, sees them.
const NESTING: usize = 128;

/// Documents that were parsed before, and whether the schema found them valid. A page sends the same
/// few again and again, and parsing one costs more than anything else that is done with it.
#[derive(Debug, Default)]
pub struct Documents(Mutex<HashMap<String, Known>>);

#[derive(Debug, Clone)]
struct Known {
    document: ExecutableDocument,
    is_valid: bool,
}

/// A document, ready to be executed.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub document: ExecutableDocument,
    /// Whether it was found valid before, with other variables.
    pub is_valid: bool,
}

impl Documents {
    const MOST: usize = 256;
    const LONGEST_BYTES: usize = 4096;

    pub(crate) fn parse(&self, query: &str) -> Result<Parsed, ServerError> {
        // A document with a string or a comment in it may hold a secret, and is not kept.
        let may_be_kept = query.len() <= Self::LONGEST_BYTES && !query.contains(['"', '#']);
        let new = |document| Parsed {
            document,
            is_valid: false,
        };
        if !may_be_kept {
            return parse(query).map(new);
        }
        if let Some(Known { document, is_valid }) = self.lock().get(query) {
            return Ok(Parsed {
                document: document.clone(),
                is_valid: *is_valid,
            });
        }
        let document = parse(query)?;
        let mut kept = self.lock();
        if kept.len() >= Self::MOST {
            // Whoever sends so many different ones makes them up, and gains nothing.
            kept.clear();
        }
        let known = Known {
            document: document.clone(),
            is_valid: false,
        };
        kept.insert(query.to_owned(), known);
        Ok(new(document))
    }

    /// The schema found a document valid.
    pub(crate) fn is_valid(&self, query: &str) {
        if let Some(known) = self.lock().get_mut(query) {
            known.is_valid = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(query: &str) -> Result<ExecutableDocument, ServerError> {
    if nesting(query) > NESTING {
        return Err(validation::too_deep());
    }
    async_graphql::parser::parse_query(query).map_err(|error| validation::parse_failed(&error))
}

fn nesting(query: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in query.bytes() {
        match byte {
            b'{' | b'[' | b'(' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The operation that is to be executed. None: the schema will say what is wrong.
pub(crate) fn operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a OperationDefinition> {
    document
        .operations
        .iter()
        .find(|(known, _)| name.is_none() || known.map(Name::as_str) == name)
        .map(|(_, operation)| &operation.node)
}

/// The top-level fields of an operation, those of its fragments included.
pub(crate) fn root_fields<'a>(
    document: &'a ExecutableDocument,
    operation: &'a OperationDefinition,
) -> Vec<&'a Positioned<Field>> {
    let mut fields = Vec::new();
    let mut sets: Vec<&SelectionSet> = vec![&operation.selection_set.node];
    // A fragment that spreads itself is refused by the validation; here it only has to end.
    let mut spreads_left = document.fragments.len() * 2;
    while let Some(set) = sets.pop() {
        for item in &set.items {
            match &item.node {
                Selection::Field(field) => fields.push(field),
                Selection::InlineFragment(inline) => sets.push(&inline.node.selection_set.node),
                Selection::FragmentSpread(spread) => {
                    let fragment = document.fragments.get(&spread.node.fragment_name.node);
                    if let (Some(fragment), Some(left)) = (fragment, spreads_left.checked_sub(1)) {
                        spreads_left = left;
                        sets.push(&fragment.node.selection_set.node);
                    }
                }
            }
        }
    }
    fields
}

/// What an operation with these top-level fields costs its bearer.
pub(crate) fn charge(operation: OperationType, fields: &[&Positioned<Field>]) -> Charge {
    let ours = |field: &&&Positioned<Field>| !field.node.name.node.starts_with("__");
    let count = u32::try_from(fields.iter().filter(ours).count()).unwrap_or(u32::MAX);
    match operation {
        OperationType::Mutation if count > 0 => Charge::Saves(count),
        // One that asks for nothing of ours was read and checked all the same.
        _ => Charge::Reads(count.max(1)),
    }
}

/// Checks what the validation leaves to the execution: that an `input` is an object, and that
/// each variable in it has a value.
pub(crate) fn check_inputs(
    fields: &[&Positioned<Field>],
    operation: &OperationDefinition,
    variables: &Variables,
) -> Result<(), ServerError> {
    let has_value = |name: &Name| {
        variables.contains_key(name)
            || operation.variable_definitions.iter().any(|definition| {
                definition.node.name.node == *name
                    && (definition.node.default_value.is_some()
                        || definition.node.var_type.node.nullable)
            })
    };
    for (argument, value) in fields.iter().flat_map(|field| &field.node.arguments) {
        let missing = match &value.node {
            Value::Variable(name) if !has_value(name) => Some(argument.node.as_str()),
            Value::Object(members) => members
                .iter()
                .find(|(_, value)| matches!(value, Value::Variable(name) if !has_value(name)))
                .map(|(field, _)| field.as_str()),
            _ => None,
        };
        if let Some(field) = missing {
            return Err(validation::field_failed(field, "is required", value.pos));
        }
        let is_object = match &value.node {
            Value::Variable(name) => variables
                .get(name)
                .is_none_or(|value| matches!(value, ConstValue::Object(_) | ConstValue::Null)),
            Value::Object(_) | Value::Null => true,
            _ => false,
        };
        if argument.node == "input" && !is_object {
            return Err(validation::field_failed(
                "input",
                "must be an object",
                value.pos,
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_hold_a_secret_is_not_kept() -> anyhow::Result<()> {
        let documents = Documents::default();
        for query in [
            "{ __typename }",
            r#"{ a(secret: "hunter2") }"#,
            r#"{ a(secret: """hunter2""") }"#,
            "{ a # hunter2\n}",
        ] {
            for _ in 0..2 {
                let parsed = documents.parse(query);
                anyhow::ensure!(parsed.is_ok(), "{query}");
            }
        }

        let kept: Vec<String> = documents.lock().keys().cloned().collect();
        assert_eq!(kept, ["{ __typename }"]);
        Ok(())
    }

    #[test]
    fn no_more_is_kept_than_was_promised() -> anyhow::Result<()> {
        let documents = Documents::default();
        for number in 0..1000 {
            let parsed = documents.parse(&format!("{{ a{number} }}"));
            anyhow::ensure!(parsed.is_ok());
        }
        let long = format!("{{ {} }}", "a ".repeat(Documents::LONGEST_BYTES));
        anyhow::ensure!(documents.parse(&long).is_ok());

        let kept = documents.lock();
        assert!(kept.len() <= Documents::MOST);
        assert!(!kept.contains_key(&long));
        Ok(())
    }
}
