//! Checks of inputs that async-graphql makes during the execution only. For a document with two saves that
//! is too late: the first would be stored before the second is rejected.

use async_graphql::{
    Positioned, ServerError, Variables,
    parser::types::{Field, OperationDefinition},
};
use async_graphql_value::{ConstValue, Name, Value};

use crate::graphql::error_text;

/// Checks that each `input` is an object, and that each variable in it has a value.
pub(super) fn check_inputs(
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
            return Err(error_text::field_failed(field, "is required", value.pos));
        }
        let is_object = match &value.node {
            Value::Variable(name) => variables
                .get(name)
                .is_none_or(|value| matches!(value, ConstValue::Object(_) | ConstValue::Null)),
            Value::Object(_) | Value::Null => true,
            _ => false,
        };
        if argument.node == "input" && !is_object {
            return Err(error_text::field_failed(
                "input",
                "must be an object",
                value.pos,
            ));
        }
    }
    Ok(())
}
