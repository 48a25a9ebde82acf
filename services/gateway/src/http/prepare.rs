//! From a request's parameters to what can be executed: the one way for `/graphql`,
//! `/graphql/stream` and `/graphql/ws`.

use async_graphql::{Request, ServerError, Variables, parser::types::OperationType};

use super::{access_log::RequestLog, params::Params, rejection::Rejection};
use crate::{
    app::App,
    auth::caller::Caller,
    error_code::Code,
    graphql::{
        document::{self, Analysis, Parsed},
        errors,
    },
    limits::{AnswerBudget, Cost, Denied},
};

/// Which operations are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serves {
    /// Queries and mutations.
    Post,
    /// Queries.
    Get,
    /// Subscriptions.
    Streams,
}

/// A request that is paid for.
pub(super) struct Prepared {
    pub request: Request,
    /// What may be answered.
    pub answer: AnswerBudget,
    /// How many streams a subscription opens.
    pub streams: usize,
    /// Whether the schema need not validate it again.
    pub trusted: bool,
    /// The document, if it is not known yet whether it is valid.
    pub unproven: Option<String>,
}

/// A request that is not executed.
pub(super) enum Failed {
    /// Before GraphQL's turn, with a status of its own.
    Rejection(Rejection),
    /// With GraphQL's own kind of answer.
    Invalid(ServerError),
}

impl<T: Into<Rejection>> From<T> for Failed {
    fn from(refused: T) -> Self {
        Self::Rejection(refused.into())
    }
}

/// Analyses the document and charges its sender for what it asks for. One that is refused costs a
/// read: it was parsed all the same.
pub(super) fn prepare(
    app: &App,
    caller: Caller,
    params: Params,
    serves: Serves,
    log: &mut RequestLog,
) -> Result<Prepared, Failed> {
    let checked = check(app, &caller, &params, serves, log);
    let charge = match &checked {
        Ok(Checked { analysis, .. }) => analysis.map_or(Cost::Reads(1), |it| it.charge),
        Err(_) => Cost::Reads(1),
    };
    app.limits.charge(&caller, charge)?;
    let Checked { parsed, analysis } = checked?;
    let answer = app.limits.answer(&caller, app.document.max_answer_bytes);
    let known_bytes = analysis.map_or(0, |analysis| analysis.answer_bytes);
    answer.take(known_bytes).map_err(Rejection::from)?;
    // The schema validates before it refuses an operation that is not there, and would copy variables
    // whose size nobody has looked at.
    let variables = analysis.map_or_else(Variables::default, |_| params.variables);
    let mut request = Request::new(String::new())
        .variables(variables)
        .data(log.place(&app.traces))
        .data(answer.clone())
        .data(caller);
    request.operation_name = params.operation_name;
    request.set_parsed_query(parsed.document);
    Ok(Prepared {
        request,
        answer,
        streams: match charge {
            Cost::Reads(count) | Cost::Saves(count) => count as usize,
        },
        trusted: parsed.is_valid && analysis.is_some_and(|analysis| analysis.fits),
        unproven: (!parsed.is_valid).then_some(params.query),
    })
}

struct Checked {
    parsed: Parsed,
    /// None: the schema will say what is wrong with the operation's name.
    analysis: Option<Analysis>,
}

fn check(
    app: &App,
    caller: &Caller,
    params: &Params,
    serves: Serves,
    log: &mut RequestLog,
) -> Result<Checked, Failed> {
    let invalid = Failed::Invalid;
    let parsed = app.documents.parse(&params.query, &app.document);
    let parsed = parsed.map_err(invalid)?;
    let name = params.operation_name.as_deref();
    let variables = &params.variables;
    let analysis = document::analyse_parsed(&parsed.document, name, variables, &app.document);
    let analysis = analysis.map_err(invalid)?;
    if let Some(analysis) = analysis {
        log.asks_for(analysis.charge);
    }
    let operation = analysis.map(|analysis| analysis.operation);
    match serves {
        Serves::Get if operation.is_some_and(|it| it != OperationType::Query) => {
            return Err(Rejection::method("POST").into());
        }
        Serves::Streams if operation != Some(OperationType::Subscription) => {
            return Err(invalid(only_subscriptions()));
        }
        _ => {}
    }
    let saves = analysis.map(|analysis| analysis.charge);
    if caller.idempotency_key.is_some() && matches!(saves, Some(Cost::Saves(2..))) {
        return Err(Rejection::bad_request(
            "Idempotency-Key names one save; the document has several. Nothing was saved.",
        )
        .into());
    }
    Ok(Checked { parsed, analysis })
}

pub(super) fn only_subscriptions() -> ServerError {
    let message = "Only subscriptions are served here; queries and mutations at /graphql.";
    let mut error = ServerError::new(message, None);
    error.extensions = Some(errors::extensions(Code::BadRequest.as_str(), false));
    error
}

impl From<Denied> for Rejection {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Full(full) => full.into(),
            // The analysis has refused what is larger than one answer may be.
            Denied::TooLarge => Self::failed(),
        }
    }
}
