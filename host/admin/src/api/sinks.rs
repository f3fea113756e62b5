//! Connectors by HTTP: apply, check, pause, resume, remove; how they fare.

use super::{Answer, MAX_TEXT_BYTES, blocking};
use crate::Ports;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use witmq_broker::ports::ControlError;
use witmq_broker::ports::SinkInfo;

pub(super) fn routes() -> Router<Ports> {
    let text = DefaultBodyLimit::max(MAX_TEXT_BYTES);
    Router::new()
        .route("/api/v1/sinks", get(list))
        .route(
            "/api/v1/sinks/{name}",
            get(one).put(apply).delete(remove).layer(text),
        )
        .route("/api/v1/sinks/{name}/check", post(check).layer(text))
        .route("/api/v1/sinks/{name}/pause", post(pause))
        .route("/api/v1/sinks/{name}/resume", post(resume))
}

async fn list(State(ports): State<Ports>) -> Answer {
    let list = blocking(move || Ok(ports.sinks.list())).await?;
    super::json(list.iter().map(sink_json).collect())
}

async fn one(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    let look = move || {
        let source = ports.sinks.source(&name)?;
        let list = ports.sinks.list();
        let info = list.into_iter().find(|sink| sink.name == name);
        let info =
            info.ok_or_else(|| ControlError::NotFound(format!("there is no sink `{name}`")))?;
        Ok((info, source))
    };
    let (info, source) = blocking(look).await?;
    let mut value = sink_json(&info);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("source".into(), source.into());
    }
    super::json(value)
}

#[derive(Deserialize)]
struct ApplyQuery {
    /// For messages; the name in the path if absent.
    file: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

async fn apply(
    State(ports): State<Ports>,
    Path(name): Path<String>,
    Query(query): Query<ApplyQuery>,
    body: String,
) -> Answer {
    let file = query.file.unwrap_or_else(|| format!("{name}.toml"));
    let info = blocking(move || ports.sinks.apply(&file, &body, query.dry_run)).await?;
    super::json(sink_json(&info))
}

async fn check(
    State(ports): State<Ports>,
    Path(name): Path<String>,
    Query(query): Query<ApplyQuery>,
    body: String,
) -> Answer {
    let file = query.file.unwrap_or_else(|| format!("{name}.toml"));
    let said = blocking(move || ports.sinks.check(&file, &body)).await?;
    super::json(json!({ "said": said }))
}

async fn pause(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    let info = blocking(move || ports.sinks.pause(&name, true)).await?;
    super::json(sink_json(&info))
}

async fn resume(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    let info = blocking(move || ports.sinks.pause(&name, false)).await?;
    super::json(sink_json(&info))
}

#[derive(Deserialize)]
struct RemoveQuery {
    /// What waits is lost.
    #[serde(default)]
    discard: bool,
}

async fn remove(
    State(ports): State<Ports>,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> Answer {
    blocking(move || ports.sinks.remove(&name, query.discard)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn sink_json(info: &SinkInfo) -> Value {
    json!({
        "name": info.name, "kind": info.kind, "state": info.state, "last_error": info.last_error,
        "queued_messages": info.queued_messages, "queued_bytes": info.queued_bytes, "delivered": info.delivered,
        "retried": info.retried, "failed": info.failed, "dropped": info.dropped, "dead": info.dead, "expired": info.expired,
        "received": info.received, "held": info.held, "crowded": info.crowded, "looped": info.looped,
    })
}
