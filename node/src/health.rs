//! `/health/live`, `/health/ready` and role checks for load balancers, as axum routers to be merged with others.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

/// Live: the process answers. Ready: `ready` says so; its text, either way, is the body.
pub fn router<F>(ready: F) -> Router
where
    F: Fn() -> Result<String, String> + Clone + Send + Sync + 'static,
{
    Router::new().route("/health/live", get(|| async { "ok\n" })).merge(role("/health/ready", ready))
}

/// Answers `path` with 200 while this process has the role, and with 503 and what it is instead otherwise.
pub fn role<F>(path: &str, has: F) -> Router
where
    F: Fn() -> Result<String, String> + Clone + Send + Sync + 'static,
{
    let answer = move || {
        let (status, text) = has().map_or_else(|why| (StatusCode::SERVICE_UNAVAILABLE, why), |it| (StatusCode::OK, it));
        std::future::ready((status, format!("{text}\n")))
    };
    Router::new().route(path, get(answer))
}
