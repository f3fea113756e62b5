//! The admin API under `/api/v1`, health and metrics. Every call of it may block, so it runs on the blocking pool.

mod plugins;
mod rules;
mod sinks;
mod tables;

use crate::problem::Problem;
use crate::{Ports, Token};
use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, put};
use serde::Deserialize;
use serde_json::Value;
use witmq_broker::ports::ControlError;

/// Largest chain file or configuration taken.
pub(super) const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// Entries of a page of a list, unless asked for otherwise, and at most.
pub(super) const PAGE: usize = 100;
pub(super) const MAX_PAGE: usize = 1000;

pub(super) type Answer = Result<Response, Problem>;

/// Everything that speaks JSON, behind the token; health and metrics without.
pub(crate) fn routes(token: Token, ports: Ports) -> Router {
    let text = DefaultBodyLimit::max(MAX_TEXT_BYTES);
    let guarded = Router::new()
        .route("/api/v1/status", get(status))
        .merge(plugins::routes())
        .merge(rules::routes())
        .merge(tables::routes())
        .merge(sinks::routes())
        .route("/api/v1/users", get(users))
        .route(
            "/api/v1/users/{name}",
            put(put_user).delete(remove_user).layer(text),
        )
        .route(
            "/api/v1/drain",
            get(draining).put(drain).delete(stop_draining),
        )
        .route("/api/v1/delayed", get(delayed))
        .route("/api/v1/delayed/{id}", delete(cancel_delayed))
        .layer(middleware::from_fn_with_state(token, guard));
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .merge(guarded)
        .with_state(ports)
}

async fn guard(State(token): State<Token>, request: Request, next: Next) -> Response {
    let header = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok());
    if token.admits(header) {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "this needs the admin token",
    )
    .hint("send `Authorization: Bearer TOKEN`; the token is in `admin.token` of the data folder")
    .into_response()
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ControlError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Problem::from),
        Err(error) => Err(Problem::from(ControlError::Internal(error.to_string()))),
    }
}

pub(super) fn json(value: Value) -> Answer {
    Ok(Json(value).into_response())
}

async fn status(State(ports): State<Ports>) -> Answer {
    json(blocking(move || Ok(ports.node.status())).await?)
}

async fn metrics(State(ports): State<Ports>) -> Answer {
    let text = blocking(move || Ok(ports.node.metrics())).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

async fn users(State(ports): State<Ports>) -> Answer {
    json(blocking(move || ports.users.list()).await?.into())
}

async fn put_user(
    State(ports): State<Ports>,
    Path(name): Path<String>,
    Json(mut entry): Json<Value>,
) -> Answer {
    let Some(fields) = entry.as_object_mut() else {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "not-an-object",
            "a user is a JSON object",
        ));
    };
    fields.insert("name".into(), Value::String(name));
    blocking(move || ports.users.put(entry)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn remove_user(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    blocking(move || ports.users.remove(&name)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
pub(super) struct PageQuery {
    /// Identifier of the last entry of the page before.
    pub(super) after: Option<String>,
    pub(super) limit: Option<usize>,
}

async fn delayed(State(ports): State<Ports>, Query(query): Query<PageQuery>) -> Answer {
    let limit = query.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let list = move || ports.delayed.list(query.after.as_deref(), limit);
    json(blocking(list).await?)
}

async fn cancel_delayed(State(ports): State<Ports>, Path(id): Path<String>) -> Answer {
    blocking(move || ports.delayed.cancel(&id)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn draining(State(ports): State<Ports>) -> Answer {
    json(blocking(move || Ok(ports.drain.status())).await?)
}

/// Disconnects a second, unless said.
const DRAIN_PER_SECOND: u32 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DrainBody {
    server: String,
    #[serde(default)]
    permanent: bool,
    per_second: Option<u32>,
}

async fn drain(State(ports): State<Ports>, Json(body): Json<DrainBody>) -> Answer {
    let pace = body.per_second.unwrap_or(DRAIN_PER_SECOND);
    blocking(move || ports.drain.start(&body.server, body.permanent, pace)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn stop_draining(State(ports): State<Ports>) -> Answer {
    blocking(move || ports.drain.stop()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
