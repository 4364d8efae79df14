//! Which request gets what.

use serde::Serialize;

use crate::metrics::Family;
use crate::metrics::text::{Format, render};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The figures.
    Metrics(Format),
    /// Whether the process is alive.
    Health,
    /// Whether it can do its work.
    Readiness,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The status of HTTP.
    pub status: u16,
    /// What the body is.
    pub content_type: &'static str,
    /// What `Allow` says, where it must.
    pub allow: Option<&'static str>,
    /// The body.
    pub body: String,
}

/// What of a request matters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    /// Without the query, which nothing here looks at.
    pub(super) path: &'a str,
    /// The `Accept` header; empty for none.
    pub(super) accept: &'a str,
    pub(super) has_body: bool,
}

impl Asked<'_> {
    /// What it asks for, or the answer that refuses it.
    pub(super) fn target(self) -> Result<Target, Page> {
        let target = match self.path {
            "/metrics" => Target::Metrics(Format::of_accept(self.accept)),
            "/healthz" => Target::Health,
            "/readyz" => Target::Readiness,
            _ => return Err(Page::text(404, "there are /metrics, /healthz and /readyz")),
        };
        if !matches!(self.method, "GET" | "HEAD") {
            let page = Page::text(405, "this is only read: GET or HEAD");
            return Err(Page { allow: Some("GET, HEAD"), ..page });
        }
        if self.has_body {
            return Err(Page::text(413, "no body is taken"));
        }
        Ok(target)
    }
}

impl Page {
    fn text(status: u16, line: &str) -> Self {
        let content_type = "text/plain; charset=utf-8";
        Self { status, content_type, allow: None, body: format!("{line}\n") }
    }

    /// The process answers, so it is alive.
    pub(super) fn alive() -> Self {
        Self::text(200, "alive")
    }

    /// The figures.
    pub(super) fn metrics(families: &[Family], format: Format) -> Self {
        let (content_type, body) = (format.content_type(), render(families, format));
        Self { status: 200, content_type, allow: None, body }
    }

    /// There are no figures to be had.
    pub(super) fn no_metrics() -> Self {
        Self::text(503, "the figures cannot be gathered; the daemon stops, or its log says why")
    }

    /// Ready, or why not: `{"ready":false,"reasons":["…"]}`.
    #[must_use]
    pub fn readiness(reasons: &[String]) -> Self {
        #[derive(Serialize)]
        struct Readiness<'a> {
            ready: bool,
            reasons: &'a [String],
        }
        let readiness = Readiness { ready: reasons.is_empty(), reasons };
        let status = if readiness.ready { 200 } else { 503 };
        // Texts always become JSON.
        let body = serde_json::to_string(&readiness).unwrap_or_default() + "\n";
        Self { status, content_type: "application/json", allow: None, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_gets_its_page_or_its_refusal() {
        let open = "application/openmetrics-text";
        #[rustfmt::skip]
        let cases = [
            ("GET", "/metrics", "", false, Ok(Target::Metrics(Format::Prometheus))),
            ("GET", "/metrics", open, false, Ok(Target::Metrics(Format::OpenMetrics))),
            ("HEAD", "/healthz", "", false, Ok(Target::Health)),
            ("GET", "/readyz", open, false, Ok(Target::Readiness)),
            ("POST", "/metrics", "", true, Err(405)),
            ("get", "/metrics", "", false, Err(405)),
            ("GET", "/metrics", "", true, Err(413)),
            ("GET", "/", "", false, Err(404)),
            ("GET", "/metrics/", "", false, Err(404)),
            ("DELETE", "/keys", "", true, Err(404)),
        ];
        for (method, path, accept, has_body, expected) in cases {
            let target = Asked { method, path, accept, has_body }.target();
            assert_eq!(target.map_err(|page| page.status), expected, "{method} {path}");
        }
        let refused = Asked { method: "PUT", path: "/healthz", accept: "", has_body: false };
        assert_eq!(refused.target().expect_err("refused").allow, Some("GET, HEAD"));
    }

    #[test]
    fn readiness_says_why_not() {
        let ready = Page::readiness(&[]);
        assert_eq!((ready.status, ready.body.as_str()), (200, "{\"ready\":true,\"reasons\":[]}\n"));
        let not = Page::readiness(&["the \"disk\"".to_owned()]);
        assert_eq!(not.status, 503);
        assert_eq!(not.body, "{\"ready\":false,\"reasons\":[\"the \\\"disk\\\"\"]}\n");
    }
}
