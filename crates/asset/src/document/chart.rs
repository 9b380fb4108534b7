//! Charts.

use uuid::Uuid;

use crate::Object;

/// A chart: a row of `slices`.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Not unique.
    pub slice_name: String,
    /// Default: `None`.
    pub description: Option<String>,
    /// Default: `None`.
    pub certified_by: Option<String>,
    /// Default: `None`.
    pub certification_details: Option<String>,
    /// The visualisation, never one of those that Superset itself would migrate on import.
    pub viz_type: String,
    /// The form data; JSON in a text column. Default: `None`.
    pub params: Option<Object>,
    /// JSON text, kept as it was written. Default: `None`.
    pub query_context: Option<String>,
    /// Seconds. Default: `None`.
    pub cache_timeout: Option<i64>,
    /// The identity.
    pub uuid: Uuid,
    /// The dataset that is drawn.
    pub dataset_uuid: Uuid,
    /// Default: false.
    pub is_managed_externally: bool,
    /// Default: `None`.
    pub external_url: Option<String>,
    /// Names of tags; exports have them only under TAGGING_SYSTEM. Default: none.
    pub tags: Vec<String>,
}
