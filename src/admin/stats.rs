//! The figures of `/api/stats`.

use serde::Serialize;

/// What `/api/stats` answers.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Stats {}
