//! `/api/v1/tables`: what chains look up and store.

use super::{Answer, MAX_PAGE, MAX_TEXT_BYTES, PAGE, PageQuery, blocking, json};
use crate::Ports;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Map, Value, json as value};

pub(super) fn routes() -> Router<Ports> {
    let text = DefaultBodyLimit::max(MAX_TEXT_BYTES);
    Router::new()
        .route("/api/v1/tables", get(list))
        .route(
            "/api/v1/tables/{table}",
            get(entries).post(load).delete(clear).layer(text),
        )
        .route(
            "/api/v1/tables/{table}/{*key}",
            get(find).put(put).delete(remove).layer(text),
        )
}

async fn list(State(ports): State<Ports>) -> Answer {
    let list = blocking(move || Ok(ports.tables.list())).await?;
    let one = |info: &witmq_broker::ports::TableInfo| value!({ "name": info.name, "keys": info.keys, "bytes": info.bytes });
    json(list.iter().map(one).collect())
}

async fn entries(
    State(ports): State<Ports>,
    Path(table): Path<String>,
    Query(query): Query<PageQuery>,
) -> Answer {
    let limit = query.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let read = move || ports.tables.entries(&table, query.after.as_deref(), limit);
    let found = blocking(read).await?;
    // A full page may be the last one; the next is empty then.
    let next = found.last().filter(|_| found.len() == limit);
    let next = next.map(|(key, _)| key.clone());
    let entry = |(key, text): (String, String)| {
        (
            key,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    };
    let entries: Map<String, Value> = found.into_iter().map(entry).collect();
    json(value!({ "entries": entries, "next": next }))
}

async fn load(
    State(ports): State<Ports>,
    Path(table): Path<String>,
    Json(entries): Json<Map<String, Value>>,
) -> Answer {
    let entries: Vec<(String, String)> = (entries.into_iter())
        .map(|(key, value)| (key, value.to_string()))
        .collect();
    let loaded = blocking(move || ports.tables.load(&table, &entries)).await?;
    json(value!({ "loaded": loaded }))
}

async fn clear(State(ports): State<Ports>, Path(table): Path<String>) -> Answer {
    let removed = blocking(move || ports.tables.remove(&table, None)).await?;
    json(value!({ "removed": removed }))
}

async fn find(State(ports): State<Ports>, Path((table, key)): Path<(String, String)>) -> Answer {
    let text = blocking(move || ports.tables.find(&table, &key)).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

async fn put(
    State(ports): State<Ports>,
    Path((table, key)): Path<(String, String)>,
    body: String,
) -> Answer {
    blocking(move || ports.tables.put(&table, &key, &body)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn remove(State(ports): State<Ports>, Path((table, key)): Path<(String, String)>) -> Answer {
    blocking(move || ports.tables.remove(&table, Some(&key))).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
