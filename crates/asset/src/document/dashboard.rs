//! Dashboards.

use uuid::Uuid;

use crate::Object;

/// A dashboard: a row of `dashboards`, whose charts follow from `position`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dashboard {
    /// Not unique.
    pub dashboard_title: String,
    /// Default: `None`.
    pub description: Option<String>,
    /// Default: `None`.
    pub css: Option<String>,
    /// Unique within a Superset. Default: `None`.
    pub slug: Option<String>,
    /// Default: `None`.
    pub certified_by: Option<String>,
    /// Default: `None`.
    pub certification_details: Option<String>,
    /// Default: `Some(false)`.
    pub published: Option<bool>,
    /// The identity.
    pub uuid: Uuid,
    /// The column `position_json`. Charts stand in it by `meta.uuid`. Default: `None`.
    pub position: Option<Object>,
    /// The column `json_metadata`. Datasets of native filters stand in it by `datasetUuid`. Default: `None`.
    pub metadata: Option<Object>,
    /// Since Superset 6.1's exports. Default: `None`.
    pub theme_uuid: Option<Uuid>,
    /// A row id of the Superset that exported, of no meaning elsewhere. Default: `None`.
    pub theme_id: Option<i64>,
    /// Default: false.
    pub is_managed_externally: bool,
    /// Default: `None`.
    pub external_url: Option<String>,
    /// Names of tags; exports have them only under TAGGING_SYSTEM. Default: none.
    pub tags: Vec<String>,
}
