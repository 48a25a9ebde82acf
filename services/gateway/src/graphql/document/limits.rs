//! The settings that limit a document.

/// The limits of one request. Each setting says what happens if it is too high or too low.
#[derive(Debug, Clone, clap::Args)]
pub struct DocumentArgs {
    /// The maximum size of a body in bytes. Larger ones are rejected with PAYLOAD_TOO_LARGE (413). Higher:
    /// more memory for each of MAX_IN_FLIGHT requests. Lower: details of 64 KiB, escaped twice, do not
    /// fit.
    #[arg(long, env = "MAX_BODY_BYTES", default_value_t = DocumentArgs::DEFAULT.max_body_bytes)]
    pub max_body_bytes: usize,

    /// The maximum number of tokens in a document. 16 bytes of white space or comments, and 64 bytes of a
    /// long name, count as one token, too. Higher: parsing one document keeps a processor busy for longer.
    /// Lower than 500: five complete saves without variables, or the standard introspection query, are
    /// rejected.
    #[arg(long, env = "MAX_TOKENS", default_value_t = DocumentArgs::DEFAULT.max_tokens)]
    pub max_tokens: usize,

    /// The maximum number of selections in all operations of a document. A fragment counts each time that
    /// it is spread. Higher: validating one document keeps a processor busy for longer. Lower than 300:
    /// the standard introspection query of development mode is rejected.
    #[arg(long, env = "MAX_SELECTIONS", default_value_t = DocumentArgs::DEFAULT.max_selections)]
    pub max_selections: usize,

    /// The maximum nesting of fields. A client of this API needs 4. Lower than 13: the standard
    /// introspection query of development mode is rejected.
    #[arg(long, env = "MAX_DEPTH", default_value_t = DocumentArgs::DEFAULT.max_depth)]
    pub max_depth: usize,

    /// The maximum number of fields in an answer. The fields of a record in a list count `first` times.
    /// Higher: one request can take longer. Lower than 1,610: a page of 100 complete records is rejected.
    /// Lower than 300: the standard introspection query is rejected, too.
    #[arg(long, env = "MAX_COMPLEXITY", default_value_t = DocumentArgs::DEFAULT.max_complexity)]
    pub max_complexity: usize,

    /// The maximum number of aliases in a document. Lower than MAX_SAVES: MAX_SAVES can't be reached,
    /// because each save needs an alias.
    #[arg(long, env = "MAX_ALIASES", default_value_t = DocumentArgs::DEFAULT.max_aliases)]
    pub max_aliases: usize,

    /// The maximum number of directives in a document. Higher: validating them costs more than the answer.
    #[arg(long, env = "MAX_DIRECTIVES", default_value_t = DocumentArgs::DEFAULT.max_directives)]
    pub max_directives: usize,

    /// The maximum number of saves in a document. They run one after the other. Those that were not sent
    /// within 8 seconds of the request get SERVICE_UNAVAILABLE. Higher: while no worker runs, more saves
    /// of a document are not sent.
    #[arg(long, env = "MAX_SAVES", default_value_t = DocumentArgs::DEFAULT.max_saves)]
    pub max_saves: u32,

    /// The maximum size of the records in one answer, in bytes. A larger page is rejected with
    /// BAD_USER_INPUT while it is read; the client must request fewer records. As JSON an answer can be
    /// twice as large, and three copies of it are in memory while it is created. Lower than 7000000: a
    /// page of 100 of the largest records is rejected.
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
    /// The default settings.
    fn default() -> Self {
        Self::DEFAULT
    }
}
