//! Records each request in the log, in its trace and in the metrics.

use std::time::Instant;

use async_graphql::ServerError;
use axum::{
    http::{HeaderMap, Method, StatusCode},
    response::Response,
};
use runtime::{
    logs::milliseconds,
    traces::{self, KeyValue, Span, SpanKind, TraceContext, Traces},
};

use super::request_id::{self, RequestId};
use crate::{error_code::Code, limits::Cost, metrics};

/// The observation of one request, from its first byte to its answer.
pub(super) struct RequestLog {
    /// The request id, which the answer and the log contain.
    pub id: RequestId,
    /// The trace id, which errors and the log contain, too.
    pub trace_id: String,
    kind: &'static str,
    span: Span,
    /// When the request's headers had arrived.
    pub started: Instant,
}

impl RequestLog {
    /// Starts the request's span, in the trace of the client if the request names one.
    pub fn begin(traces: &Traces, method: &Method, headers: &HeaderMap) -> Self {
        let header = |name| headers.get(name)?.to_str().ok();
        let parent = traces::parent(header("traceparent"), header("tracestate"));
        let get = method == Method::GET;
        let name = if get { "GET /graphql" } else { "POST /graphql" };
        let span = traces.span(name, SpanKind::Server, &parent);
        Self {
            id: RequestId::of(headers),
            trace_id: span.context().trace_id().to_string(),
            kind: "none",
            span,
            started: Instant::now(),
        }
    }

    /// The parent of all further spans of the request.
    pub fn trace_context(&self, traces: &Traces) -> TraceContext {
        TraceContext::below(traces.clone(), &self.span)
    }

    /// Adds the ids of the request to an error.
    pub fn identify(&self, error: &mut ServerError) {
        identify(error, self.id.as_str(), &self.trace_id);
    }

    /// As [`RequestLog::identify`], for errors that occur after the request was answered.
    pub fn identifier(&self) -> impl Fn(&mut ServerError) + Send + Sync + 'static {
        let (id, trace_id) = (self.id.clone(), self.trace_id.clone());
        move |error| identify(error, id.as_str(), &trace_id)
    }

    /// Sets the kind of the request, which is known only after its document was analysed.
    pub fn set_kind(&mut self, cost: Cost) {
        self.kind = match cost {
            Cost::Saves(_) => "save",
            Cost::Reads(_) => "read",
        };
    }

    /// Adds the request id to the answer, and records the answer with its error codes.
    pub fn end_with(self, mut response: Response, codes: &[&str]) -> Response {
        let headers = response.headers_mut();
        headers.insert(request_id::HEADER, self.id.header());
        self.end(response.status(), codes);
        response
    }

    /// Records the answer with its error codes.
    pub fn end(mut self, status: StatusCode, codes: &[&str]) {
        let duration = self.started.elapsed();
        let first = first_error(codes);
        let code = first.map_or("OK", Code::as_str);
        metrics::answered(self.kind, code, duration);
        tracing::info!(
            request.id = self.id.as_str(),
            trace.id = self.trace_id,
            kind = self.kind,
            status = status.as_u16(),
            code,
            codes = (codes.len() > 1).then(|| codes.join(" ")),
            duration_ms = milliseconds(duration),
            "answered"
        );
        let (kind, id) = (self.kind, &self.id);
        self.span.set(|| {
            let mut attributes = vec![
                KeyValue::new("http.route", "/graphql"),
                KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
                KeyValue::new("connector_details.kind", kind),
                KeyValue::new("connector_details.request_id", id.as_str().to_owned()),
            ];
            attributes.extend(first.map(|_| KeyValue::new("error.type", code)));
            attributes
        });
        if first.is_some_and(Code::is_server_error) {
            self.span.fail(code);
        }
    }
}

/// The code that the answer is counted under. `None` without an error. A code that is not in the list counts
/// as an error of the service.
fn first_error(codes: &[&str]) -> Option<Code> {
    let first = codes.first()?;
    Some(Code::named(first).unwrap_or(Code::InternalServerError))
}

fn identify(error: &mut ServerError, id: &str, trace_id: &str) {
    let extensions = error.extensions.get_or_insert_default();
    extensions.set("requestId", id);
    extensions.set("traceId", trace_id);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_without_an_error_counts_as_ok() {
        assert_eq!(first_error(&[]), None);
        assert_eq!(first_error(&["EXPIRED", "CONFLICT"]), Some(Code::Expired));
        let unknown = first_error(&["NEWER"]);
        assert_eq!(unknown, Some(Code::InternalServerError));
    }
}
