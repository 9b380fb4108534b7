//! Dashboards.

use uuid::Uuid;

use crate::fields::{Builder, Fields};
use crate::{Object, VERSION};

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

pub(crate) fn parse(mut fields: Fields<'_>) -> Dashboard {
    let dashboard = Dashboard {
        dashboard_title: fields.required_text("dashboard_title"),
        description: fields.text("description"),
        css: fields.text("css"),
        slug: fields.text("slug"),
        certified_by: fields.text("certified_by"),
        certification_details: fields.text("certification_details"),
        published: fields.flag("published", false),
        uuid: fields.required_uuid("uuid"),
        position: fields.object("position"),
        metadata: fields.object("metadata"),
        theme_uuid: fields.uuid("theme_uuid"),
        theme_id: fields.integer("theme_id", None),
        is_managed_externally: fields.plain_flag("is_managed_externally"),
        external_url: fields.url("external_url"),
        tags: fields.texts("tags"),
    };
    fields.finish("a dashboard");
    dashboard
}

pub(crate) fn to_json(dashboard: &Dashboard) -> Object {
    let mut object = Builder::default();
    object
        .put("dashboard_title", dashboard.dashboard_title.as_str())
        .put_some("description", &dashboard.description)
        .put_some("css", &dashboard.css)
        .put_some("slug", &dashboard.slug)
        .put_some("certified_by", &dashboard.certified_by)
        .put_some("certification_details", &dashboard.certification_details)
        .put_unless("published", &dashboard.published, Some(false))
        .put_uuid("uuid", dashboard.uuid)
        .put_some("position", &dashboard.position)
        .put_some("metadata", &dashboard.metadata)
        .put_some("theme_uuid", &dashboard.theme_uuid.map(|uuid| uuid.to_string()))
        .put_some("theme_id", &dashboard.theme_id)
        .put("version", VERSION)
        .put_true("is_managed_externally", dashboard.is_managed_externally)
        .put_some("external_url", &dashboard.external_url)
        .put_list("tags", dashboard.tags.iter().map(|tag| tag.as_str().into()).collect());
    object.into_object()
}
