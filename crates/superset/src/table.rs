//! The tables of Superset's metadata database that we know, as data: columns, their types and roles, unique
//! keys, and where ids come from. Read from Superset 3.1 to 6.1; which of it exists is [`crate::Schema`]'s.

use crate::value::Type;

/// A table of which rows are held in [`crate::Rows`]. The order is the order of foreign keys: parents first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Connections.
    Dbs,
    /// Themes: read, never written.
    Themes,
    /// Datasets.
    Tables,
    /// Columns of datasets.
    TableColumns,
    /// Metrics of datasets.
    SqlMetrics,
    /// Charts.
    Slices,
    /// Dashboards.
    Dashboards,
    /// Which charts stand on which dashboard.
    DashboardSlices,
    /// Alerts and reports: read, never written. They keep what they use from being deleted.
    ReportSchedule,
    /// Names of permissions, such as `datasource_access`.
    AbPermission,
    /// What permissions are about, by name.
    AbViewMenu,
    /// Pairs of the two, which roles are granted.
    AbPermissionView,
}

/// What a column means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Its value comes from the document.
    Document,
    /// Its value follows from the document and from other rows, or says when it changed.
    Derived,
    /// Written when the row is made, then left alone.
    DefaultOnInsert,
    /// Never written, never read: what Superset or its users put there.
    Foreign,
}

/// How much of a row is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Breadth {
    /// Names, keys and permissions only: enough for what merely depends on an asset, or has its name.
    Brief,
    /// Every column that is not foreign.
    Full,
}

/// Where the ids of new rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdSource {
    /// PostgreSQL: the sequence that belongs to the column (`pg_get_serial_sequence`).
    SerialColumn,
    /// PostgreSQL: a sequence of this name, which the column does not use by itself (Flask-AppBuilder).
    Sequence(&'static str),
    /// SQLite: the highest id and one, safe under the write lock.
    MaxPlusOne,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub ty: Type,
    /// What it means to us.
    pub role: Role,
    /// The least breadth that reads it.
    pub breadth: Breadth,
    /// Whether every Superset since 3.1 has it.
    pub required: bool,
}

const fn column(name: &'static str, ty: Type, role: Role) -> Column {
    Column { name, ty, role, breadth: Breadth::Full, required: true }
}

const fn doc(name: &'static str, ty: Type) -> Column {
    column(name, ty, Role::Document)
}

const fn derived(name: &'static str, ty: Type) -> Column {
    column(name, ty, Role::Derived)
}

const fn default(name: &'static str, ty: Type) -> Column {
    column(name, ty, Role::DefaultOnInsert)
}

const fn foreign(name: &'static str, ty: Type) -> Column {
    Column { required: false, ..column(name, ty, Role::Foreign) }
}

impl Column {
    const fn brief(self) -> Column {
        Column { breadth: Breadth::Brief, ..self }
    }

    const fn newer(self) -> Column {
        Column { required: false, ..self }
    }
}

const ID: Column = derived("id", Type::Int).brief();
const UUID: Column = doc("uuid", Type::Uuid).brief();
const CREATED_ON: Column = default("created_on", Type::Time);
const CHANGED_ON: Column = derived("changed_on", Type::Time).brief();
const CREATED_BY: Column = foreign("created_by_fk", Type::Int);
const CHANGED_BY: Column = foreign("changed_by_fk", Type::Int);

const DBS: &[Column] = &[
    ID,
    doc("database_name", Type::Text).brief(),
    doc("sqlalchemy_uri", Type::Text),
    doc("password", Type::Bytes),
    doc("cache_timeout", Type::Int),
    doc("expose_in_sqllab", Type::Bool),
    doc("allow_run_async", Type::Bool),
    doc("allow_ctas", Type::Bool),
    doc("allow_cvas", Type::Bool),
    doc("allow_dml", Type::Bool),
    doc("allow_file_upload", Type::Bool),
    doc("extra", Type::Text),
    doc("encrypted_extra", Type::Bytes),
    doc("impersonate_user", Type::Bool),
    doc("configuration_method", Type::Text),
    UUID,
    doc("is_managed_externally", Type::Bool),
    doc("external_url", Type::Text),
    default("select_as_create_table_as", Type::Bool),
    CREATED_ON,
    CHANGED_ON,
    CREATED_BY,
    CHANGED_BY,
    foreign("verbose_name", Type::Text),
    foreign("server_cert", Type::Bytes),
    foreign("force_ctas_schema", Type::Text),
];

const TABLES: &[Column] = &[
    ID,
    doc("table_name", Type::Text).brief(),
    doc("main_dttm_col", Type::Text),
    doc("currency_code_column", Type::Text).newer(),
    doc("description", Type::Text),
    doc("default_endpoint", Type::Text),
    doc("offset", Type::Int),
    doc("cache_timeout", Type::Int),
    doc("catalog", Type::Text).brief().newer(),
    doc("schema", Type::Text).brief(),
    doc("sql", Type::Text),
    doc("params", Type::Text),
    doc("template_params", Type::Text),
    doc("filter_select_enabled", Type::Bool),
    doc("fetch_values_predicate", Type::Text),
    doc("extra", Type::Text),
    doc("normalize_columns", Type::Bool),
    doc("always_filter_main_dttm", Type::Bool),
    doc("folders", Type::Json).newer(),
    UUID,
    doc("is_managed_externally", Type::Bool),
    doc("external_url", Type::Text),
    derived("database_id", Type::Int).brief(),
    derived("perm", Type::Text).brief(),
    derived("schema_perm", Type::Text).brief(),
    derived("catalog_perm", Type::Text).brief().newer(),
    default("is_featured", Type::Bool).newer(),
    default("is_sqllab_view", Type::Bool),
    CREATED_ON,
    CHANGED_ON,
    CREATED_BY,
    CHANGED_BY,
];

const TABLE_COLUMNS: &[Column] = &[
    ID,
    doc("column_name", Type::Text),
    doc("verbose_name", Type::Text),
    doc("is_dttm", Type::Bool),
    doc("is_active", Type::Bool),
    doc("type", Type::Text),
    doc("advanced_data_type", Type::Text),
    doc("groupby", Type::Bool),
    doc("filterable", Type::Bool),
    doc("expression", Type::Text),
    doc("description", Type::Text),
    doc("python_date_format", Type::Text),
    doc("datetime_format", Type::Text).newer(),
    doc("extra", Type::Text),
    UUID,
    derived("table_id", Type::Int),
    CREATED_ON,
    CHANGED_ON,
    CREATED_BY,
    CHANGED_BY,
];

const SQL_METRICS: &[Column] = &[
    ID,
    doc("metric_name", Type::Text),
    doc("verbose_name", Type::Text),
    doc("metric_type", Type::Text),
    doc("expression", Type::Text),
    doc("description", Type::Text),
    doc("d3format", Type::Text),
    doc("currency", Type::Json),
    doc("extra", Type::Text),
    doc("warning_text", Type::Text),
    UUID,
    derived("table_id", Type::Int),
    CREATED_ON,
    CHANGED_ON,
    CREATED_BY,
    CHANGED_BY,
];

const SLICES: &[Column] = &[
    ID,
    doc("slice_name", Type::Text).brief(),
    doc("description", Type::Text),
    doc("certified_by", Type::Text),
    doc("certification_details", Type::Text),
    doc("viz_type", Type::Text),
    doc("params", Type::Text),
    doc("query_context", Type::Text),
    doc("cache_timeout", Type::Int),
    UUID,
    doc("is_managed_externally", Type::Bool),
    doc("external_url", Type::Text),
    derived("datasource_id", Type::Int).brief(),
    derived("datasource_type", Type::Text).brief(),
    derived("datasource_name", Type::Text).brief(),
    derived("perm", Type::Text).brief(),
    derived("schema_perm", Type::Text).brief(),
    derived("catalog_perm", Type::Text).brief().newer(),
    CREATED_ON,
    CHANGED_ON,
    CREATED_BY,
    CHANGED_BY,
    foreign("last_saved_at", Type::Time),
    foreign("last_saved_by_fk", Type::Int),
];

const DASHBOARDS: &[Column] = &[
    ID,
    doc("dashboard_title", Type::Text).brief(),
    doc("description", Type::Text),
    doc("css", Type::Text),
    doc("slug", Type::Text).brief(),
    doc("certified_by", Type::Text),
    doc("certification_details", Type::Text),
    doc("published", Type::Bool),
    UUID,
    doc("position_json", Type::Text),
    doc("json_metadata", Type::Text),
    derived("theme_id", Type::Int).newer(),
    doc("is_managed_externally", Type::Bool),
    doc("external_url", Type::Text),
    CREATED_ON,
    CHANGED_ON,
    CREATED_BY,
    CHANGED_BY,
];

const DASHBOARD_SLICES: &[Column] = &[ID, derived("dashboard_id", Type::Int), derived("slice_id", Type::Int)];

const THEMES: &[Column] = &[ID, UUID, foreign("theme_name", Type::Text), foreign("json_data", Type::Text)];

const REPORT_SCHEDULE: &[Column] = &[
    ID,
    derived("name", Type::Text),
    derived("chart_id", Type::Int),
    derived("dashboard_id", Type::Int),
    derived("database_id", Type::Int),
];

const AB_NAME: &[Column] = &[ID, derived("name", Type::Text)];

const AB_PERMISSION_VIEW: &[Column] =
    &[ID, derived("permission_id", Type::Int), derived("view_menu_id", Type::Int)];

impl Table {
    /// All tables, parents first.
    pub const ALL: [Table; 12] = [
        Table::Dbs,
        Table::Themes,
        Table::Tables,
        Table::TableColumns,
        Table::SqlMetrics,
        Table::Slices,
        Table::Dashboards,
        Table::DashboardSlices,
        Table::ReportSchedule,
        Table::AbPermission,
        Table::AbViewMenu,
        Table::AbPermissionView,
    ];

    /// Returns the name of the table in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Table::Dbs => "dbs",
            Table::Themes => "themes",
            Table::Tables => "tables",
            Table::TableColumns => "table_columns",
            Table::SqlMetrics => "sql_metrics",
            Table::Slices => "slices",
            Table::Dashboards => "dashboards",
            Table::DashboardSlices => "dashboard_slices",
            Table::ReportSchedule => "report_schedule",
            Table::AbPermission => "ab_permission",
            Table::AbViewMenu => "ab_view_menu",
            Table::AbPermissionView => "ab_permission_view",
        }
    }

    /// Returns every column that we know of, whether this Superset has it or not.
    #[must_use]
    pub fn columns(self) -> &'static [Column] {
        match self {
            Table::Dbs => DBS,
            Table::Themes => THEMES,
            Table::Tables => TABLES,
            Table::TableColumns => TABLE_COLUMNS,
            Table::SqlMetrics => SQL_METRICS,
            Table::Slices => SLICES,
            Table::Dashboards => DASHBOARDS,
            Table::DashboardSlices => DASHBOARD_SLICES,
            Table::ReportSchedule => REPORT_SCHEDULE,
            Table::AbPermission | Table::AbViewMenu => AB_NAME,
            Table::AbPermissionView => AB_PERMISSION_VIEW,
        }
    }

    /// Returns the column of that name, if we know it.
    #[must_use]
    pub fn column(self, name: &str) -> Option<&'static Column> {
        self.columns().iter().find(|column| column.name == name)
    }

    /// Says whether every Superset since 3.1 has this table.
    #[must_use]
    pub fn is_required(self) -> bool {
        self != Table::Themes
    }

    /// Returns the unique keys that a change of owner could violate for a moment; each ends with the column
    /// that can be given a parked value.
    #[must_use]
    pub fn unique_keys(self) -> &'static [&'static [&'static str]] {
        match self {
            Table::Dbs => &[&["database_name"], &["uuid"]],
            // On SQLite `table_name` alone is unique; without a schema PostgreSQL does not check the triple.
            Table::Tables => &[&["table_name"], &["database_id", "schema", "table_name"], &["uuid"]],
            Table::TableColumns => &[&["table_id", "column_name"], &["uuid"]],
            Table::SqlMetrics => &[&["table_id", "metric_name"], &["uuid"]],
            Table::Slices => &[&["uuid"]],
            Table::Dashboards => &[&["slug"], &["uuid"]],
            Table::AbPermission | Table::AbViewMenu => &[&["name"]],
            Table::Themes | Table::DashboardSlices | Table::ReportSchedule | Table::AbPermissionView => &[],
        }
    }

    /// Returns the columns by which [`crate::Rows`] finds rows.
    pub(crate) fn indexed(self) -> &'static [&'static str] {
        match self {
            Table::Dbs => &["uuid", "database_name"],
            Table::Themes => &["uuid"],
            Table::Tables => &["uuid", "table_name", "database_id"],
            Table::TableColumns | Table::SqlMetrics => &["table_id", "uuid"],
            Table::Slices => &["uuid", "datasource_id"],
            Table::Dashboards => &["uuid", "slug"],
            Table::DashboardSlices => &["dashboard_id", "slice_id"],
            Table::ReportSchedule => &["chart_id", "dashboard_id", "database_id"],
            Table::AbPermission | Table::AbViewMenu => &["name"],
            Table::AbPermissionView => &["permission_id", "view_menu_id"],
        }
    }

    /// Returns where ids of new rows come from.
    #[must_use]
    pub fn id_source(self, dialect: Dialect) -> IdSource {
        match (dialect, self) {
            (Dialect::Sqlite, _) => IdSource::MaxPlusOne,
            (Dialect::Postgres, Table::AbPermission) => IdSource::Sequence("ab_permission_id_seq"),
            (Dialect::Postgres, Table::AbViewMenu) => IdSource::Sequence("ab_view_menu_id_seq"),
            (Dialect::Postgres, Table::AbPermissionView) => IdSource::Sequence("ab_permission_view_id_seq"),
            (Dialect::Postgres, _) => IdSource::SerialColumn,
        }
    }
}

/// A kind of metadata database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// What happens to rows that we do not hold when the row that they point to goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SweepAction {
    /// They go too, as with Superset's REST API.
    Delete,
    /// They stay and point to nothing.
    SetNull,
}

/// One statement over all rows of a table that point to one row, without looking at them first: owners, grants,
/// tags and other marks of what is deleted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sweep {
    /// The table.
    pub table: &'static str,
    /// The column that points.
    pub column: &'static str,
    /// The id it points to.
    pub id: i64,
    /// A text column that must have this value too, for the one table that points to several others.
    pub only: Option<(&'static str, &'static str)>,
    /// What to do.
    pub action: SweepAction,
}

/// A sweep without its id.
pub(crate) struct SweepRule {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    pub(crate) only: Option<(&'static str, &'static str)>,
    pub(crate) action: SweepAction,
}

const fn delete(table: &'static str, column: &'static str) -> SweepRule {
    SweepRule { table, column, only: None, action: SweepAction::Delete }
}

const fn untag(object_type: &'static str) -> SweepRule {
    let only = Some(("object_type", object_type));
    SweepRule { table: "tagged_object", column: "object_id", only, action: SweepAction::Delete }
}

const fn set_null(table: &'static str, column: &'static str) -> SweepRule {
    SweepRule { table, column, only: None, action: SweepAction::SetNull }
}

const OF_DBS: &[SweepRule] = &[
    delete("ssh_tunnels", "database_id"),
    delete("database_user_oauth2_tokens", "database_id"),
    delete("table_schema", "database_id"),
    delete("tab_state", "database_id"),
    delete("query", "database_id"),
    set_null("saved_query", "db_id"),
];

const OF_TABLES: &[SweepRule] = &[
    delete("sqlatable_user", "table_id"),
    delete("rls_filter_tables", "table_id"),
    untag("dataset"),
    // A foreign key of old, which no page of Superset reads.
    set_null("slices", "table_id"),
];

const OF_SLICES: &[SweepRule] = &[delete("slice_user", "slice_id"), untag("chart")];

const OF_DASHBOARDS: &[SweepRule] = &[
    delete("dashboard_user", "dashboard_id"),
    delete("dashboard_roles", "dashboard_id"),
    delete("embedded_dashboards", "dashboard_id"),
    untag("dashboard"),
    set_null("user_attribute", "welcome_dashboard_id"),
];

const OF_PERMISSION_VIEWS: &[SweepRule] = &[delete("ab_permission_view_role", "permission_view_id")];

impl Table {
    /// Returns what to sweep before a row of this table is deleted, in order.
    ///
    /// As Superset's REST API does, except that saved queries of a deleted database are kept and lose their
    /// link, because people wrote them.
    pub(crate) fn sweeps(self) -> &'static [SweepRule] {
        match self {
            Table::Dbs => OF_DBS,
            Table::Tables => OF_TABLES,
            Table::Slices => OF_SLICES,
            Table::Dashboards => OF_DASHBOARDS,
            Table::AbPermissionView => OF_PERMISSION_VIEWS,
            Table::Themes
            | Table::TableColumns
            | Table::SqlMetrics
            | Table::DashboardSlices
            | Table::ReportSchedule
            | Table::AbPermission
            | Table::AbViewMenu => &[],
        }
    }
}
