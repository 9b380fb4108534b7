//! The statements, word for word.

use asset::Kind;
use expect_test::{Expect, expect};
use serde_json::json;

use super::documents::{CHART, DASHBOARD, chart, dashboard, database, dataset, filled, with};
use super::world::{Change, World};
use crate::*;

/// Writes statements with their values, long texts cut.
fn text(statements: &[Statement]) -> String {
    let mut text = String::new();
    for statement in statements {
        text.push_str(&statement.sql);
        text.push('\n');
        for value in &statement.values.0 {
            let shown: String = format!("{value:?}").chars().take(70).collect();
            text.push_str(&format!("    {shown}\n"));
        }
    }
    text
}

fn check(world: &mut World, changes: &[Change], want: Expect) {
    let (results, ops) = world.apply(changes);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    want.assert_eq(&text(&render(&ops, &world.schema)));
}

fn puts() -> [Change; 4] {
    [database(), dataset(), chart(CHART, "Torte"), dashboard()].map(Change::Put)
}

#[test]
fn inserts_on_sqlite() {
    check(&mut World::new(Dialect::Sqlite), &puts(), expect![[r#"
        INSERT INTO "dbs" ("id", "database_name", "sqlalchemy_uri", "password", "cache_timeout", "expose_in_sqllab", "allow_run_async", "allow_ctas", "allow_cvas", "allow_dml", "allow_file_upload", "extra", "encrypted_extra", "impersonate_user", "configuration_method", "uuid", "is_managed_externally", "external_url", "select_as_create_table_as", "created_on", "changed_on") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            BigInt(Some(1))
            String(Some("ana"))
            String(Some("postgresql://u:XXXXXXXXXX@h/d"))
            Bytes(None)
            BigInt(None)
            Bool(Some(true))
            Bool(Some(false))
            Bool(Some(false))
            Bool(Some(false))
            Bool(Some(false))
            Bool(Some(false))
            String(Some("{\"engine_params\": {\"\\u00e9\": 1e+16}, \"schemas_allow
            Bytes(None)
            Bool(Some(false))
            String(Some("sqlalchemy_form"))
            Bytes(Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 209]))
            Bool(Some(false))
            String(None)
            Bool(Some(false))
            String(Some("2026-11-24 03:00:00.123456"))
            String(Some("2026-11-24 03:00:00.123456"))
        INSERT INTO "tables" ("id", "table_name", "main_dttm_col", "currency_code_column", "description", "default_endpoint", "offset", "cache_timeout", "catalog", "schema", "sql", "params", "template_params", "filter_select_enabled", "fetch_values_predicate", "extra", "normalize_columns", "always_filter_main_dttm", "folders", "uuid", "is_managed_externally", "external_url", "database_id", "perm", "schema_perm", "catalog_perm", "is_featured", "is_sqllab_view", "created_on", "changed_on") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            BigInt(Some(1))
            String(Some("sales"))
            String(None)
            String(None)
            String(None)
            String(None)
            BigInt(Some(0))
            BigInt(None)
            String(None)
            String(Some("public"))
            String(None)
            String(Some("{\"a\": [1, \"b\"]}"))
            String(None)
            Bool(Some(true))
            String(None)
            String(None)
            Bool(Some(false))
            Bool(Some(false))
            String(Some("[{\"uuid\": \"1\", \"type\": \"folder\", \"name\": \"f\",
            Bytes(Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 210]))
            Bool(Some(false))
            String(None)
            BigInt(Some(1))
            String(Some("[ana].[sales](id:1)"))
            String(Some("[ana].[public]"))
            String(None)
            Bool(Some(false))
            Bool(Some(false))
            String(Some("2026-11-24 03:00:00.123456"))
            String(Some("2026-11-24 03:00:00.123456"))
        INSERT INTO "table_columns" ("id", "column_name", "verbose_name", "is_dttm", "is_active", "type", "advanced_data_type", "groupby", "filterable", "expression", "description", "python_date_format", "datetime_format", "extra", "uuid", "table_id", "created_on", "changed_on") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            BigInt(Some(1))
            String(Some("day"))
            String(None)
            Bool(Some(true))
            Bool(Some(true))
            String(Some("DATE"))
            String(None)
            Bool(Some(true))
            Bool(Some(true))
            String(None)
            String(None)
            String(None)
            String(None)
            String(Some("{\"z\": 1, \"a\": 2}"))
            Bytes(Some([194, 31, 126, 67, 153, 178, 82, 100, 183, 18, 169, 42, 81,
            BigInt(Some(1))
            String(Some("2026-11-24 03:00:00.123456"))
            String(Some("2026-11-24 03:00:00.123456"))
            BigInt(Some(2))
            String(Some("amount"))
            String(Some("Betrag \"€\""))
            Bool(Some(false))
            Bool(Some(true))
            String(None)
            String(None)
            Bool(Some(true))
            Bool(Some(true))
            String(None)
            String(None)
            String(None)
            String(None)
            String(None)
            Bytes(Some([223, 105, 195, 28, 89, 31, 83, 27, 177, 192, 248, 37, 212,
            BigInt(Some(1))
            String(Some("2026-11-24 03:00:00.123456"))
            String(Some("2026-11-24 03:00:00.123456"))
        INSERT INTO "sql_metrics" ("id", "metric_name", "verbose_name", "metric_type", "expression", "description", "d3format", "currency", "extra", "warning_text", "uuid", "table_id", "created_on", "changed_on") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            BigInt(Some(1))
            String(Some("total"))
            String(None)
            String(None)
            String(Some("SUM(amount)"))
            String(None)
            String(None)
            String(Some("{\"symbol\": \"EUR\", \"symbolPosition\": \"suffix\"}"))
            String(None)
            String(None)
            Bytes(Some([195, 129, 88, 114, 213, 91, 86, 1, 133, 152, 73, 153, 69, 
            BigInt(Some(1))
            String(Some("2026-11-24 03:00:00.123456"))
            String(Some("2026-11-24 03:00:00.123456"))
        INSERT INTO "slices" ("id", "slice_name", "description", "certified_by", "certification_details", "viz_type", "params", "query_context", "cache_timeout", "uuid", "is_managed_externally", "external_url", "datasource_id", "datasource_type", "datasource_name", "perm", "schema_perm", "catalog_perm", "created_on", "changed_on") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            BigInt(Some(1))
            String(Some("Torte"))
            String(None)
            String(None)
            String(None)
            String(Some("pie"))
            String(Some("{\"datasource\": \"1__table\", \"annotation_layers\": [{\
            String(Some("{\"datasource\": {\"id\": 1, \"type\": \"table\"}, \"forc
            BigInt(None)
            Bytes(Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 193]))
            Bool(Some(false))
            String(None)
            BigInt(Some(1))
            String(Some("table"))
            String(Some("sales"))
            String(Some("[ana].[sales](id:1)"))
            String(Some("[ana].[public]"))
            String(None)
            String(Some("2026-11-24 03:00:00.123456"))
            String(Some("2026-11-24 03:00:00.123456"))
        INSERT INTO "dashboards" ("id", "dashboard_title", "description", "css", "slug", "certified_by", "certification_details", "published", "uuid", "position_json", "json_metadata", "theme_id", "is_managed_externally", "external_url", "created_on", "changed_on") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            BigInt(Some(1))
            String(Some("Umsatz"))
            String(None)
            String(None)
            String(Some("umsatz"))
            String(None)
            String(None)
            Bool(Some(true))
            Bytes(Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 177]))
            String(Some("{\"DASHBOARD_VERSION_KEY\": \"v2\", \"CHART-a\": {\"type\
            String(Some("{\"timed_refresh_immune_slices\": [], \"expanded_slices\"
            BigInt(None)
            Bool(Some(false))
            String(None)
            String(Some("2026-11-24 03:00:00.123456"))
            String(Some("2026-11-24 03:00:00.123456"))
        INSERT INTO "dashboard_slices" ("id", "dashboard_id", "slice_id") VALUES (?, ?, ?)
            BigInt(Some(1))
            BigInt(Some(1))
            BigInt(Some(1))
        INSERT INTO "ab_permission" ("id", "name") VALUES (?, ?), (?, ?), (?, ?)
            BigInt(Some(1))
            String(Some("database_access"))
            BigInt(Some(2))
            String(Some("datasource_access"))
            BigInt(Some(3))
            String(Some("schema_access"))
        INSERT INTO "ab_view_menu" ("id", "name") VALUES (?, ?), (?, ?), (?, ?)
            BigInt(Some(1))
            String(Some("[ana].(id:1)"))
            BigInt(Some(2))
            String(Some("[ana].[sales](id:1)"))
            BigInt(Some(3))
            String(Some("[ana].[public]"))
        INSERT INTO "ab_permission_view" ("id", "permission_id", "view_menu_id") VALUES (?, ?, ?), (?, ?, ?), (?, ?, ?)
            BigInt(Some(1))
            BigInt(Some(1))
            BigInt(Some(1))
            BigInt(Some(2))
            BigInt(Some(2))
            BigInt(Some(2))
            BigInt(Some(3))
            BigInt(Some(3))
            BigInt(Some(3))
    "#]]);
}

#[test]
fn inserts_on_postgresql() {
    check(&mut World::new(Dialect::Postgres), &puts(), expect![[r#"
        INSERT INTO "dbs" ("id", "database_name", "sqlalchemy_uri", "password", "cache_timeout", "expose_in_sqllab", "allow_run_async", "allow_ctas", "allow_cvas", "allow_dml", "allow_file_upload", "extra", "encrypted_extra", "impersonate_user", "configuration_method", "uuid", "is_managed_externally", "external_url", "select_as_create_table_as", "created_on", "changed_on") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
            BigInt(Some(1))
            String(Some("ana"))
            String(Some("postgresql://u:XXXXXXXXXX@h/d"))
            Bytes(None)
            BigInt(None)
            Bool(Some(true))
            Bool(Some(false))
            Bool(Some(false))
            Bool(Some(false))
            Bool(Some(false))
            Bool(Some(false))
            String(Some("{\"engine_params\": {\"\\u00e9\": 1e+16}, \"schemas_allow
            Bytes(None)
            Bool(Some(false))
            String(Some("sqlalchemy_form"))
            Uuid(Some(00000000-0000-0000-0000-0000000000d1))
            Bool(Some(false))
            String(None)
            Bool(Some(false))
            TimeDateTime(Some(2026-11-24 3:00:00.123456))
            TimeDateTime(Some(2026-11-24 3:00:00.123456))
        INSERT INTO "tables" ("id", "table_name", "main_dttm_col", "currency_code_column", "description", "default_endpoint", "offset", "cache_timeout", "catalog", "schema", "sql", "params", "template_params", "filter_select_enabled", "fetch_values_predicate", "extra", "normalize_columns", "always_filter_main_dttm", "folders", "uuid", "is_managed_externally", "external_url", "database_id", "perm", "schema_perm", "catalog_perm", "is_featured", "is_sqllab_view", "created_on", "changed_on") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, CAST($19 AS json), $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30)
            BigInt(Some(1))
            String(Some("sales"))
            String(None)
            String(None)
            String(None)
            String(None)
            BigInt(Some(0))
            BigInt(None)
            String(None)
            String(Some("public"))
            String(None)
            String(Some("{\"a\": [1, \"b\"]}"))
            String(None)
            Bool(Some(true))
            String(None)
            String(None)
            Bool(Some(false))
            Bool(Some(false))
            String(Some("[{\"uuid\": \"1\", \"type\": \"folder\", \"name\": \"f\",
            Uuid(Some(00000000-0000-0000-0000-0000000000d2))
            Bool(Some(false))
            String(None)
            BigInt(Some(1))
            String(Some("[ana].[sales](id:1)"))
            String(Some("[ana].[public]"))
            String(None)
            Bool(Some(false))
            Bool(Some(false))
            TimeDateTime(Some(2026-11-24 3:00:00.123456))
            TimeDateTime(Some(2026-11-24 3:00:00.123456))
        INSERT INTO "table_columns" ("id", "column_name", "verbose_name", "is_dttm", "is_active", "type", "advanced_data_type", "groupby", "filterable", "expression", "description", "python_date_format", "datetime_format", "extra", "uuid", "table_id", "created_on", "changed_on") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18), ($19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36)
            BigInt(Some(1))
            String(Some("day"))
            String(None)
            Bool(Some(true))
            Bool(Some(true))
            String(Some("DATE"))
            String(None)
            Bool(Some(true))
            Bool(Some(true))
            String(None)
            String(None)
            String(None)
            String(None)
            String(Some("{\"z\": 1, \"a\": 2}"))
            Uuid(Some(c21f7e43-99b2-5264-b712-a92a51af13b3))
            BigInt(Some(1))
            TimeDateTime(Some(2026-11-24 3:00:00.123456))
            TimeDateTime(Some(2026-11-24 3:00:00.123456))
            BigInt(Some(2))
            String(Some("amount"))
            String(Some("Betrag \"€\""))
            Bool(Some(false))
            Bool(Some(true))
            String(None)
            String(None)
            Bool(Some(true))
            Bool(Some(true))
            String(None)
            String(None)
            String(None)
            String(None)
            String(None)
            Uuid(Some(df69c31c-591f-531b-b1c0-f825d49f04ef))
            BigInt(Some(1))
            TimeDateTime(Some(2026-11-24 3:00:00.123456))
            TimeDateTime(Some(2026-11-24 3:00:00.123456))
        INSERT INTO "sql_metrics" ("id", "metric_name", "verbose_name", "metric_type", "expression", "description", "d3format", "currency", "extra", "warning_text", "uuid", "table_id", "created_on", "changed_on") VALUES ($1, $2, $3, $4, $5, $6, $7, CAST($8 AS jsonb), $9, $10, $11, $12, $13, $14)
            BigInt(Some(1))
            String(Some("total"))
            String(None)
            String(None)
            String(Some("SUM(amount)"))
            String(None)
            String(None)
            String(Some("{\"symbol\": \"EUR\", \"symbolPosition\": \"suffix\"}"))
            String(None)
            String(None)
            Uuid(Some(c3815872-d55b-5601-8598-499945d49f16))
            BigInt(Some(1))
            TimeDateTime(Some(2026-11-24 3:00:00.123456))
            TimeDateTime(Some(2026-11-24 3:00:00.123456))
        INSERT INTO "slices" ("id", "slice_name", "description", "certified_by", "certification_details", "viz_type", "params", "query_context", "cache_timeout", "uuid", "is_managed_externally", "external_url", "datasource_id", "datasource_type", "datasource_name", "perm", "schema_perm", "catalog_perm", "created_on", "changed_on") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
            BigInt(Some(1))
            String(Some("Torte"))
            String(None)
            String(None)
            String(None)
            String(Some("pie"))
            String(Some("{\"datasource\": \"1__table\", \"annotation_layers\": [{\
            String(Some("{\"datasource\": {\"id\": 1, \"type\": \"table\"}, \"forc
            BigInt(None)
            Uuid(Some(00000000-0000-0000-0000-0000000000c1))
            Bool(Some(false))
            String(None)
            BigInt(Some(1))
            String(Some("table"))
            String(Some("sales"))
            String(Some("[ana].[sales](id:1)"))
            String(Some("[ana].[public]"))
            String(None)
            TimeDateTime(Some(2026-11-24 3:00:00.123456))
            TimeDateTime(Some(2026-11-24 3:00:00.123456))
        INSERT INTO "dashboards" ("id", "dashboard_title", "description", "css", "slug", "certified_by", "certification_details", "published", "uuid", "position_json", "json_metadata", "theme_id", "is_managed_externally", "external_url", "created_on", "changed_on") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
            BigInt(Some(1))
            String(Some("Umsatz"))
            String(None)
            String(None)
            String(Some("umsatz"))
            String(None)
            String(None)
            Bool(Some(true))
            Uuid(Some(00000000-0000-0000-0000-0000000000b1))
            String(Some("{\"DASHBOARD_VERSION_KEY\": \"v2\", \"CHART-a\": {\"type\
            String(Some("{\"timed_refresh_immune_slices\": [], \"expanded_slices\"
            BigInt(None)
            Bool(Some(false))
            String(None)
            TimeDateTime(Some(2026-11-24 3:00:00.123456))
            TimeDateTime(Some(2026-11-24 3:00:00.123456))
        INSERT INTO "dashboard_slices" ("id", "dashboard_id", "slice_id") VALUES ($1, $2, $3)
            BigInt(Some(1))
            BigInt(Some(1))
            BigInt(Some(1))
        INSERT INTO "ab_permission" ("id", "name") VALUES ($1, $2), ($3, $4), ($5, $6)
            BigInt(Some(1))
            String(Some("database_access"))
            BigInt(Some(2))
            String(Some("datasource_access"))
            BigInt(Some(3))
            String(Some("schema_access"))
        INSERT INTO "ab_view_menu" ("id", "name") VALUES ($1, $2), ($3, $4), ($5, $6)
            BigInt(Some(1))
            String(Some("[ana].(id:1)"))
            BigInt(Some(2))
            String(Some("[ana].[sales](id:1)"))
            BigInt(Some(3))
            String(Some("[ana].[public]"))
        INSERT INTO "ab_permission_view" ("id", "permission_id", "view_menu_id") VALUES ($1, $2, $3), ($4, $5, $6), ($7, $8, $9)
            BigInt(Some(1))
            BigInt(Some(1))
            BigInt(Some(1))
            BigInt(Some(2))
            BigInt(Some(2))
            BigInt(Some(2))
            BigInt(Some(3))
            BigInt(Some(3))
            BigInt(Some(3))
    "#]]);
}

#[test]
fn a_rename_and_a_delete_on_sqlite() {
    let changes = [
        Change::Put(with(&dataset(), json!({"table_name": "umsatz"}))),
        Change::Remove(Kind::Dashboard, DASHBOARD),
    ];
    check(&mut filled(Dialect::Sqlite), &changes, expect![[r#"
        UPDATE "tables" SET "changed_on" = ?, "perm" = ?, "table_name" = ? WHERE "id" = ?
            String(Some("2026-11-24 03:01:00.123456"))
            String(Some("[ana].[umsatz](id:1)"))
            String(Some("umsatz"))
            BigInt(Some(1))
        UPDATE "slices" SET "datasource_name" = ?, "perm" = ? WHERE "id" IN (?, ?)
            String(Some("umsatz"))
            String(Some("[ana].[umsatz](id:1)"))
            BigInt(Some(1))
            BigInt(Some(2))
        UPDATE "ab_view_menu" SET "name" = ? WHERE "id" = ?
            String(Some("[ana].[umsatz](id:1)"))
            BigInt(Some(2))
        DELETE FROM "dashboard_user" WHERE "dashboard_id" = ?
            BigInt(Some(1))
        DELETE FROM "dashboard_roles" WHERE "dashboard_id" = ?
            BigInt(Some(1))
        DELETE FROM "embedded_dashboards" WHERE "dashboard_id" = ?
            BigInt(Some(1))
        DELETE FROM "tagged_object" WHERE "object_id" = ? AND "object_type" = ?
            BigInt(Some(1))
            String(Some("dashboard"))
        DELETE FROM "dashboard_slices" WHERE "id" IN (?, ?)
            BigInt(Some(2))
            BigInt(Some(1))
        DELETE FROM "dashboards" WHERE "id" = ?
            BigInt(Some(1))
    "#]]);
}

#[test]
fn a_rename_and_a_delete_on_postgresql() {
    let changes = [
        Change::Put(with(&dataset(), json!({"table_name": "umsatz"}))),
        Change::Remove(Kind::Dashboard, DASHBOARD),
    ];
    check(&mut filled(Dialect::Postgres), &changes, expect![[r#"
        UPDATE "tables" SET "changed_on" = $1, "perm" = $2, "table_name" = $3 WHERE "id" = $4
            TimeDateTime(Some(2026-11-24 3:01:00.123456))
            String(Some("[ana].[umsatz](id:1)"))
            String(Some("umsatz"))
            BigInt(Some(1))
        UPDATE "slices" SET "datasource_name" = $1, "perm" = $2 WHERE "id" IN ($3, $4)
            String(Some("umsatz"))
            String(Some("[ana].[umsatz](id:1)"))
            BigInt(Some(1))
            BigInt(Some(2))
        UPDATE "ab_view_menu" SET "name" = $1 WHERE "id" = $2
            String(Some("[ana].[umsatz](id:1)"))
            BigInt(Some(2))
        DELETE FROM "dashboard_user" WHERE "dashboard_id" = $1
            BigInt(Some(1))
        DELETE FROM "dashboard_roles" WHERE "dashboard_id" = $1
            BigInt(Some(1))
        DELETE FROM "embedded_dashboards" WHERE "dashboard_id" = $1
            BigInt(Some(1))
        DELETE FROM "tagged_object" WHERE "object_id" = $1 AND "object_type" = $2
            BigInt(Some(1))
            String(Some("dashboard"))
        DELETE FROM "dashboard_slices" WHERE "id" IN ($1, $2)
            BigInt(Some(2))
            BigInt(Some(1))
        DELETE FROM "dashboards" WHERE "id" = $1
            BigInt(Some(1))
    "#]]);
}

fn check_queries(dialect: Dialect, want: Expect) {
    let mut world = filled(dialect);
    let documents = [database(), dashboard()];
    let documents: Vec<_> = documents.iter().collect();
    let mut facts = world.facts(&[]);
    let first = ask(&documents, &[], &facts);
    let statements = |missing: &Ask| -> Vec<Statement> {
        queries(missing, &world.schema).into_iter().map(|query| query.statement).collect()
    };
    let mut shown = text(&statements(&first));
    facts.reserve(Table::Dbs, [7, 8]);
    let second = ask(&documents, &[], &facts);
    let new = Ask { lookups: second.lookups.difference(&first.lookups).cloned().collect(), ..Ask::default() };
    shown.push_str(&text(&statements(&new)));
    shown.push_str(&text(&[
        reservation(Table::Slices, 2, dialect),
        reservation(Table::AbViewMenu, 2, dialect),
        probe(dialect),
    ]));
    want.assert_eq(&shown);
}

#[test]
fn queries_on_sqlite() {
    check_queries(Dialect::Sqlite, expect![[r#"
        SELECT "id", "database_name", "uuid", "changed_on" FROM "dbs" WHERE "database_name" IN (?) ORDER BY "id" ASC
            String(Some("ana"))
        SELECT "id", "database_name", "sqlalchemy_uri", "password", "cache_timeout", "expose_in_sqllab", "allow_run_async", "allow_ctas", "allow_cvas", "allow_dml", "allow_file_upload", "extra", "encrypted_extra", "impersonate_user", "configuration_method", "uuid", "is_managed_externally", "external_url", "select_as_create_table_as", "created_on", "changed_on" FROM "dbs" WHERE "uuid" IN (?) ORDER BY "id" ASC
            Bytes(Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 209]))
        SELECT "id", "table_name", "catalog", "schema", "uuid", "database_id", "perm", "schema_perm", "catalog_perm", "changed_on" FROM "tables" WHERE "uuid" IN (?) ORDER BY "id" ASC
            Bytes(Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 210]))
        SELECT "id", "slice_name", "uuid", "datasource_id", "datasource_type", "datasource_name", "perm", "schema_perm", "catalog_perm", "changed_on" FROM "slices" WHERE "uuid" IN (?, ?) ORDER BY "id" ASC
            Bytes(Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 193]))
            Bytes(Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 194]))
        SELECT "id", "dashboard_title", "slug", "uuid", "changed_on" FROM "dashboards" WHERE "slug" IN (?) ORDER BY "id" ASC
            String(Some("umsatz"))
        SELECT "id", "dashboard_title", "description", "css", "slug", "certified_by", "certification_details", "published", "uuid", "position_json", "json_metadata", "theme_id", "is_managed_externally", "external_url", "created_on", "changed_on" FROM "dashboards" WHERE "uuid" IN (?) ORDER BY "id" ASC
            Bytes(Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 177]))
        SELECT "id", "name" FROM "ab_permission" WHERE "name" IN (?, ?, ?, ?) ORDER BY "id" ASC
            String(Some("catalog_access"))
            String(Some("database_access"))
            String(Some("datasource_access"))
            String(Some("schema_access"))
        SELECT "id", "permission_id", "view_menu_id" FROM "ab_permission_view" WHERE "view_menu_id" IN (SELECT "id" FROM "ab_view_menu" WHERE "name" LIKE ? ESCAPE '\' OR "name" LIKE ? ESCAPE '\') ORDER BY "id" ASC
            String(Some("%(id:7)"))
            String(Some("%(id:8)"))
        SELECT "id", "name" FROM "ab_view_menu" WHERE "name" LIKE ? ESCAPE '\' OR "name" LIKE ? ESCAPE '\' ORDER BY "id" ASC
            String(Some("%(id:7)"))
            String(Some("%(id:8)"))
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT (SELECT coalesce(max(id), 0) FROM "slices") + i FROM n
            BigInt(Some(2))
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT (SELECT coalesce(max(id), 0) FROM "ab_view_menu") + i FROM n
            BigInt(Some(2))
        SELECT "password" FROM "dbs" WHERE "password" IS NOT NULL
    "#]]);
}

#[test]
fn queries_on_postgresql() {
    check_queries(Dialect::Postgres, expect![[r#"
        SELECT "id", "database_name", "uuid", "changed_on" FROM "dbs" WHERE "database_name" IN ($1) ORDER BY "id" ASC
            String(Some("ana"))
        SELECT "id", "database_name", "sqlalchemy_uri", "password", "cache_timeout", "expose_in_sqllab", "allow_run_async", "allow_ctas", "allow_cvas", "allow_dml", "allow_file_upload", "extra", "encrypted_extra", "impersonate_user", "configuration_method", "uuid", "is_managed_externally", "external_url", "select_as_create_table_as", "created_on", "changed_on" FROM "dbs" WHERE "uuid" IN ($1) ORDER BY "id" ASC
            Uuid(Some(00000000-0000-0000-0000-0000000000d1))
        SELECT "id", "table_name", "catalog", "schema", "uuid", "database_id", "perm", "schema_perm", "catalog_perm", "changed_on" FROM "tables" WHERE "uuid" IN ($1) ORDER BY "id" ASC
            Uuid(Some(00000000-0000-0000-0000-0000000000d2))
        SELECT "id", "slice_name", "uuid", "datasource_id", "datasource_type", "datasource_name", "perm", "schema_perm", "catalog_perm", "changed_on" FROM "slices" WHERE "uuid" IN ($1, $2) ORDER BY "id" ASC
            Uuid(Some(00000000-0000-0000-0000-0000000000c1))
            Uuid(Some(00000000-0000-0000-0000-0000000000c2))
        SELECT "id", "dashboard_title", "slug", "uuid", "changed_on" FROM "dashboards" WHERE "slug" IN ($1) ORDER BY "id" ASC
            String(Some("umsatz"))
        SELECT "id", "dashboard_title", "description", "css", "slug", "certified_by", "certification_details", "published", "uuid", "position_json", "json_metadata", "theme_id", "is_managed_externally", "external_url", "created_on", "changed_on" FROM "dashboards" WHERE "uuid" IN ($1) ORDER BY "id" ASC
            Uuid(Some(00000000-0000-0000-0000-0000000000b1))
        SELECT "id", "name" FROM "ab_permission" WHERE "name" IN ($1, $2, $3, $4) ORDER BY "id" ASC
            String(Some("catalog_access"))
            String(Some("database_access"))
            String(Some("datasource_access"))
            String(Some("schema_access"))
        SELECT "id", "permission_id", "view_menu_id" FROM "ab_permission_view" WHERE "view_menu_id" IN (SELECT "id" FROM "ab_view_menu" WHERE "name" LIKE $1 ESCAPE E'\\' OR "name" LIKE $2 ESCAPE E'\\') ORDER BY "id" ASC
            String(Some("%(id:7)"))
            String(Some("%(id:8)"))
        SELECT "id", "name" FROM "ab_view_menu" WHERE "name" LIKE $1 ESCAPE E'\\' OR "name" LIKE $2 ESCAPE E'\\' ORDER BY "id" ASC
            String(Some("%(id:7)"))
            String(Some("%(id:8)"))
        SELECT nextval(pg_get_serial_sequence('slices', 'id')) FROM generate_series(1, $1)
            BigInt(Some(2))
        SELECT nextval('ab_view_menu_id_seq') FROM generate_series(1, $1)
            BigInt(Some(2))
        SELECT "password" FROM "dbs" WHERE "password" IS NOT NULL
    "#]]);
}
