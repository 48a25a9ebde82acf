//! What of a document will be executed, exactly as async-graphql executes it, and what that costs.
//!
//! - A field that is selected twice is executed twice, under one response key too.
//! - A fragment is executed each time that it is spread, if it is on the root type.
//! - `@skip` and `@include` are decided by the variables of the request. A variable that is missing
//!   counts as false, even if the operation gives it a default.

use async_graphql::{
    Positioned, Variables,
    parser::types::{
        Directive, ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
        SelectionSet,
    },
};
use async_graphql_value::{ConstValue, Name, Value};

use crate::records::{PAGE, PAGE_MOST};

/// The fields of the query root that answer with a page of `first` edges.
const PAGES: [&str; 2] = ["connectorDetails", "connectorDetailsHistory"];
const EDGES: &str = "edges";
/// The field of a record that may be large.
const DETAILS: &str = "oauthConnectorDetails";

/// One operation with the variables of a request. Recursive: [`crate::graphql::document::shape`] has limited the nesting
/// and the number of selections before.
pub(super) struct Executed<'a> {
    pub document: &'a ExecutableDocument,
    pub operation: &'a OperationDefinition,
    pub variables: &'a Variables,
}

/// What the answer to a selection may have in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// Fields, those of a page `first` times.
    pub fields: usize,
    /// Details, where the number of records is known beforehand: pages are not counted.
    pub details: usize,
}

impl<'a> Executed<'a> {
    /// The fields of the root, in the order of their execution.
    pub fn root_fields(&self) -> Vec<&'a Positioned<Field>> {
        let root = match self.operation.ty {
            OperationType::Query => "Query",
            OperationType::Mutation => "Mutation",
            OperationType::Subscription => "Subscriptions",
        };
        let mut fields = Vec::new();
        self.collect(&self.operation.selection_set.node, Some(root), &mut fields);
        fields
    }

    pub fn weight(&self, roots: &[&'a Positioned<Field>]) -> Weight {
        let mut whole = Weight::default();
        for root in roots {
            let page = self.page(&root.node);
            let weight = self.weigh(&root.node.selection_set.node, page);
            whole.fields = whole.fields.saturating_add(1 + weight.fields);
            if page.is_none() {
                whole.details += weight.details;
            }
        }
        whole
    }

    /// `page`: how many edges there are, if this is the selection of a page.
    fn weigh(&self, set: &'a SelectionSet, page: Option<usize>) -> Weight {
        let mut fields = Vec::new();
        self.collect(set, None, &mut fields);
        let mut whole = Weight::default();
        for field in fields {
            let inner = self.weigh(&field.node.selection_set.node, None);
            let name = field.node.name.node.as_str();
            let times = page.filter(|_| name == EDGES).unwrap_or(1);
            let fields = inner.fields.saturating_mul(times).saturating_add(1);
            whole.fields = whole.fields.saturating_add(fields);
            whole.details += inner.details + usize::from(name == DETAILS);
        }
        whole
    }

    /// The fields of a selection with those of its fragments: at the root, of the fragments that are
    /// on its type; elsewhere, where the types are not known here, of all.
    fn collect(
        &self,
        set: &'a SelectionSet,
        root: Option<&str>,
        fields: &mut Vec<&'a Positioned<Field>>,
    ) {
        let kept = |item: &&'a Positioned<Selection>| !self.is_skipped(item.node.directives());
        for item in set.items.iter().filter(kept) {
            let (condition, set) = match &item.node {
                Selection::Field(field) => {
                    fields.push(field);
                    continue;
                }
                Selection::InlineFragment(inline) => {
                    let condition = inline.node.type_condition.as_ref();
                    (condition, &inline.node.selection_set)
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    let Some(fragment) = self.document.fragments.get(name) else {
                        continue;
                    };
                    let condition = Some(&fragment.node.type_condition);
                    (condition, &fragment.node.selection_set)
                }
            };
            let is_on = |root: &str| condition.is_none_or(|it| it.node.on.node == root);
            if root.is_none_or(is_on) {
                self.collect(&set.node, root, fields);
            }
        }
    }

    fn is_skipped(&self, directives: &[Positioned<Directive>]) -> bool {
        directives.iter().any(|directive| {
            let wanted = match directive.node.name.node.as_str() {
                "skip" => false,
                "include" => true,
                _ => return false,
            };
            let condition = directive.node.get_argument("if");
            condition.is_some_and(|condition| self.is_true(&condition.node) != wanted)
        })
    }

    fn is_true(&self, condition: &Value) -> bool {
        match condition {
            Value::Boolean(value) => *value,
            Value::Variable(name) => self.variables.get(name) == Some(&ConstValue::Boolean(true)),
            _ => false,
        }
    }

    /// How many edges a field of the root answers with at most, if it is a page.
    fn page(&self, field: &Field) -> Option<usize> {
        if self.operation.ty != OperationType::Query || !PAGES.contains(&field.name.node.as_str()) {
            return None;
        }
        let number = match field.get_argument("first").map(|first| &first.node) {
            Some(Value::Variable(name)) => {
                value_of(self.operation, self.variables, name).and_then(as_number)
            }
            Some(Value::Number(number)) => number.as_u64(),
            _ => None,
        };
        // A number that is too large is refused later, and answers with nothing.
        let first = number.unwrap_or(PAGE.into()).clamp(1, PAGE_MOST.into());
        usize::try_from(first).ok()
    }
}

/// The value that an operation has for a variable: the request's, else its default.
pub(super) fn value_of<'a>(
    operation: &'a OperationDefinition,
    variables: &'a Variables,
    name: &Name,
) -> Option<&'a ConstValue> {
    variables.get(name).or_else(|| {
        let mut definitions = operation.variable_definitions.iter();
        let definition = definitions.find(|definition| definition.node.name.node == *name)?;
        Some(&definition.node.default_value.as_ref()?.node)
    })
}

fn as_number(value: &ConstValue) -> Option<u64> {
    match value {
        ConstValue::Number(number) => number.as_u64(),
        _ => None,
    }
}
