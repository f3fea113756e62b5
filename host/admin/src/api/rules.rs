//! Chains by HTTP: deploy, roll back, pause, remove; what runs, what it says and what happened to it.

use super::{Answer, MAX_TEXT_BYTES, blocking};
use crate::Ports;
use crate::problem::Problem;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use witmq_broker::ports::ControlError;
use witmq_broker::ports::control::{
    ChainFile, DeployOptions, Deployment, Expected, RuleChange, RuleInfo, StepInfo, TrialInfo,
    TrialKind,
};

/// Largest folder of chains taken at once.
const MAX_FOLDER_BYTES: usize = 16 * 1024 * 1024;

pub(super) fn routes() -> Router<Ports> {
    let text = DefaultBodyLimit::max(MAX_TEXT_BYTES);
    let folder = DefaultBodyLimit::max(MAX_FOLDER_BYTES);
    Router::new()
        .route("/api/v1/rules", get(list).post(deploy).layer(folder))
        .route(
            "/api/v1/rules/{name}",
            get(one).put(apply).delete(remove).layer(text),
        )
        .route("/api/v1/recordings", post(record))
        .route(
            "/api/v1/recordings/{id}",
            get(recorded).delete(end_recording),
        )
        .route("/api/v1/rules/{name}/source", get(source))
        .route("/api/v1/rules/{name}/history", get(history))
        .route("/api/v1/rules/{name}/tap", get(tap))
        .route("/api/v1/rules/{name}/misses", get(misses))
        .route("/api/v1/rules/{name}/rollback", post(rollback))
        .route("/api/v1/rules/{name}/promote", post(promote))
        .route("/api/v1/rules/{name}/pause", post(pause))
        .route("/api/v1/rules/{name}/resume", post(resume))
}

/// `If-Match: "REVISION"` or `*`, or `If-None-Match: *`.
fn expected(headers: &HeaderMap) -> Result<Option<Expected>, Problem> {
    let value = |name: HeaderName| {
        let value = headers.get(name)?;
        Some(value.to_str().unwrap_or_default().trim().to_owned())
    };
    let tag = match (value(header::IF_MATCH), value(header::IF_NONE_MATCH)) {
        (None, None) => return Ok(None),
        (None, Some(any)) if any == "*" => return Ok(Some(Expected::Absent)),
        (Some(any), None) if any == "*" => return Ok(Some(Expected::Any)),
        (Some(tag), None) => tag,
        (_, Some(tag)) => tag,
    };
    let number = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    match (number.and_then(|number| number.parse().ok()), headers.contains_key(header::IF_MATCH)) {
        (Some(revision), true) => Ok(Some(Expected::Revision(revision))),
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-etag",
            format!("`{tag}` is no condition"),
        )
        .hint("give the ETag of `GET /api/v1/rules/NAME` as If-Match, e.g. \"7\", or If-None-Match: * for a new chain")),
    }
}

/// 412 with what to do about it.
fn changed(error: ControlError, name: &str) -> ControlError {
    match error {
        ControlError::Changed(text) => ControlError::Changed(format!(
            "{text}; look at `witmq rule get {name}` and `rule diff`, then send the ETag of what you have seen"
        )),
        other => other,
    }
}

fn tag(revision: u64) -> [(HeaderName, HeaderValue); 1] {
    let tag = HeaderValue::from_str(&format!("\"{revision}\""));
    [(
        header::ETAG,
        tag.unwrap_or_else(|_| HeaderValue::from_static("*")),
    )]
}

fn tagged(revision: u64, body: Value) -> Answer {
    Ok((tag(revision), Json(body)).into_response())
}

async fn list(State(ports): State<Ports>) -> Answer {
    let list = blocking(move || Ok(ports.rules.list())).await?;
    super::json(list.iter().map(rule_json).collect())
}

async fn one(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    let info = blocking(move || ports.rules.info(&name)).await?;
    tagged(info.revision, rule_json(&info))
}

#[derive(Deserialize)]
struct DeployQuery {
    /// For messages; the name in the path if absent.
    file: Option<String>,
    /// What a roll back goes to, or what is to be promoted.
    revision: Option<u64>,
    /// Beside what runs, for a share of the clients: `5%`.
    canary: Option<String>,
    /// Beside what runs, compared and not applied.
    #[serde(default)]
    shadow: bool,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    wait: bool,
}

/// What a share is.
const SHARES: &str =
    "write 0.01% to 100%, with at most two digits behind the point (`%25` in a URL)";

impl DeployQuery {
    fn options(&self, expected: Option<Expected>) -> Result<DeployOptions, Problem> {
        let wrong = |code, text: String, hint| {
            Err(Problem::new(StatusCode::BAD_REQUEST, code, text).hint(hint))
        };
        let trial = match (&self.canary, self.shadow) {
            (None, false) => None,
            (None, true) => Some(TrialKind::Shadow),
            (Some(_), true) => {
                let text = "a revision is a canary or a shadow, not both".to_owned();
                return wrong("bad-share", text, "give canary=5% or shadow=true");
            }
            (Some(share), false) => match TrialKind::canary(share) {
                Some(canary) => Some(canary),
                None => {
                    let text = format!("`{share}` is no share of clients");
                    return wrong("bad-share", text, SHARES);
                }
            },
        };
        Ok(DeployOptions {
            is_dry_run: self.dry_run,
            expected,
            waits: self.wait,
            trial,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilesBody {
    files: Vec<FileBody>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileBody {
    file: String,
    source: String,
}

async fn deploy(
    State(ports): State<Ports>,
    Query(query): Query<DeployQuery>,
    headers: HeaderMap,
    Json(body): Json<FilesBody>,
) -> Answer {
    let files = body.files.into_iter().map(|file| ChainFile {
        file: file.file,
        source: file.source,
    });
    let files: Vec<ChainFile> = files.collect();
    let expected = expected(&headers)?;
    if expected.is_some() && files.len() != 1 {
        let text = format!(
            "a condition is about one chain, these are {} files",
            files.len()
        );
        let problem = Problem::new(StatusCode::BAD_REQUEST, "bad-etag", text);
        return Err(problem.hint("deploy the chain alone"));
    }
    let options = query.options(expected)?;
    let name = files
        .first()
        .map(|file| file.file.clone())
        .unwrap_or_default();
    let stem = std::path::Path::new(&name).file_stem().unwrap_or_default();
    let name = stem.to_string_lossy().into_owned();
    let deployed = move || {
        let deployed = ports.rules.deploy(&files, &options);
        let deployed = deployed.map_err(|error| changed(error, &name))?;
        let rules = deployed
            .rules
            .iter()
            .map(|info| deployed_json(&ports, info));
        Ok(json!({
            "rules": rules.collect::<Vec<_>>(),
            "unchanged": deployed.unchanged,
            "behind": deployed.behind,
        }))
    };
    super::json(blocking(deployed).await?)
}

async fn apply(
    State(ports): State<Ports>,
    Path(name): Path<String>,
    Query(query): Query<DeployQuery>,
    headers: HeaderMap,
    source: String,
) -> Answer {
    let options = query.options(expected(&headers)?)?;
    let file = query.file.unwrap_or_else(|| format!("{name}.toml"));
    let stem = std::path::Path::new(&file).file_stem();
    if stem.and_then(|stem| stem.to_str()) != Some(&name) {
        let text = format!("the path names chain `{name}`, the file is {file}");
        let problem = Problem::new(StatusCode::BAD_REQUEST, "name-differs", text);
        return Err(problem.hint("a chain's name is its file's stem"));
    }
    let files = [ChainFile { file, source }];
    let deployed = move || {
        let deployed = ports.rules.deploy(&files, &options);
        single(&ports, &deployed.map_err(|error| changed(error, &name))?)
    };
    let (revision, body) = blocking(deployed).await?;
    tagged(revision, body)
}

/// The revision that runs, and the answer about one chain.
fn single(ports: &Ports, deployment: &Deployment) -> Result<(u64, Value), ControlError> {
    let Some(info) = deployment.rules.first() else {
        let text = "nothing was deployed".to_owned();
        return Err(ControlError::Internal(text));
    };
    let mut body = deployed_json(ports, info);
    if let Some(fields) = body.as_object_mut() {
        fields.insert(
            "unchanged".to_owned(),
            (!deployment.unchanged.is_empty()).into(),
        );
        fields.insert("behind".to_owned(), json!(deployment.behind));
    }
    Ok((info.revision, body))
}

/// A chain, and what its steps call that is not there: it may come later, until then they fail.
fn deployed_json(ports: &Ports, info: &RuleInfo) -> Value {
    let mut body = rule_json(info);
    let trial = info.trial.iter().flat_map(|trial| &trial.rule.steps);
    let called = info.steps.iter().chain(trial);
    let mut absent: BTreeSet<&str> = called.filter_map(|step| step.plugin.as_deref()).collect();
    if !absent.is_empty() {
        let (plugins, sinks) = (ports.plugins.list(), ports.sinks.list());
        let there = plugins.iter().map(|plugin| &*plugin.name);
        for name in there.chain(sinks.iter().map(|sink| &*sink.name)) {
            absent.remove(name);
        }
    }
    if let Some(fields) = body.as_object_mut() {
        fields.insert("absent".to_owned(), json!(absent));
    }
    body
}

async fn remove(
    State(ports): State<Ports>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let expected = expected(&headers)?;
    let removed = move || {
        let removed = ports.rules.remove_expected(&name, expected);
        removed.map_err(|error| changed(error, &name))
    };
    blocking(removed).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
struct SourceQuery {
    /// The one that runs, if absent.
    revision: Option<u64>,
}

async fn source(
    State(ports): State<Ports>,
    Path(name): Path<String>,
    Query(query): Query<SourceQuery>,
) -> Answer {
    let read = move || {
        let revision = match query.revision {
            Some(revision) => revision,
            None => ports.rules.info(&name)?.revision,
        };
        Ok((revision, ports.rules.source(&name, Some(revision))?))
    };
    let (revision, text) = blocking(read).await?;
    let kind = [(header::CONTENT_TYPE, "application/toml; charset=utf-8")];
    Ok((tag(revision), kind, text).into_response())
}

async fn history(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    let changes = blocking(move || ports.rules.history(&name)).await?;
    super::json(changes.iter().map(change_json).collect())
}

#[derive(Deserialize)]
struct TapQuery {
    /// Number of the last trace seen; only what comes from now on, if absent.
    after: Option<u64>,
}

/// JSON that is there as text already.
fn ready(text: String) -> Answer {
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

async fn tap(
    State(ports): State<Ports>,
    Path(name): Path<String>,
    Query(query): Query<TapQuery>,
) -> Answer {
    ready(blocking(move || ports.rules.tap(&name, query.after)).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordBody {
    filter: String,
    for_ms: u64,
    messages: usize,
}

async fn record(State(ports): State<Ports>, Json(body): Json<RecordBody>) -> Answer {
    let begun = move || (ports.rules).record(&body.filter, body.for_ms, body.messages);
    ready(blocking(begun).await?)
}

async fn recorded(
    State(ports): State<Ports>,
    Path(id): Path<u64>,
    Query(query): Query<TapQuery>,
) -> Answer {
    ready(blocking(move || ports.rules.recorded(id, query.after.unwrap_or(0))).await?)
}

async fn end_recording(State(ports): State<Ports>, Path(id): Path<u64>) -> Answer {
    blocking(move || ports.rules.end_recording(id)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn misses(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    ready(blocking(move || ports.rules.misses(&name)).await?)
}

async fn rollback(
    State(ports): State<Ports>,
    Path(name): Path<String>,
    Query(query): Query<DeployQuery>,
    headers: HeaderMap,
) -> Answer {
    let options = query.options(expected(&headers)?)?;
    let back = move || {
        let back = ports.rules.rollback(&name, query.revision, &options);
        single(&ports, &back.map_err(|error| changed(error, &name))?)
    };
    let (revision, body) = blocking(back).await?;
    tagged(revision, body)
}

async fn promote(
    State(ports): State<Ports>,
    Path(name): Path<String>,
    Query(query): Query<DeployQuery>,
    headers: HeaderMap,
) -> Answer {
    let options = query.options(expected(&headers)?)?;
    let promoted = move || {
        let promoted = ports.rules.promote(&name, query.revision, &options);
        single(&ports, &promoted.map_err(|error| changed(error, &name))?)
    };
    let (revision, body) = blocking(promoted).await?;
    tagged(revision, body)
}

async fn pause(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    let info = blocking(move || ports.rules.set_paused(&name, true)).await?;
    tagged(info.revision, rule_json(&info))
}

async fn resume(State(ports): State<Ports>, Path(name): Path<String>) -> Answer {
    let info = blocking(move || ports.rules.set_paused(&name, false)).await?;
    tagged(info.revision, rule_json(&info))
}

fn rule_json(info: &RuleInfo) -> Value {
    json!({
        "name": info.name, "mode": info.mode, "from": info.from, "revision": info.revision, "order": info.order,
        "state": info.state,
        "matched": info.matched, "filtered": info.filtered, "failed": info.failed, "limited": info.limited,
        "evicted": info.evicted, "rests": info.rests, "rested": info.rested,
        "resting": info.resting.as_ref().map(|(until_ms, why)| json!({ "until_ms": until_ms, "why": why })),
        "state_entries": info.state_entries, "state_bytes": info.state_bytes, "last_error": info.last_error,
        "steps": info.steps.iter().map(step_json).collect::<Vec<_>>(),
        "trial": info.trial.as_ref().map(trial_json),
    })
}

fn trial_json(trial: &TrialInfo) -> Value {
    json!({
        "kind": trial.kind, "percent": trial.percent, "began_ms": trial.began_ms, "same": trial.same,
        "different": trial.different, "failed_alone": trial.failed_alone, "differences": trial.differences,
        "rule": rule_json(&trial.rule),
    })
}

fn step_json(step: &StepInfo) -> Value {
    let [p50, p99] = step.quantiles_us;
    let errors = step.errors.iter();
    json!({
        "index": step.index, "chain": step.chain, "kind": step.kind, "plugin": step.plugin, "next": step.next, "then": step.then,
        "passed": step.passed, "ended": step.ended, "failed": step.failed, "p50_us": p50, "p99_us": p99,
        "errors": errors.map(|(kind, n)| (kind.clone(), json!(n))).collect::<Map<_, _>>(), "last_error": step.last_error,
    })
}

fn change_json(change: &RuleChange) -> Value {
    json!({
        "at_ms": change.at_ms, "what": change.what, "revision": change.revision, "kept": change.is_kept, "text": change.text,
    })
}
