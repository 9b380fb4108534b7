//! Operations as SQL statements with bound values.

use std::fmt;

use sea_query::{
    Alias, Expr, ExprTrait, PostgresQueryBuilder, Query as Sql, QueryStatementWriter, SqliteQueryBuilder,
    Value as Raw,
};
use time::PrimitiveDateTime;
use time::macros::format_description;

use crate::diff::RowOp;
use crate::rows::Row;
use crate::schema::Schema;
use crate::table::{Dialect, Role, Sweep, SweepAction, Table};
use crate::value::{Type, Value};

/// A statement and the values it binds. `Debug` shows the text alone, because values may be ciphertext.
#[derive(Clone, PartialEq)]
pub struct Statement {
    /// The text, with `?` (SQLite) or `$1` (PostgreSQL).
    pub sql: String,
    /// The values, in order.
    pub values: sea_query::Values,
    /// How many rows it changes, where that is known: fewer, and somebody else has removed what was looked at.
    pub rows: Option<u64>,
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Statement({:?}, {} values)", self.sql, self.values.0.len())
    }
}

/// At most so many rows in one INSERT, and so many values: SQLite binds 32,766 at most.
const ROWS: usize = 500;
const VALUES: usize = 16_000;

/// Renders operations in their order; neighbours that differ only in their rows become one statement.
#[must_use]
pub fn render(ops: &[RowOp], schema: &Schema) -> Vec<Statement> {
    let renderer = Renderer { schema, dialect: schema.dialect() };
    let mut statements = Vec::new();
    let mut rest = ops;
    while let Some(first) = rest.first() {
        let alike = rest.iter().take(ROWS).take_while(|op| is_alike(first, op)).count();
        let width = if let RowOp::Insert { row, .. } = first { row.len().max(1) } else { 1 };
        let (run, others) = rest.split_at(alike.min(VALUES / width).max(1));
        statements.extend(renderer.run(run));
        rest = others;
    }
    statements
}

fn is_alike(first: &RowOp, other: &RowOp) -> bool {
    match (first, other) {
        (RowOp::Insert { table, row, .. }, RowOp::Insert { table: other, row: its, .. }) => {
            table == other && row.keys().eq(its.keys())
        }
        (RowOp::Update { table, set, .. }, RowOp::Update { table: other, set: its, .. }) => {
            table == other && set == its
        }
        (RowOp::Delete { table, .. }, RowOp::Delete { table: other, .. }) => table == other,
        (RowOp::Sweep(sweep), RowOp::Sweep(other)) => Sweep { id: sweep.id, ..other.clone() } == *sweep,
        _ => false,
    }
}

struct Renderer<'a> {
    schema: &'a Schema,
    dialect: Dialect,
}

impl Renderer<'_> {
    /// Renders a run of operations that are alike.
    fn run(&self, run: &[RowOp]) -> Option<Statement> {
        let ids = run.iter().map(|op| match op {
            RowOp::Insert { id, .. } | RowOp::Update { id, .. } | RowOp::Delete { id, .. } => *id,
            RowOp::Sweep(sweep) => sweep.id,
        });
        let ids: Vec<i64> = ids.collect();
        let rows = u64::try_from(run.len()).ok();
        let counted = |statement| Some(Statement { rows, ..statement });
        match run.first()? {
            RowOp::Insert { table, row, .. } => counted(self.insert(*table, row, run)),
            RowOp::Update { table, set, .. } => {
                let mut update = Sql::update();
                update.table(Alias::new(table.name()));
                for (column, value) in set {
                    update.value(Alias::new(*column), self.expr(*table, column, value));
                }
                counted(self.build(update.and_where(one_of("id", &ids))))
            }
            RowOp::Delete { table, .. } => {
                let mut delete = Sql::delete();
                counted(self.build(delete.from_table(Alias::new(table.name())).and_where(one_of("id", &ids))))
            }
            RowOp::Sweep(sweep) => self.sweep(sweep, &ids),
        }
    }

    fn insert(&self, table: Table, row: &Row, run: &[RowOp]) -> Statement {
        // The id comes first, then the columns as the catalogue orders them, to be read by people.
        let columns: Vec<_> =
            table.columns().iter().map(|column| column.name).filter(|name| row.contains_key(name)).collect();
        let mut insert = Sql::insert();
        insert.into_table(Alias::new(table.name())).columns(columns.iter().map(|name| Alias::new(*name)));
        for op in run {
            if let RowOp::Insert { row, .. } = op {
                let values = columns.iter().filter_map(|name| row.get_key_value(name));
                insert.values_panic(values.map(|(name, value)| self.expr(table, name, value)));
            }
        }
        self.build(&insert)
    }

    /// A sweep of a table or column that this Superset does not have is none.
    fn sweep(&self, sweep: &Sweep, ids: &[i64]) -> Option<Statement> {
        if !self.schema.has_named(sweep.table, sweep.column) {
            return None;
        }
        let mut condition = one_of(sweep.column, ids);
        if let Some((column, value)) = sweep.only {
            condition = condition.and(Expr::col(Alias::new(column)).eq(value));
        }
        Some(match sweep.action {
            SweepAction::Delete => {
                self.build(Sql::delete().from_table(Alias::new(sweep.table)).and_where(condition))
            }
            SweepAction::SetNull => self.build(
                Sql::update()
                    .table(Alias::new(sweep.table))
                    .value(Alias::new(sweep.column), Expr::val(Raw::BigInt(None)))
                    .and_where(condition),
            ),
        })
    }

    fn expr(&self, table: Table, column: &'static str, value: &Value) -> Expr {
        let ty = table.column(column).map_or(Type::Text, |column| column.ty);
        debug_assert!(table.column(column).is_some_and(|column| column.role != Role::Foreign));
        let bound = Expr::val(bind(value, ty, self.dialect));
        let json_type = self.schema.json_type(table, column);
        match (ty, self.dialect) {
            // The text is kept as it is: `json` keeps the order of keys, which binding as jsonb would lose.
            (Type::Json, Dialect::Postgres) if json_type.starts_with("json") => {
                bound.cast_as(json_type.to_owned())
            }
            _ => bound,
        }
    }

    fn build(&self, statement: &impl QueryStatementWriter) -> Statement {
        let (sql, values) = match self.dialect {
            Dialect::Sqlite => statement.build(SqliteQueryBuilder),
            Dialect::Postgres => statement.build(PostgresQueryBuilder),
        };
        Statement { sql, values, rows: None }
    }
}

fn one_of(column: &'static str, ids: &[i64]) -> Expr {
    let column = Expr::col(Alias::new(column));
    match ids {
        [id] => column.eq(*id),
        _ => column.is_in(ids.iter().copied()),
    }
}

/// Makes the value that a driver binds for a typed one; NULL has the type of its column, as PostgreSQL wants.
pub(crate) fn bind(value: &Value, ty: Type, dialect: Dialect) -> Raw {
    match value {
        Value::Null => null(ty, dialect),
        Value::Bool(bool) => Raw::Bool(Some(*bool)),
        Value::Int(int) => Raw::BigInt(Some(*int)),
        Value::Text(text) => Raw::String(Some(text.clone())),
        Value::Bytes(bytes) => Raw::Bytes(Some(bytes.clone())),
        Value::Uuid(uuid) => match dialect {
            Dialect::Sqlite => Raw::Bytes(Some(uuid.as_bytes().to_vec())),
            Dialect::Postgres => Raw::Uuid(Some(*uuid)),
        },
        Value::Time(time) => match dialect {
            Dialect::Sqlite => Raw::String(Some(time_text(*time))),
            Dialect::Postgres => Raw::TimeDateTime(Some(*time)),
        },
        Value::Json(json) => Raw::String(Some(crate::json::dumps(&json.0))),
        Value::Odd(text) => Raw::String(Some(text.clone())),
    }
}

fn null(ty: Type, dialect: Dialect) -> Raw {
    match (ty, dialect) {
        (Type::Int, _) => Raw::BigInt(None),
        (Type::Bool, _) => Raw::Bool(None),
        (Type::Text | Type::Json, _) | (Type::Time, Dialect::Sqlite) => Raw::String(None),
        (Type::Bytes, _) | (Type::Uuid, Dialect::Sqlite) => Raw::Bytes(None),
        (Type::Uuid, Dialect::Postgres) => Raw::Uuid(None),
        (Type::Time, Dialect::Postgres) => Raw::TimeDateTime(None),
    }
}

/// Writes a time as SQLAlchemy does on SQLite.
pub(crate) fn time_text(time: PrimitiveDateTime) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:6]");
    time.format(format).expect("every part of the format is in every time")
}
