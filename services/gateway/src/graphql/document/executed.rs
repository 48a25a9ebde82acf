//! Computes which fields of a document are executed, exactly as async-graphql executes them.
//!
//! - A field that is selected twice is executed twice, even with the same response key.
//! - A fragment is executed each time that it is spread, if its type condition is the root type.
//! - `@skip` and `@include` use the variables of the request. A missing variable counts as false, even
//!   if the operation declares a default value.

use async_graphql::{
    Positioned, Variables,
    parser::types::{
        Directive, ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
        SelectionSet,
    },
};
use async_graphql_value::{ConstValue, Name, Value};

use crate::records::{PAGE, PAGE_MOST};

/// The fields of the query root that return a page with `first` edges.
const PAGES: [&str; 2] = ["connectorDetails", "connectorDetailsHistory"];
const EDGES: &str = "edges";
/// The field of a record that can be large.
const DETAILS: &str = "oauthConnectorDetails";

/// One operation with the variables of a request. Its methods are recursive, because `shape` has limited
/// the nesting and the number of selections before.
pub(super) struct Executed<'a> {
    pub document: &'a ExecutableDocument,
    pub operation: &'a OperationDefinition,
    pub variables: &'a Variables,
}

/// The maximum size of the answer to a selection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// The number of fields. The fields of a page count `first` times.
    pub fields: usize,
    /// The number of `oauthConnectorDetails` outside of pages. The size of a page is checked while it is
    /// read.
    pub details: usize,
}

impl<'a> Executed<'a> {
    /// The executed fields of the root, in order.
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
        let mut total = Weight::default();
        for root in roots {
            let page = self.page(&root.node);
            let weight = self.weigh(&root.node.selection_set.node, page);
            total.fields = total.fields.saturating_add(1 + weight.fields);
            if page.is_none() {
                total.details += weight.details;
            }
        }
        total
    }

    /// `page` is the number of edges, if this is the selection of a page.
    fn weigh(&self, set: &'a SelectionSet, page: Option<usize>) -> Weight {
        let mut fields = Vec::new();
        self.collect(set, None, &mut fields);
        let mut total = Weight::default();
        for field in fields {
            let inner = self.weigh(&field.node.selection_set.node, None);
            let name = field.node.name.node.as_str();
            let times = page.filter(|_| name == EDGES).unwrap_or(1);
            let fields = inner.fields.saturating_mul(times).saturating_add(1);
            total.fields = total.fields.saturating_add(fields);
            total.details += inner.details + usize::from(name == DETAILS);
        }
        total
    }

    /// Collects the fields of a selection and of its fragments. At the root, only fragments on the root
    /// type are used. Elsewhere the types are not known here, so all fragments are used.
    fn collect(
        &self,
        set: &'a SelectionSet,
        root: Option<&str>,
        fields: &mut Vec<&'a Positioned<Field>>,
    ) {
        let included = |item: &&'a Positioned<Selection>| !self.is_skipped(item.node.directives());
        for item in set.items.iter().filter(included) {
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

    /// The maximum number of edges that a root field returns, if it returns a page.
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
        // The resolver rejects a number outside of this range later.
        let first = number.unwrap_or(PAGE.into()).clamp(1, PAGE_MOST.into());
        usize::try_from(first).ok()
    }
}

/// The value of a variable: from the request, or else its default.
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
