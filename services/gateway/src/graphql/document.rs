//! Reads a GraphQL document before the schema does, and says what it will cost.
//!
//! Each step is bounded by the step before it: [`scan`] limits the text, so that the parser's time
//! and stack are limited; [`shape`] limits the parsed document with its fragments put where they are
//! spread, so that whatever walks it afterwards ends soon; [`executed`] tells what the request's
//! variables leave of it, which is what its sender is charged for.

mod executed;
mod inputs;
mod limits;
mod scan;
mod shape;
mod trusted;
mod values;

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_graphql::{
    Positioned, ServerError, Variables,
    parser::types::{ExecutableDocument, Field, OperationDefinition, OperationType},
};
use async_graphql_value::Name;
use proto::details;

pub use self::limits::DocumentArgs;
pub(crate) use self::values::has_too_many_values;
use self::{executed::Executed, inputs::check_inputs};
use super::error_text;
use crate::limits::Cost;

/// DocumentCache that were parsed before, and whether the schema found them valid. A page sends the same
/// few again and again, and parsing one costs more than anything else that is done with it.
#[derive(Debug, Default)]
pub struct DocumentCache(Mutex<HashMap<String, CachedDocument>>);

#[derive(Debug, Clone)]
struct CachedDocument {
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

impl DocumentCache {
    const MOST: usize = 256;
    const LONGEST_BYTES: usize = 4096;

    /// A document that keeps every limit that does not depend on its variables.
    pub(crate) fn parse(&self, query: &str, args: &DocumentArgs) -> Result<Parsed, ServerError> {
        // A document with a string or a comment in it may hold a secret, and is not kept.
        let may_be_kept = query.len() <= Self::LONGEST_BYTES && !query.contains(['"', '#']);
        let new = |document| Parsed {
            document,
            is_valid: false,
        };
        if !may_be_kept {
            return parse(query, args).map(new);
        }
        if let Some(CachedDocument { document, is_valid }) = self.lock().get(query) {
            return Ok(Parsed {
                document: document.clone(),
                is_valid: *is_valid,
            });
        }
        let document = parse(query, args)?;
        let mut kept = self.lock();
        if kept.len() >= Self::MOST {
            // Whoever sends so many different ones makes them up, and gains nothing.
            kept.clear();
        }
        let known = CachedDocument {
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

    fn lock(&self) -> MutexGuard<'_, HashMap<String, CachedDocument>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(query: &str, args: &DocumentArgs) -> Result<ExecutableDocument, ServerError> {
    scan::scan(query, args.max_tokens)?;
    let document = async_graphql::parser::parse_query(query)
        .map_err(|error| error_text::parse_failed(&error))?;
    shape::check(&document, args)?;
    Ok(document)
}

/// What one operation of a document costs with the variables of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Analysis {
    /// What the operation is.
    pub operation: OperationType,
    /// What its sender is charged: each save and each read that will be executed.
    pub charge: Cost,
    /// The fields that its answer may have, those of a page `first` times.
    pub complexity: usize,
    /// The bytes of records that its answer may have, without those of pages.
    pub answer_bytes: usize,
    /// Whether every variable is certainly of its type, so that a document that was found valid
    /// before need not be validated again.
    pub(crate) fits: bool,
}

/// Analyses a document as the gateway does before it executes one: without a server, without a
/// schema, within bounded time, memory and stack, whatever it is given.
///
/// `None`: the document has no such operation, or several and none is named. The schema refuses that.
///
/// # Errors
/// The document is not executed: it can't be parsed, it is larger than a limit of `args`, or its
/// inputs lack a value.
pub fn analyse(
    query: &str,
    operation_name: Option<&str>,
    variables: &Variables,
    args: &DocumentArgs,
) -> Result<Option<Analysis>, ServerError> {
    analyse_parsed(&parse(query, args)?, operation_name, variables, args)
}

/// The same, of a document that was parsed before.
pub(crate) fn analyse_parsed(
    document: &ExecutableDocument,
    operation_name: Option<&str>,
    variables: &Variables,
    args: &DocumentArgs,
) -> Result<Option<Analysis>, ServerError> {
    let Some(operation) = operation(document, operation_name) else {
        return Ok(None);
    };
    let executed = Executed {
        document,
        operation,
        variables,
    };
    let fields = executed.root_fields();
    let charge = charge(operation.ty, &fields);
    if let Cost::Saves(saves) = charge
        && saves > args.max_saves
    {
        return Err(error_text::too_many("saves", args.max_saves as usize));
    }
    let weight = executed.weight(&fields);
    if weight.fields > args.max_complexity {
        return Err(error_text::too_complex());
    }
    let answer_bytes = weight.details.saturating_mul(details::MAX_BYTES);
    if answer_bytes > args.max_answer_bytes {
        return Err(error_text::too_large_an_answer());
    }
    if values::are_too_large(document, operation, variables, &fields) {
        return Err(error_text::too_large_variables());
    }
    check_inputs(&fields, operation, variables)?;
    Ok(Some(Analysis {
        operation: operation.ty,
        charge,
        complexity: weight.fields,
        answer_bytes,
        fits: trusted::fits(operation, &fields, variables),
    }))
}

/// The operation that is to be executed. None: the schema will say what is wrong.
fn operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a OperationDefinition> {
    let mut named = document
        .operations
        .iter()
        .filter(|(known, _)| name.is_none() || known.map(Name::as_str) == name);
    let (_, operation) = named.next()?;
    named.next().is_none().then_some(&operation.node)
}

/// What an operation with these top-level fields costs its bearer.
fn charge(operation: OperationType, fields: &[&Positioned<Field>]) -> Cost {
    let ours = |field: &&&Positioned<Field>| !field.node.name.node.starts_with("__");
    let count = u32::try_from(fields.iter().filter(ours).count()).unwrap_or(u32::MAX);
    match operation {
        OperationType::Mutation if count > 0 => Cost::Saves(count),
        // One that asks for nothing of ours was read and checked all the same.
        _ => Cost::Reads(count.max(1)),
    }
}

#[cfg(test)]
mod tests;
