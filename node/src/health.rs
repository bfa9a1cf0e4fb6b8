//! `/health/live` and `/health/ready`, as an axum router to be merged with others.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

/// Live: the process answers. Ready: `ready` says so; its text, either way, is the body.
pub fn router<F>(ready: F) -> Router
where
    F: Fn() -> Result<String, String> + Clone + Send + Sync + 'static,
{
    let answer = move || {
        let answer = ready().map_or_else(|why| (StatusCode::SERVICE_UNAVAILABLE, why), |text| (StatusCode::OK, text));
        std::future::ready(answer)
    };
    Router::new().route("/health/live", get(|| async { "ok" })).route("/health/ready", get(answer))
}
