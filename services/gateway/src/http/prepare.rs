//! Checks a document and charges its cost before it is executed. `/graphql`, `/graphql/stream` and
//! `/graphql/ws` all use [`prepare`], so that the same limits hold for them.

use std::{sync::Arc, time::Duration};

use async_graphql::{
    Request, ServerError, Variables,
    parser::types::{ExecutableDocument, OperationType},
};
use tokio::time::Instant;

use super::{access_log::RequestLog, params::Params, rejection::Rejection};
use crate::{
    app::App,
    auth::caller::Caller,
    error_code::Code,
    graphql::{
        document::{self, Analysis},
        error_text, errors,
        schema::RequestDeadline,
    },
    limits::{AnswerBudget, Cost, Denied},
};

/// The time for all commands of a request, from its headers on. The last read of the ledger takes at most
/// one more second, so every request is answered within ten. A body may take three seconds to arrive, so
/// a single command still has five.
const REQUEST_DEADLINE: Duration = Duration::from_secs(8);

/// The operations that an endpoint serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serves {
    /// Queries and mutations, with POST.
    Post,
    /// Queries only, with GET.
    Get,
    /// Subscriptions only.
    Streams,
}

/// A request that is within all limits and can be executed.
pub(super) struct Prepared {
    pub request: Request,
    /// The memory for the records in the answer.
    pub answer: AnswerBudget,
    /// The number of streams that a subscription opens.
    pub streams: usize,
}

/// Why a request is not executed.
pub(super) enum Failed {
    /// The answer has its own HTTP status.
    Rejection(Rejection),
    /// The answer is a GraphQL response with this error.
    Invalid(ServerError),
}

impl<T: Into<Rejection>> From<T> for Failed {
    fn from(rejection: T) -> Self {
        Self::Rejection(rejection.into())
    }
}

/// Analyses the document and counts its cost against the caller's limits. A rejected document costs one
/// read, because it was parsed.
pub(super) fn prepare(
    app: &App,
    caller: Caller,
    params: Params,
    serves: Serves,
    log: &mut RequestLog,
) -> Result<Prepared, Failed> {
    let checked = check(app, &caller, &params, serves, log);
    let cost = match &checked {
        Ok(Checked { analysis, .. }) => analysis.map_or(Cost::Reads(1), |it| it.charge),
        Err(_) => Cost::Reads(1),
    };
    app.limits.charge(&caller, cost)?;
    let Checked { document, analysis } = checked?;
    let answer = app.limits.answer(&caller, app.document.max_answer_bytes);
    let known_bytes = analysis.map_or(0, |analysis| analysis.answer_bytes);
    answer.take(known_bytes).map_err(Rejection::from)?;
    // If the operation does not exist, the size of the variables was not checked. The schema would copy
    // them in its validation before it rejects the request.
    let variables = analysis.map_or_else(Variables::default, |_| params.variables);
    let deadline = Instant::from_std(log.started) + REQUEST_DEADLINE;
    let mut request = Request::new(String::new())
        .variables(variables)
        .data(RequestDeadline(deadline))
        .data(log.trace_context(&app.traces))
        .data(answer.clone())
        .data(caller);
    request.operation_name = params.operation_name;
    request.set_parsed_query(Arc::unwrap_or_clone(document));
    Ok(Prepared {
        request,
        answer,
        streams: match cost {
            Cost::Reads(count) | Cost::Saves(count) => count as usize,
        },
    })
}

struct Checked {
    document: Arc<ExecutableDocument>,
    /// `None` if the operation does not exist; the schema reports that error.
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
    let document = app.documents.parse(&params.query, &app.document);
    let document = document.map_err(invalid)?;
    let name = params.operation_name.as_deref();
    let variables = &params.variables;
    let analysis = document::analyse_parsed(&document, name, variables, &app.document);
    let analysis = analysis.map_err(invalid)?;
    if let Some(analysis) = analysis {
        log.set_kind(analysis.charge);
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
    let cost = analysis.map(|analysis| analysis.charge);
    check_reads(cost, app.limits.max_reads()).map_err(invalid)?;
    if caller.idempotency_key.is_some() && matches!(cost, Some(Cost::Saves(2..))) {
        return Err(Rejection::bad_request(
            "Idempotency-Key names one save; the document has several. Nothing was saved.",
        )
        .into());
    }
    Ok(Checked { document, analysis })
}

/// Rejects a document that costs more reads than the rate limit lets through at once. It could never succeed,
/// so the client must not be asked to retry.
fn check_reads(cost: Option<Cost>, max_reads: u32) -> Result<(), ServerError> {
    match cost {
        Some(Cost::Reads(reads)) if reads > max_reads => {
            Err(error_text::too_many("reads", max_reads as usize))
        }
        _ => Ok(()),
    }
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
            // The analysis has rejected such documents before.
            Denied::TooLarge => Self::failed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_may_have_as_many_reads_as_are_let_through_at_once() {
        assert!(check_reads(Some(Cost::Reads(200)), 200).is_ok());
        assert!(check_reads(Some(Cost::Saves(201)), 200).is_ok());
        assert!(check_reads(None, 200).is_ok());
        let rejected = check_reads(Some(Cost::Reads(201)), 200).err();
        let code = rejected.as_ref().and_then(errors::code);
        assert_eq!(code, Some("GRAPHQL_VALIDATION_FAILED"));
    }
}
