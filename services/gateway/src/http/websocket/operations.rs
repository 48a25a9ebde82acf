//! Executes the operations of one socket.

use std::{
    any::TypeId,
    future::{Future, ready},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_graphql::{Data, Executor, Request, Response as GraphqlResponse};
use axum::http::{HeaderMap, Method, StatusCode};
use futures_util::{
    FutureExt as _, StreamExt as _,
    stream::{self, BoxStream},
};

use crate::{
    app::App,
    auth::{AuthError, caller::Caller},
    http::{
        access_log::RequestLog,
        params::Params,
        prepare::only_subscriptions,
        rejection::Rejection,
        sse::{error_response, subscribe},
    },
};

#[derive(Clone)]
pub(super) struct Operations {
    pub app: Arc<App>,
    pub headers: HeaderMap,
    /// The number of open operations.
    pub open: Arc<AtomicUsize>,
}

/// Counts an open operation until it is dropped.
struct OpenOperation(Arc<AtomicUsize>);

impl Drop for OpenOperation {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Executor for Operations {
    fn execute(&self, _: Request) -> impl Future<Output = GraphqlResponse> + Send {
        ready(GraphqlResponse::from_errors(vec![only_subscriptions()]))
    }

    fn execute_stream(
        &self,
        request: Request,
        session: Option<Arc<Data>>,
    ) -> BoxStream<'static, GraphqlResponse> {
        self.open.fetch_add(1, Ordering::Relaxed);
        let open = OpenOperation(self.open.clone());
        let caller = session.as_ref().and_then(|session| {
            let caller = session.get(&TypeId::of::<Caller>())?;
            caller.downcast_ref::<Caller>().cloned()
        });
        let responses = execute(self.app.clone(), self.headers.clone(), caller, request);
        let counted = move |response| {
            let _until_the_stream_ends = &open;
            response
        };
        responses.flatten_stream().map(counted).boxed()
    }
}

async fn execute(
    app: Arc<App>,
    headers: HeaderMap,
    caller: Option<Caller>,
    request: Request,
) -> BoxStream<'static, GraphqlResponse> {
    let mut log = RequestLog::begin(&app.traces, &Method::GET, &headers);
    let params = Params {
        query: request.query,
        variables: request.variables,
        operation_name: request.operation_name,
    };
    let subscribed = async {
        let caller = caller.ok_or(AuthError::Unauthenticated("A token is required."))?;
        app.limits.request(&caller)?;
        subscribe(&app, &caller, params, &mut log)
    };
    let subscribed = AssertUnwindSafe(subscribed).catch_unwind().await;
    match subscribed.unwrap_or_else(|_| Err(Rejection::failed().into())) {
        Ok(responses) => {
            log.end(StatusCode::OK, &[]);
            responses
        }
        Err(failed) => stream::once(error_response(failed, log)).boxed(),
    }
}
