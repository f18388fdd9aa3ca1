//! One result of `doctor`, and how it is shown.

use serde::Serialize;

use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Show, table};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Ok,
    Info,
    Warning,
    Failed,
}

/// One line of the report.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    #[serde(rename = "check")]
    pub(super) name: &'static str,
    pub(super) outcome: Outcome,
    pub(super) detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
    #[serde(skip)]
    pub(super) exit: u8,
}

impl Check {
    pub(super) fn new(name: &'static str, outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { name, outcome, detail: detail.into(), hint: None, exit: exit::OK }
    }

    pub(super) fn failed(name: &'static str, failure: Failure) -> Self {
        let said: Vec<String> = [failure.error].into_iter().chain(failure.causes).collect();
        Self {
            name,
            outcome: Outcome::Failed,
            detail: said.join(": "),
            hint: failure.hint,
            exit: failure.exit,
        }
    }

    pub(super) fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }
}

impl Show for Check {
    fn lines(&self) -> Vec<String> {
        let mark = match self.outcome {
            Outcome::Ok => "ok",
            Outcome::Info => "info",
            Outcome::Warning => "warn",
            Outcome::Failed => "FAIL",
        };
        let mut lines =
            table(&[vec![format!("{mark:<4}"), format!("{:<12}", self.name), self.detail.clone()]]);
        lines.extend(self.hint.iter().map(|hint| format!("      hint: {hint}")));
        lines
    }
}
