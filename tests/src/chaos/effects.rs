//! Triggers on Superset's own tables: what really happened to the rows, whatever our bookkeeping says.

use crate::pipeline::{Metadata, Pipeline};

/// Table and the column that carries the number.
const WATCHED: [(&str, &str); 4] = [
    ("dbs", "cache_timeout"),
    ("tables", "description"),
    ("slices", "description"),
    ("dashboards", "description"),
];

/// Makes the table `chaos_effects` and the triggers that fill it.
pub(crate) async fn install(pipeline: &Pipeline) {
    let script = match pipeline.metadata.kind() {
        Metadata::Sqlite => sqlite(),
        Metadata::Postgres => postgres(),
    };
    pipeline.metadata.run(&script).await;
}

fn sqlite() -> String {
    let mut script = "CREATE TABLE chaos_effects (seq INTEGER PRIMARY KEY AUTOINCREMENT, place TEXT, \
                      uuid BLOB, n TEXT, op TEXT);"
        .to_owned();
    for (table, column) in WATCHED {
        for (op, row, when) in [
            ("INSERT", "NEW", String::new()),
            ("UPDATE", "NEW", format!("WHEN NEW.{column} IS NOT OLD.{column}")),
            ("DELETE", "OLD", String::new()),
        ] {
            script.push_str(&format!(
                "CREATE TRIGGER chaos_{table}_{op} AFTER {op} ON {table} {when} BEGIN \
                 INSERT INTO chaos_effects (place, uuid, n, op) \
                 VALUES ('{table}/' || {row}.id, {row}.uuid, {row}.{column}, '{op}'); END;"
            ));
        }
    }
    script
}

fn postgres() -> String {
    let mut script = "CREATE TABLE chaos_effects (seq BIGSERIAL PRIMARY KEY, place TEXT, uuid TEXT, n TEXT, \
        op TEXT);
        CREATE FUNCTION chaos_effect() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE was JSONB; is_now JSONB;
        BEGIN
            IF TG_OP <> 'INSERT' THEN was := to_jsonb(OLD); END IF;
            IF TG_OP <> 'DELETE' THEN is_now := to_jsonb(NEW); END IF;
            IF was ->> TG_ARGV[0] IS DISTINCT FROM is_now ->> TG_ARGV[0] OR TG_OP <> 'UPDATE' THEN
                INSERT INTO chaos_effects (place, uuid, n, op) VALUES (
                    TG_TABLE_NAME || '/' || (coalesce(is_now, was) ->> 'id'),
                    coalesce(is_now, was) ->> 'uuid', coalesce(is_now, was) ->> TG_ARGV[0], TG_OP);
            END IF;
            RETURN NULL;
        END $$;"
        .to_owned();
    for (table, column) in WATCHED {
        script.push_str(&format!(
            "CREATE TRIGGER chaos_{table} AFTER INSERT OR UPDATE OR DELETE ON {table} \
             FOR EACH ROW EXECUTE FUNCTION chaos_effect('{column}');"
        ));
    }
    script
}
