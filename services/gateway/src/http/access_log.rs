//! What is told of a request besides its answer: a line in the log, a span, and the metrics.

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

/// A request from its first byte to its answer.
pub(super) struct RequestLog {
    /// What the client and the log call it.
    pub id: RequestId,
    /// In errors and in the log, too.
    pub trace_id: String,
    kind: &'static str,
    span: Span,
    started: Instant,
}

impl RequestLog {
    /// Begins its span, in the trace that the client names, if any.
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

    /// Where in its trace the rest happens.
    pub fn place(&self, traces: &Traces) -> TraceContext {
        TraceContext::below(traces.clone(), &self.span)
    }

    /// Names the request in an error.
    pub fn name(&self, error: &mut ServerError) {
        name(error, self.id.as_str(), &self.trace_id);
    }

    /// The same, for errors that come when the request is answered already.
    pub fn namer(&self) -> impl Fn(&mut ServerError) + Send + Sync + 'static {
        let (id, trace_id) = (self.id.clone(), self.trace_id.clone());
        move |error| name(error, id.as_str(), &trace_id)
    }

    /// What it asks for is known now.
    pub fn asks_for(&mut self, charge: Cost) {
        self.kind = match charge {
            Cost::Saves(_) => "save",
            Cost::Reads(_) => "read",
        };
    }

    /// Names the request in the headers of its answer, and tells how it was answered.
    pub fn end_with(self, mut response: Response, codes: &[&str]) -> Response {
        let headers = response.headers_mut();
        headers.insert(request_id::HEADER, self.id.header());
        self.end(response.status(), codes);
        response
    }

    /// Tells how it was answered: with these codes, where something went wrong.
    pub fn end(mut self, status: StatusCode, codes: &[&str]) {
        let took = self.started.elapsed();
        let first = codes.first().and_then(|code| Code::named(code));
        let code = first.map_or("OK", Code::as_str);
        metrics::answered(self.kind, code, took);
        tracing::info!(
            request.id = self.id.as_str(),
            trace.id = self.trace_id,
            kind = self.kind,
            status = status.as_u16(),
            code,
            codes = (codes.len() > 1).then(|| codes.join(" ")),
            duration_ms = milliseconds(took),
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

fn name(error: &mut ServerError, id: &str, trace_id: &str) {
    let extensions = error.extensions.get_or_insert_default();
    extensions.set("requestId", id);
    extensions.set("traceId", trace_id);
}
