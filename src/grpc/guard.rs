//! The layer around every call of [`Services`](super::Services) that asks for no decision: overload is shed here, stalls end here, panics stop here.
//!
//! Each becomes an error of its one call. Nothing is decided here, and no error permits anything.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::server::NamedService;
use tower::{Layer, Service};

/// Puts [`Guard`] around a service.
#[derive(Debug, Clone)]
pub(super) struct GuardLayer {
    /// Calls that are made at once, over all connections.
    pub(super) in_flight: Arc<Semaphore>,
    /// From the call's first byte to the head of its answer.
    pub(super) time_limit: Duration,
}

/// A service whose calls all end.
#[derive(Debug, Clone)]
pub(super) struct Guard<S> {
    inner: S,
    layer: GuardLayer,
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard {
            inner,
            layer: self.clone(),
        }
    }
}

impl<S, Request, Body> Service<Request> for Guard<S>
where
    S: Service<Request, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Body: Default + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Ok(place) = Arc::clone(&self.layer.in_flight).try_acquire_owned() else {
            return std::future::ready(Ok(Status::unavailable("overloaded").into_http())).boxed();
        };
        let limit = self.layer.time_limit;
        // Called before it is awaited, and both may panic.
        let called = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
        async move {
            let _place = place;
            let answered = async { AssertUnwindSafe(called?).catch_unwind().await };
            let status = match tokio::time::timeout(limit, answered).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(_panic)) => {
                    tracing::error!("the handler of a call panicked");
                    Status::internal("internal error")
                }
                Err(_elapsed) => Status::deadline_exceeded("the request stalled"),
            };
            Ok(status.into_http())
        }
        .boxed()
    }
}

impl<S: NamedService> NamedService for Guard<S> {
    const NAME: &'static str = S::NAME;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::time::Instant;
    use tonic::Code;
    use tonic::body::Body;
    use tower::service_fn;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn guard() -> GuardLayer {
        GuardLayer {
            in_flight: Arc::new(Semaphore::new(1)),
            time_limit: LIMIT,
        }
    }

    type Answered = Result<http::Response<Body>, Infallible>;

    fn code(answered: Answered) -> Code {
        let response = answered.unwrap();
        Status::from_header_map(response.headers()).unwrap().code()
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_one_call() {
        // X31: in the handler, and before there is one.
        let guard = guard();
        let late = service_fn(|(): ()| async { panic!("on purpose") });
        let late: Answered = guard.layer(late).call(()).await;
        let early = service_fn(|(): ()| -> std::future::Ready<Answered> { panic!("on purpose") });
        let early = guard.layer(early).call(()).await;
        assert_eq!((code(late), code(early)), (Code::Internal, Code::Internal));
        assert_eq!(guard.in_flight.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_stalls_ends_at_the_limit() {
        // X05
        let begun = Instant::now();
        let stalled = service_fn(|(): ()| std::future::pending::<Answered>());
        let answered = guard().layer(stalled).call(()).await;
        assert_eq!(code(answered), Code::DeadlineExceeded);
        assert_eq!(begun.elapsed(), LIMIT);
    }

    #[tokio::test]
    async fn a_call_without_a_place_is_refused_unheard() {
        let guard = guard();
        let _place = guard.in_flight.try_acquire().unwrap();
        let unheard = service_fn(|(): ()| -> std::future::Ready<Answered> {
            unreachable!("it must not be asked")
        });
        assert_eq!(code(guard.layer(unheard).call(()).await), Code::Unavailable);
    }
}
