//! Analyses a GraphQL document and its cost before the schema validates it.
//!
//! Each step limits the work of the next one. [`scan`] limits the text, and so the time and the stack of
//! the parser. [`shape`] limits the size of the document with all fragments expanded, and so the time of
//! every later walk. [`executed`] computes which fields are executed with the request's variables, which
//! is the cost of the request.

mod executed;
mod inputs;
mod limits;
mod scan;
mod shape;
mod values;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

/// Caches parsed documents. Clients send the same few documents again and again, and parsing a document
/// costs more than all further steps of its analysis.
#[derive(Debug, Default)]
pub struct DocumentCache(Mutex<HashMap<String, Arc<ExecutableDocument>>>);

impl DocumentCache {
    const MAX_DOCUMENTS: usize = 256;
    const MAX_BYTES: usize = 4096;

    /// Parses a document and checks all limits that do not depend on its variables.
    pub(crate) fn parse(
        &self,
        query: &str,
        args: &DocumentArgs,
    ) -> Result<Arc<ExecutableDocument>, ServerError> {
        // A document with a string or a comment may contain a secret, so it must not be stored.
        let is_cacheable = query.len() <= Self::MAX_BYTES && !query.contains(['"', '#']);
        if !is_cacheable {
            return parse(query, args).map(Arc::new);
        }
        if let Some(document) = self.lock().get(query) {
            return Ok(document.clone());
        }
        let document = Arc::new(parse(query, args)?);
        let mut cache = self.lock();
        if cache.len() >= Self::MAX_DOCUMENTS {
            // Real clients have fewer documents, so the cached ones are probably generated.
            cache.clear();
        }
        cache.insert(query.to_owned(), document.clone());
        Ok(document)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<ExecutableDocument>>> {
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

/// The cost of one operation with the variables of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Analysis {
    /// The type of the operation.
    pub operation: OperationType,
    /// The number of saves or reads that will be executed.
    pub charge: Cost,
    /// The maximum number of fields in the answer. The fields of a page count `first` times.
    pub complexity: usize,
    /// The maximum size of the records in the answer, without pages, in bytes.
    pub answer_bytes: usize,
}

/// Analyses a document as the gateway does before every execution, without a server and a schema. Time,
/// memory and stack are bounded for any input.
///
/// Returns `None` if the document has no such operation, or several and `operation_name` is missing. The
/// schema rejects such requests.
///
/// # Errors
/// The document can't be parsed, exceeds a limit of `args`, or has an input without a value.
pub fn analyse(
    query: &str,
    operation_name: Option<&str>,
    variables: &Variables,
    args: &DocumentArgs,
) -> Result<Option<Analysis>, ServerError> {
    analyse_parsed(&parse(query, args)?, operation_name, variables, args)
}

/// As [`analyse`], for a parsed document.
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
        return Err(error_text::too_large_answer());
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
    }))
}

/// The operation to execute. `None` if the schema will reject the request.
fn operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a OperationDefinition> {
    let mut matching = document
        .operations
        .iter()
        .filter(|(of_operation, _)| name.is_none() || of_operation.map(Name::as_str) == name);
    let (_, operation) = matching.next()?;
    matching.next().is_none().then_some(&operation.node)
}

/// The cost of an operation with these top-level fields.
fn charge(operation: OperationType, fields: &[&Positioned<Field>]) -> Cost {
    let has_cost = |field: &&&Positioned<Field>| !field.node.name.node.starts_with("__");
    let count = u32::try_from(fields.iter().filter(has_cost).count()).unwrap_or(u32::MAX);
    match operation {
        OperationType::Mutation if count > 0 => Cost::Saves(count),
        // An operation without such a field costs one read, because it was parsed and checked.
        _ => Cost::Reads(count.max(1)),
    }
}

#[cfg(test)]
mod tests;
