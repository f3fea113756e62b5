//! Errors of the API as problem+json (RFC 9457) with a `code` and a `hint`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use witmq_broker::ports::ControlError;

/// An answer that says what went wrong and what to do.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: String,
    detail: String,
    hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            detail: detail.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Invalid {
                code,
                message,
                hint,
            } => Self {
                status: StatusCode::UNPROCESSABLE_ENTITY,
                code: code.into(),
                detail: message,
                hint,
            },
            ControlError::NotFound(text) => Self::new(StatusCode::NOT_FOUND, "not-found", text),
            ControlError::Changed(text) => {
                let problem = Self::new(StatusCode::PRECONDITION_FAILED, "changed", text);
                problem.hint("somebody changed it meanwhile: read it again and decide anew")
            }
            ControlError::LimitReached(text) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "limit-reached", text)
            }
            ControlError::Internal(text) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", text)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
            "hint": self.hint,
        });
        let mut response = (self.status, body.to_string()).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
