//! The settings that limit a document.

/// What one request may ask for. Every setting is described by what happens when it is too high or
/// too low.
#[derive(Debug, Clone, clap::Args)]
pub struct DocumentArgs {
    /// The largest body in bytes; a larger one is refused with PAYLOAD_TOO_LARGE (413). Higher: more
    /// memory for each of MAX_IN_FLIGHT requests. Lower: details of 64 KiB, escaped twice, don't fit.
    #[arg(long, env = "MAX_BODY_BYTES", default_value_t = DocumentArgs::DEFAULT.max_body_bytes)]
    pub max_body_bytes: usize,

    /// How many tokens a document may have; 16 bytes of white space or comments, and 64 bytes of a
    /// name, count as one more. Higher: parsing one document keeps a processor from the others for
    /// longer. Lower than 500: five whole saves without variables, or the standard introspection
    /// query, are refused.
    #[arg(long, env = "MAX_TOKENS", default_value_t = DocumentArgs::DEFAULT.max_tokens)]
    pub max_tokens: usize,

    /// How many selections a document may have, in all of its operations, with each fragment counted
    /// wherever it is spread. Higher: checking one document keeps a processor from the others for
    /// longer. Lower than 300: the standard introspection query is refused where there is
    /// introspection.
    #[arg(long, env = "MAX_SELECTIONS", default_value_t = DocumentArgs::DEFAULT.max_selections)]
    pub max_selections: usize,

    /// How deep fields may be nested. A client of this API needs 4; lower than 13, and the standard
    /// introspection query is refused where there is introspection.
    #[arg(long, env = "MAX_DEPTH", default_value_t = DocumentArgs::DEFAULT.max_depth)]
    pub max_depth: usize,

    /// How many fields may be answered, each time that they are: those of a record in a list count
    /// `first` times. Higher: one request takes longer, and the others wait. Lower than 1,610: a page
    /// of 100 whole records is refused; lower than 300, the standard introspection query, too.
    #[arg(long, env = "MAX_COMPLEXITY", default_value_t = DocumentArgs::DEFAULT.max_complexity)]
    pub max_complexity: usize,

    /// How many aliases a document may have. Lower than MAX_SAVES: so many saves can't be sent.
    #[arg(long, env = "MAX_ALIASES", default_value_t = DocumentArgs::DEFAULT.max_aliases)]
    pub max_aliases: usize,

    /// How many directives a document may have. Higher: checking them costs more than the answer.
    #[arg(long, env = "MAX_DIRECTIVES", default_value_t = DocumentArgs::DEFAULT.max_directives)]
    pub max_directives: usize,

    /// How many saves a document may have; they are made one after the other, each with its own
    /// deadline. Higher: a request may take as many times longer.
    #[arg(long, env = "MAX_SAVES", default_value_t = DocumentArgs::DEFAULT.max_saves)]
    pub max_saves: u32,

    /// How many bytes of records one request may be answered with. A page that would have more is
    /// refused with BAD_USER_INPUT before it is read to its end; the client asks for fewer. As JSON
    /// an answer may be twice as large, and it is in memory three times while it is made. Lower than
    /// 7000000: a page of 100 of the largest records is refused.
    #[arg(long, env = "MAX_ANSWER_BYTES", default_value_t = DocumentArgs::DEFAULT.max_answer_bytes)]
    pub max_answer_bytes: usize,
}

impl DocumentArgs {
    const DEFAULT: Self = Self {
        max_body_bytes: 256 * 1024,
        max_tokens: 2000,
        max_selections: 1000,
        max_depth: 15,
        max_complexity: 2000,
        max_aliases: 30,
        max_directives: 30,
        max_saves: 5,
        max_answer_bytes: 8 * 1024 * 1024,
    };
}

impl Default for DocumentArgs {
    /// What holds where nothing is set.
    fn default() -> Self {
        Self::DEFAULT
    }
}
