//! Plugins by HTTP: install, configure, grant, enable, roll back, remove; what they are, did and logged.

use super::{Answer, MAX_TEXT_BYTES, blocking};
use crate::Ports;
use crate::problem::Problem;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use witmq_broker::ports::control::{
    HookInfo, InstallOptions, PluginChange, PluginGrants, PluginInfo, PluginLine, PluginVersion,
    ShadowInfo,
};

/// Largest component taken (Python components reach 40 MiB).
const MAX_COMPONENT_BYTES: usize = 64 * 1024 * 1024;

pub(super) fn routes() -> Router<Ports> {
    let component = DefaultBodyLimit::max(MAX_COMPONENT_BYTES);
    let text = DefaultBodyLimit::max(MAX_TEXT_BYTES);
    Router::new()
        .route("/api/v1/plugins", get(list))
        .route(
            "/api/v1/plugins/{name}",
            put(install).layer(component).get(one).delete(uninstall),
        )
        .route(
            "/api/v1/plugins/{name}/config",
            get(config).put(configure).layer(text),
        )
        .route("/api/v1/plugins/{name}/shadow", delete(end_shadow))
        .route("/api/v1/plugins/{name}/rollback", post(rollback))
        .route("/api/v1/plugins/{name}/enable", post(enable))
        .route("/api/v1/plugins/{name}/disable", post(disable))
        .route(
            "/api/v1/plugins/{name}/grants",
            get(grants).post(change_grants).layer(text),
        )
        .route("/api/v1/plugins/{name}/history", get(history))
        .route("/api/v1/plugins/{name}/log", get(log))
}

async fn list(State(ports): State<Ports>) -> Answer {
    let list = blocking(move || Ok(ports.plugins.list())).await?;
    super::json(list.iter().map(plugin_json).collect())
}

async fn one(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    let wanted = name.clone();
    let list = blocking(move || Ok(ports.plugins.list())).await?;
    match list.iter().find(|plugin| plugin.name == wanted) {
        Some(plugin) => super::json(plugin_json(plugin)),
        None => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "not-found",
            format!("no plugin `{name}` is installed"),
        )
        .hint("`witmq plugin ls` shows what is")),
    }
}

#[derive(Deserialize)]
struct InstallQuery {
    /// JSON text; absent keeps the present configuration.
    config: Option<String>,
    /// Capabilities to grant with it, separated by spaces.
    #[serde(default)]
    grants: String,
    #[serde(default)]
    disabled: bool,
    /// Where it came from, for people.
    origin: Option<String>,
    /// Ed25519 signature over the component, base64.
    signature: Option<String>,
    /// It does not serve, it is compared with what does.
    #[serde(default)]
    shadow: bool,
}

async fn install(
    State(ports): State<Ports>,
    Path(name): Path<String>,
    Query(query): Query<InstallQuery>,
    body: Bytes,
) -> Answer {
    let signature = query
        .signature
        .map(|text| STANDARD.decode(text))
        .transpose();
    let signature = signature.map_err(|error| {
        let text = format!("`signature` is no base64: {error}");
        Problem::new(StatusCode::BAD_REQUEST, "bad-signature", text)
    })?;
    let options = InstallOptions {
        origin: query.origin,
        signature,
        is_bundled: false,
        config: query.config,
        grants: query.grants.split_whitespace().map(str::to_owned).collect(),
        is_disabled: query.disabled,
        is_shadow: query.shadow,
    };
    let info = blocking(move || ports.plugins.install(&name, body.to_vec(), options)).await?;
    super::json(plugin_json(&info))
}

async fn uninstall(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    blocking(move || ports.plugins.remove(&name)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn config(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    let text = blocking(move || ports.plugins.config(&name)).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

async fn configure(State(ports): State<Ports>, Path(name): Path<String>, body: String) -> Answer {
    let info = blocking(move || ports.plugins.configure(&name, body)).await?;
    super::json(plugin_json(&info))
}

async fn end_shadow(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    let info = blocking(move || ports.plugins.end_shadow(&name)).await?;
    super::json(plugin_json(&info))
}

#[derive(Deserialize)]
struct RollbackQuery {
    version: Option<u64>,
}

async fn rollback(
    State(ports): State<Ports>,
    Path(name): Path<String>,
    Query(query): Query<RollbackQuery>,
) -> Answer {
    let info = blocking(move || ports.plugins.rollback(&name, query.version)).await?;
    super::json(plugin_json(&info))
}

async fn enable(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    let info = blocking(move || ports.plugins.set_enabled(&name, true)).await?;
    super::json(plugin_json(&info))
}

async fn disable(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    let info = blocking(move || ports.plugins.set_enabled(&name, false)).await?;
    super::json(plugin_json(&info))
}

async fn grants(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    let grants = blocking(move || ports.plugins.grants(&name)).await?;
    super::json(grants_json(&grants))
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct GrantsBody {
    add: Vec<String>,
    remove: Vec<String>,
}

async fn change_grants(
    State(ports): State<Ports>,
    Path(name): Path<String>,
    Json(body): Json<GrantsBody>,
) -> Answer {
    let change = move || ports.plugins.change_grants(&name, &body.add, &body.remove);
    super::json(grants_json(&blocking(change).await?))
}

async fn history(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    let changes = blocking(move || ports.plugins.history(&name)).await?;
    super::json(changes.iter().map(change_json).collect())
}

#[derive(Deserialize)]
struct LogQuery {
    /// Number of the last line seen.
    #[serde(default)]
    after: u64,
}

async fn log(
    State(ports): State<Ports>,
    Path(name): Path<String>,
    Query(query): Query<LogQuery>,
) -> Answer {
    let lines = blocking(move || ports.plugins.log(&name, query.after)).await?;
    super::json(lines.iter().map(line_json).collect())
}

fn version_json(version: &PluginVersion) -> Value {
    json!({ "version": version.version, "digest": version.digest, "installed_ms": version.installed_ms, "origin": version.origin })
}

fn plugin_json(info: &PluginInfo) -> Value {
    let [about_name, about_version, about_text] = &info.about;
    let schema = info
        .schema
        .as_ref()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    let failures = info.failures.iter();
    let numbers = info.numbers.iter();
    let [p50, p99] = info.quantiles_us;
    json!({
        "name": info.name,
        "active": version_json(&info.active),
        "versions": info.versions.iter().map(version_json).collect::<Vec<_>>(),
        "about": { "name": about_name, "version": about_version, "description": about_text },
        "hooks": info.hooks,
        "capabilities": info.capabilities,
        "schema": schema,
        "effectful": info.is_effectful,
        "state": info.state,
        "proving": info.is_proving,
        "calls": info.calls,
        "failures": failures.map(|(kind, n)| ((*kind).to_owned(), json!(n))).collect::<Map<_, _>>(),
        "limited": info.limited.iter().map(|(limit, n)| ((*limit).to_owned(), json!(n))).collect::<Map<_, _>>(),
        "last_error": info.last_error,
        "mean_us": info.mean_us,
        "p50_us": p50,
        "p99_us": p99,
        "memory_bytes": info.memory_bytes,
        "restarts": info.restarts,
        "shard_share": info.shard_share,
        "by_hook": info.by_hook.iter().map(|hook| (hook.hook.to_owned(), hook_json(hook))).collect::<Map<_, _>>(),
        "shadow": info.shadow.as_ref().map(shadow_json),
        "numbers": numbers.map(|(name, value)| (name.clone(), json!(value))).collect::<Map<_, _>>(),
    })
}

fn hook_json(hook: &HookInfo) -> Value {
    let [p50, p99] = hook.quantiles_us;
    let outcomes = hook.outcomes.iter();
    json!({
        "calls": hook.calls,
        "seconds": hook.seconds,
        "p50_us": p50,
        "p99_us": p99,
        "outcomes": outcomes.map(|(name, count)| ((*name).to_owned(), json!(count))).collect::<Map<_, _>>(),
    })
}

fn shadow_json(shadow: &ShadowInfo) -> Value {
    let [p50, p99] = shadow.quantiles_us;
    json!({
        "digest": shadow.digest,
        "version": shadow.version,
        "began_ms": shadow.began_ms,
        "over": shadow.is_over,
        "same": shadow.same,
        "different": shadow.different,
        "failed": shadow.failed,
        "p50_us": p50,
        "p99_us": p99,
        "last_error": shadow.last_error,
        "differences": shadow.differences,
    })
}

fn grants_json(grants: &PluginGrants) -> Value {
    let asked = grants.asked.iter();
    json!({
        "asked": asked
            .map(|(text, is_granted)| json!({ "capability": text, "granted": is_granted }))
            .collect::<Vec<_>>(),
        "configured": grants.configured,
        "approved": grants.approved,
    })
}

fn change_json(change: &PluginChange) -> Value {
    json!({ "at_ms": change.at_ms, "what": change.what, "version": change.version, "text": change.text })
}

fn line_json(line: &PluginLine) -> Value {
    json!({ "number": line.number, "at_ms": line.at_ms, "level": line.level, "text": line.text })
}
