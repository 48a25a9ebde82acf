//! How large a document may be. async-graphql counts depth and complexity; aliases, directives and
//! saves are counted here.

use async_graphql::{
    Positioned, ServerError,
    parser::types::{Directive, ExecutableDocument, Selection, SelectionSet},
};

use crate::validation;

/// What one request may ask for. Every setting is described by what happens when it is too high or
/// too low.
#[derive(Debug, Clone, clap::Args)]
pub struct DocumentArgs {
    /// The largest body in bytes; a larger one is refused with PAYLOAD_TOO_LARGE (413). Higher: more
    /// memory for each of MAX_IN_FLIGHT requests. Lower: details of 64 KiB, escaped twice, don't fit.
    #[arg(long, env = "MAX_BODY_BYTES", default_value_t = 256 * 1024)]
    pub max_body_bytes: usize,

    /// How deep fields may be nested. A client of this API needs 3; lower than 13, and the standard
    /// introspection query is refused where there is introspection.
    #[arg(long, env = "MAX_DEPTH", default_value_t = 15)]
    pub max_depth: usize,

    /// How many fields a document may select, each time that it does. Higher: one request takes
    /// longer, and the others wait. Lower than 200: the standard introspection query is refused.
    #[arg(long, env = "MAX_COMPLEXITY", default_value_t = 400)]
    pub max_complexity: usize,

    /// How many aliases a document may have. Lower than MAX_SAVES: so many saves can't be sent.
    #[arg(long, env = "MAX_ALIASES", default_value_t = 30)]
    pub max_aliases: usize,

    /// How many directives a document may have. Higher: checking them costs more than the answer.
    #[arg(long, env = "MAX_DIRECTIVES", default_value_t = 30)]
    pub max_directives: usize,

    /// How many saves a document may have; they are made one after the other, each with its own
    /// deadline. Higher: a request may take as many times longer.
    #[arg(long, env = "MAX_SAVES", default_value_t = 5)]
    pub max_saves: u32,
}

impl DocumentArgs {
    /// Whether a document with so many saves is small enough.
    pub(crate) fn check(
        &self,
        document: &ExecutableDocument,
        saves: u32,
    ) -> Result<(), ServerError> {
        let count = Count::of(document);
        for (what, is, most) in [
            ("saves", saves as usize, self.max_saves as usize),
            ("aliases", count.aliases, self.max_aliases),
            ("directives", count.directives, self.max_directives),
        ] {
            if is > most {
                return Err(validation::too_many(what, most));
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Count {
    aliases: usize,
    directives: usize,
}

impl Count {
    fn of(document: &ExecutableDocument) -> Self {
        let mut count = Self::default();
        for (_, operation) in document.operations.iter() {
            count.add(&operation.node.directives);
            for variable in &operation.node.variable_definitions {
                count.add(&variable.node.directives);
            }
            count.selections(&operation.node.selection_set.node);
        }
        for fragment in document.fragments.values() {
            count.add(&fragment.node.directives);
            count.selections(&fragment.node.selection_set.node);
        }
        count
    }

    fn add(&mut self, directives: &[Positioned<Directive>]) {
        self.directives += directives.len();
    }

    /// Recursive: the nesting of a document was checked before it was parsed.
    fn selections(&mut self, set: &SelectionSet) {
        for item in &set.items {
            match &item.node {
                Selection::Field(field) => {
                    self.aliases += usize::from(field.node.alias.is_some());
                    self.add(&field.node.directives);
                    self.selections(&field.node.selection_set.node);
                }
                Selection::FragmentSpread(spread) => self.add(&spread.node.directives),
                Selection::InlineFragment(inline) => {
                    self.add(&inline.node.directives);
                    self.selections(&inline.node.selection_set.node);
                }
            }
        }
    }
}
