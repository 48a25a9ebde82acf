//! Limits the memory that the values of a request use.
//!
//! A value of one byte in the body, such as the `1` in a list, uses 72 bytes after parsing. async-graphql
//! copies a variable for each use in the document. Both limits are checked before the memory is
//! allocated.

use async_graphql::{
    Positioned, Variables,
    parser::types::{
        Directive, ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet,
    },
};
use async_graphql_value::{ConstValue, Name, Value};

use super::executed::value_of;

/// The maximum number of values in a JSON text. The largest request of this API needs fewer than 100.
const MAX_VALUES: usize = 10_000;
/// The memory of a value without its text.
const VALUE_BYTES: usize = 72;
/// The maximum memory of all copies of the variables.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Whether a JSON text has more than [`MAX_VALUES`] values. The text is not parsed, so the result has no
/// meaning for invalid JSON.
pub(crate) fn has_too_many_values(json: &[u8]) -> bool {
    // Each value except the first needs a separator of one byte before it.
    if json.len() < MAX_VALUES {
        return false;
    }
    let (mut in_string, mut escaped, mut values) = (false, false, 1_usize);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b',' | b':' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
    }
    values > MAX_VALUES
}

/// Whether the copies of the variables use more than [`MAX_BYTES`]. The validation makes one copy for each
/// use in the document, and the execution makes one for each use in the executed fields.
pub(super) fn are_too_large(
    document: &ExecutableDocument,
    operation: &OperationDefinition,
    variables: &Variables,
    executed: &[&Positioned<Field>],
) -> bool {
    if variables.is_empty() && operation.variable_definitions.is_empty() {
        return false;
    }
    let mut count = Count {
        operation,
        variables,
        left: MAX_BYTES,
    };
    count.executed(executed).is_none() || count.written(document).is_none()
}

/// Counts down; `None` says that nothing is left. So the count itself takes no longer than that.
struct Count<'a> {
    operation: &'a OperationDefinition,
    variables: &'a Variables,
    left: usize,
}

impl Count<'_> {
    fn executed(&mut self, fields: &[&Positioned<Field>]) -> Option<()> {
        let mut arguments = fields.iter().flat_map(|field| &field.node.arguments);
        arguments.try_for_each(|(_, value)| self.value(&value.node))
    }

    fn written(&mut self, document: &ExecutableDocument) -> Option<()> {
        for (_, operation) in document.operations.iter() {
            self.directives(&operation.node.directives)?;
            self.set(&operation.node.selection_set.node)?;
        }
        for fragment in document.fragments.values() {
            self.directives(&fragment.node.directives)?;
            self.set(&fragment.node.selection_set.node)?;
        }
        Some(())
    }

    fn set(&mut self, set: &SelectionSet) -> Option<()> {
        for item in &set.items {
            self.directives(item.node.directives())?;
            match &item.node {
                Selection::Field(field) => {
                    for (_, value) in &field.node.arguments {
                        self.value(&value.node)?;
                    }
                    self.set(&field.node.selection_set.node)?;
                }
                Selection::InlineFragment(inline) => self.set(&inline.node.selection_set.node)?,
                Selection::FragmentSpread(_) => {}
            }
        }
        Some(())
    }

    fn directives(&mut self, directives: &[Positioned<Directive>]) -> Option<()> {
        let mut arguments = directives.iter().flat_map(|it| &it.node.arguments);
        arguments.try_for_each(|(_, value)| self.value(&value.node))
    }

    fn value(&mut self, value: &Value) -> Option<()> {
        match value {
            Value::Variable(name) => self.variable(name),
            Value::List(values) => values.iter().try_for_each(|value| self.value(value)),
            Value::Object(members) => members.values().try_for_each(|value| self.value(value)),
            _ => Some(()),
        }
    }

    fn variable(&mut self, name: &Name) -> Option<()> {
        match value_of(self.operation, self.variables, name) {
            Some(value) => self.copy(value),
            None => Some(()),
        }
    }

    fn copy(&mut self, value: &ConstValue) -> Option<()> {
        let text = match value {
            ConstValue::String(text) => text.len(),
            ConstValue::Enum(name) => name.len(),
            ConstValue::Object(members) => members.keys().map(|name| name.len()).sum(),
            _ => 0,
        };
        self.left = self.left.checked_sub(VALUE_BYTES + text)?;
        match value {
            ConstValue::List(values) => values.iter().try_for_each(|value| self.copy(value)),
            ConstValue::Object(members) => members.values().try_for_each(|it| self.copy(it)),
            _ => Some(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        let list = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        assert!(!has_too_many_values(list(MAX_VALUES - 1).as_bytes()));
        assert!(has_too_many_values(list(MAX_VALUES + 1).as_bytes()));
        assert!(has_too_many_values("[".repeat(MAX_VALUES).as_bytes()));
        let text = json!({ "a": "\\\"[,{:".repeat(MAX_VALUES) }).to_string();
        assert!(!has_too_many_values(text.as_bytes()));
    }

    #[test]
    fn a_variable_counts_for_each_use() -> anyhow::Result<()> {
        let variables = Variables::from_json(json!({ "v": "x".repeat(200_000), "w": [[1]] }));
        let are_too_large = |query: &str| -> anyhow::Result<bool> {
            let document = parse_query(query)?;
            let operation = crate::graphql::document::operation(&document, None);
            let operation = operation.ok_or_else(|| anyhow::anyhow!("no operation"))?;
            let executed = crate::graphql::document::Executed {
                document: &document,
                operation,
                variables: &variables,
            };
            let fields = executed.root_fields();
            Ok(are_too_large(&document, operation, &variables, &fields))
        };
        // Ten copies for the validation, and ten for the execution.
        let named =
            |count: usize| format!("query($v: X, $w: X) {{ {} }}", "a(b: $v) ".repeat(count));
        assert!(!are_too_large(&named(10))?);
        assert!(are_too_large(&named(11))?);
        let list =
            |count: usize| format!("query($v: X) {{ a(b: {{c: [{}]}}) }}", "$v ".repeat(count));
        assert!(!are_too_large(&list(10))?);
        assert!(are_too_large(&list(11))?);
        let default = format!(
            "query($n: X = \"{}\") {{ {} }}",
            "x".repeat(200_000),
            "a(b: $n) ".repeat(11)
        );
        assert!(are_too_large(&default)?);
        // The validation also copies variables that are not declared.
        assert!(are_too_large(&format!("{{ {} }}", "a(b: $v) ".repeat(11)))?);
        Ok(())
    }
}
