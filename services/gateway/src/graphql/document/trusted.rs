//! Checks the variables of a document that was found valid before, so that its validation can be skipped.
//!
//! async-graphql's validation takes a tenth of the gateway's time for a save. Its result depends on the
//! document, and on the types of the variables. If the variables have the fields and types of the
//! inputs, the earlier result still holds.

use async_graphql::{
    Positioned, Variables,
    parser::types::{Field, OperationDefinition},
};
use async_graphql_value::{ConstValue, Name, Value, indexmap::IndexMap};

type Members = IndexMap<Name, ConstValue>;

const SAVE: &str = "saveIPackInstanceOauthConnectorDetails";
const DELETE: &str = "deleteIPackInstanceOauthConnectorDetails";
const FIND: &str = "IPackInstanceOAuthConnectorDetails";
/// The five ids, which every input has.
const KEY: [&str; 5] = [
    "integrationPackInstanceId",
    "processId",
    "envId",
    "connectionId",
    "catalogGuid",
];
/// The other texts in the input of a save.
const SAVED: [&str; 3] = ["oauthConnectorDetails", "clientId", "clientSecret"];
const FLAG: &str = "isTokenGenerated";

/// Whether an operation has one field, and each variable is a complete argument of that field and certainly
/// has the right type.
pub(crate) fn fits(
    operation: &OperationDefinition,
    fields: &[&Positioned<Field>],
    variables: &Variables,
) -> bool {
    let [field] = fields else { return false };
    let is_input = match field.node.name.node.as_str() {
        SAVE => is_save,
        FIND | DELETE => is_key,
        _ => return false,
    };
    let fits = |name: &Name| {
        let arguments = &mut field.node.arguments.iter();
        let used = arguments.find(|(_, value)| value.node == Value::Variable(name.clone()));
        let argument = used.map(|(argument, _)| argument.node.as_str());
        match (argument, variables.get(name)) {
            (Some("input"), Some(ConstValue::Object(members))) => is_input(members),
            (Some("expectedRevision"), Some(ConstValue::Number(number))) => number.is_i64(),
            (Some("expectedRevision"), None | Some(ConstValue::Null)) => true,
            _ => false,
        }
    };
    let mut definitions = operation.variable_definitions.iter();
    definitions.all(|definition| fits(&definition.node.name.node))
}

fn is_key(members: &Members) -> bool {
    members.len() == KEY.len() && KEY.iter().all(|name| is_text(members, name))
}

fn is_save(members: &Members) -> bool {
    members.len() == KEY.len() + SAVED.len() + 1
        && KEY.iter().chain(&SAVED).all(|name| is_text(members, name))
        && matches!(members.get(FLAG), Some(ConstValue::Boolean(_)))
}

fn is_text(members: &Members, name: &str) -> bool {
    matches!(members.get(name), Some(ConstValue::String(_)))
}
