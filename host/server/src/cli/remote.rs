//! The admin API from the command line's side.

use super::args::AdminArgs;
use super::{CliError, Exit};
use crate::secret::HTTP_ADDRESS;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Compiling a large component takes its time: one in Python ten seconds, several times that on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Where a broker is that nothing else is known of.
const USUAL_ADDRESS: &str = "http://127.0.0.1:8080";

/// A running broker.
pub(crate) struct Remote {
    base: String,
    /// The file that says so, if one does.
    said_by: Option<PathBuf>,
    token: String,
    /// The condition of every change.
    if_match: Option<String>,
    agent: ureq::Agent,
}

impl Remote {
    /// Finds the token; speaks to nobody yet.
    ///
    /// # Errors
    /// No token to be found.
    pub(crate) fn new(args: &AdminArgs) -> Result<Self, CliError> {
        let found = find(args.data_dir.as_deref());
        let (folder, token) = match (&args.token, found) {
            (Some(token), found) => (found.map(|(folder, _)| folder).ok(), token.clone()),
            (None, found) => found.map(|(folder, token)| (Some(folder), token))?,
        };
        let (base, said_by) = match (&args.admin, folder.and_then(address)) {
            (Some(named), _) => (named.clone(), None),
            (None, Some((address, file))) => (address, Some(file)),
            (None, None) => (USUAL_ADDRESS.to_owned(), None),
        };
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .build()
            .into();
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            said_by,
            token,
            if_match: None,
            agent,
        })
    }

    /// Changes are made only if this revision is there.
    pub(crate) fn only_if(mut self, revision: Option<u64>) -> Self {
        self.if_match = revision.map(|revision| format!("\"{revision}\""));
        self
    }

    /// GET, as JSON.
    ///
    /// # Errors
    /// Unreachable, or the broker's own answer.
    pub(crate) fn read(&self, path: &str) -> Result<Value, CliError> {
        let request = self
            .agent
            .get(self.url(path))
            .header("Authorization", self.bearer());
        self.finish(request.call())
    }

    /// GET, as text.
    ///
    /// # Errors
    /// As [`Remote::read`].
    pub(crate) fn read_text(&self, path: &str) -> Result<String, CliError> {
        let request = self
            .agent
            .get(self.url(path))
            .header("Authorization", self.bearer());
        self.text(request.call())
    }

    /// PUT of a body.
    ///
    /// # Errors
    /// As [`Remote::read`].
    pub(crate) fn put(
        &self,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Value, CliError> {
        let request = self
            .agent
            .put(self.url(path))
            .header("Authorization", self.bearer());
        let request = match &self.if_match {
            Some(tag) => request.header("If-Match", tag),
            None => request,
        };
        self.finish(request.content_type(content_type).send(body))
    }

    /// POST without a body.
    ///
    /// # Errors
    /// As [`Remote::read`].
    pub(crate) fn post(&self, path: &str) -> Result<Value, CliError> {
        let request = self
            .agent
            .post(self.url(path))
            .header("Authorization", self.bearer());
        let request = match &self.if_match {
            Some(tag) => request.header("If-Match", tag),
            None => request,
        };
        self.finish(request.send_empty())
    }

    /// POST of a JSON value.
    ///
    /// # Errors
    /// As [`Remote::read`].
    pub(crate) fn post_json(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        let request = self
            .agent
            .post(self.url(path))
            .header("Authorization", self.bearer());
        let request = match &self.if_match {
            Some(tag) => request.header("If-Match", tag),
            None => request,
        };
        self.finish(request.send_json(body))
    }

    /// POST of a text.
    ///
    /// # Errors
    /// As [`Remote::read`].
    pub(crate) fn post_text(&self, path: &str, body: &str) -> Result<Value, CliError> {
        let request = self
            .agent
            .post(self.url(path))
            .header("Authorization", self.bearer());
        let request = match &self.if_match {
            Some(tag) => request.header("If-Match", tag),
            None => request,
        };
        self.finish(request.content_type("text/plain").send(body))
    }

    /// DELETE.
    ///
    /// # Errors
    /// As [`Remote::read`].
    pub(crate) fn delete(&self, path: &str) -> Result<Value, CliError> {
        let request = self
            .agent
            .delete(self.url(path))
            .header("Authorization", self.bearer());
        let request = match &self.if_match {
            Some(tag) => request.header("If-Match", tag),
            None => request,
        };
        self.finish(request.call())
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.base)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    fn finish(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value, CliError> {
        let text = self.text(answer)?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn text(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<String, CliError> {
        let mut response = answer.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let text = response
            .body_mut()
            .read_to_string()
            .map_err(|error| CliError::failed(format!("the broker's answer broke off: {error}")))?;
        if status.is_success() {
            return Ok(text);
        }
        Err(refusal(status.as_u16(), &text))
    }
}

impl Remote {
    fn unreachable(&self, error: &ureq::Error) -> CliError {
        let base = &self.base;
        let (text, hint) = match &self.said_by {
            Some(file) => (
                format!(
                    "no broker answers at {base}, where {} says it is: {error}",
                    file.display()
                ),
                "the broker that wrote this ended, or was started elsewhere: start it again with `witmq dev` or \
                 `witmq serve`, or name another with --admin URL",
            ),
            None => (
                format!("no broker answers at {base}: {error}"),
                "start one with `witmq dev` or `witmq serve`, or name another with --admin URL",
            ),
        };
        CliError::new(Exit::Unreachable, text).hint(hint)
    }
}

/// The broker's problem+json as an error.
fn refusal(status: u16, text: &str) -> CliError {
    let problem: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    let exit = match status {
        404 => Exit::NotFound,
        400..=499 => Exit::Refused,
        _ => Exit::Failed,
    };
    let detail = problem.get("detail").and_then(Value::as_str);
    let error = CliError::new(
        exit,
        detail.map_or_else(
            || format!("the broker answered {status}: {text}"),
            str::to_owned,
        ),
    );
    match problem.get("hint").and_then(Value::as_str) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// A name as one segment of a path or a value of a query.
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(b).to_string()
            }
            _ => format!("%{b:02X}"),
        })
        .collect()
}

/// The folder named or the first of the usual folders that has a token, and the token.
fn find(data_dir: Option<&Path>) -> Result<(PathBuf, String), CliError> {
    let folders: Vec<PathBuf> = match data_dir {
        Some(dir) => vec![dir.to_owned()],
        None => vec![
            ".witmq".into(),
            "witmq-data".into(),
            "/var/lib/witmq".into(),
        ],
    };
    for folder in &folders {
        if let Ok(text) = std::fs::read_to_string(folder.join("admin.token")) {
            return Ok((folder.clone(), text.trim().to_owned()));
        }
    }
    let looked: Vec<String> = folders
        .iter()
        .map(|f| f.join("admin.token").display().to_string())
        .collect();
    Err(CliError::new(
        Exit::Usage,
        format!("no admin token: {} cannot be read", looked.join(", ")),
    )
    .hint("run this where `witmq dev` runs, or give --data-dir, --token or WITMQ_TOKEN"))
}

/// What the broker of this folder wrote of its address, and where.
fn address(folder: PathBuf) -> Option<(String, PathBuf)> {
    let file = folder.join(HTTP_ADDRESS);
    let text = std::fs::read_to_string(&file).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| (text.to_owned(), file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(folder: &Path) -> AdminArgs {
        AdminArgs {
            admin: None,
            token: None,
            data_dir: Some(folder.to_owned()),
        }
    }

    #[test]
    fn the_address_is_that_named_or_of_the_data_folder_or_the_usual_one() {
        let folder = tempfile::tempdir().expect("temp dir");
        let none = Remote::new(&args(folder.path())).err().expect("no token");
        assert!(none.message.contains("admin.token"), "{}", none.message);
        let with_token = AdminArgs {
            token: Some("t".to_owned()),
            ..args(folder.path())
        };
        let base = |args: &AdminArgs| Remote::new(args).expect("token").base;
        assert_eq!(base(&with_token), USUAL_ADDRESS);
        std::fs::write(folder.path().join("admin.token"), "secret\n").expect("write");
        assert_eq!(base(&args(folder.path())), USUAL_ADDRESS);
        let file = folder.path().join(HTTP_ADDRESS);
        std::fs::write(&file, "http://127.0.0.1:1\n").expect("write");
        assert_eq!(base(&args(folder.path())), "http://127.0.0.1:1");
        assert_eq!(base(&with_token), "http://127.0.0.1:1");
        let named = AdminArgs {
            admin: Some("http://[::1]:2/".to_owned()),
            ..args(folder.path())
        };
        assert_eq!(base(&named), "http://[::1]:2");

        let found = Remote::new(&args(folder.path())).expect("token");
        let said = found.unreachable(&ureq::Error::ConnectionFailed);
        let place = file.display().to_string();
        assert!(said.message.contains(&place), "{}", said.message);
        let named = Remote::new(&named).expect("token");
        let said = named.unreachable(&ureq::Error::ConnectionFailed);
        assert!(!said.message.contains(&place), "{}", said.message);
    }

    #[test]
    fn a_problem_becomes_an_error_with_its_hint_and_exit_code() {
        let error = refusal(422, r#"{"detail":"a.toml:3:7: bad","hint":"fix it"}"#);
        assert_eq!(
            (error.exit, error.message.as_str()),
            (Exit::Refused, "a.toml:3:7: bad")
        );
        assert_eq!(error.hint.as_deref(), Some("fix it"));
        assert_eq!(refusal(404, "{}").exit, Exit::NotFound);
        assert_eq!(refusal(500, "oops").exit, Exit::Failed);
    }

    #[test]
    fn names_are_escaped_in_urls() {
        assert_eq!(encode("a b/ü"), "a%20b%2F%C3%BC");
    }
}
