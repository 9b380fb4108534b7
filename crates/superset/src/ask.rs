//! What is still missing among the facts, and the queries that find it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use asset::SecretRef;
use sea_query::{
    Alias, Cond, Expr, ExprTrait, LikeExpr, PostgresQueryBuilder, Query as Sql, SelectStatement,
    SqliteQueryBuilder,
};

use crate::render::{self, Statement};
use crate::schema::Schema;
use crate::table::{Breadth, Column, Dialect, Table};
use crate::value::{Type, Value};

/// How rows are looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// Rows with this value in this column.
    Column(&'static str, Value),
    /// Rows of which the text in this column begins so.
    Prefix(&'static str, String),
    /// Rows of which the text in this column ends so.
    Suffix(&'static str, String),
}

/// One thing to look up: the smallest unit of what facts know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lookup {
    /// In which table. Looking up [`Table::AbViewMenu`] also finds the [`Table::AbPermissionView`] rows of it.
    pub table: Table,
    /// How much of the rows.
    pub breadth: Breadth,
    /// Which rows.
    pub by: By,
}

impl Lookup {
    pub(crate) fn new(table: Table, column: &'static str, value: impl Into<Value>) -> Lookup {
        Lookup { table, breadth: Breadth::Brief, by: By::Column(column, value.into()) }
    }

    pub(crate) fn prefix(table: Table, column: &'static str, prefix: impl Into<String>) -> Lookup {
        Lookup { table, breadth: Breadth::Brief, by: By::Prefix(column, prefix.into()) }
    }

    pub(crate) fn suffix(table: Table, column: &'static str, suffix: impl Into<String>) -> Lookup {
        Lookup { table, breadth: Breadth::Brief, by: By::Suffix(column, suffix.into()) }
    }

    pub(crate) fn full(self) -> Lookup {
        Lookup { breadth: Breadth::Full, ..self }
    }
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table.name();
        match &self.by {
            By::Column(column, value) => write!(f, "`{table}` by {column} = {value:?}"),
            By::Prefix(column, prefix) => write!(f, "`{table}` by {column} beginning with {prefix:?}"),
            By::Suffix(column, suffix) => write!(f, "`{table}` by {column} ending with {suffix:?}"),
        }
    }
}

/// What is still missing among the facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// Rows to look up; [`queries`] makes statements of them.
    pub lookups: BTreeSet<Lookup>,
    /// Secrets to resolve into [`crate::Facts::secrets`].
    pub secrets: BTreeSet<SecretRef>,
    /// How many more ids to reserve for each table, for [`crate::Facts::reserve`].
    pub ids: BTreeMap<Table, usize>,
}

impl Ask {
    /// Says whether rows and ids are all there. Secrets do not count: they are resolved outside the transaction,
    /// and one that cannot be is a fault of its document, not of the batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lookups.is_empty() && self.ids.is_empty()
    }
}

/// A SELECT and how to read what it returns.
#[derive(Debug, Clone)]
pub struct Query {
    /// The statement.
    pub statement: Statement,
    /// The table of the rows.
    pub table: Table,
    /// The columns, in order.
    pub columns: Vec<&'static Column>,
    /// What the facts know once they have learnt the result.
    pub answers: Vec<Lookup>,
}

/// So many values stand in one statement at most; SQLite allows 32,766 and PostgreSQL 65,535.
const CHUNK: usize = 500;

/// Makes the SELECTs that answer an [`Ask`].
#[must_use]
pub fn queries(ask: &Ask, schema: &Schema) -> Vec<Query> {
    let mut groups: BTreeMap<(Table, Breadth, u8, &'static str), Vec<&Lookup>> = BTreeMap::new();
    for lookup in &ask.lookups {
        let (shape, column) = match &lookup.by {
            By::Column(column, _) => (0, *column),
            By::Prefix(column, _) => (1, *column),
            By::Suffix(column, _) => (2, *column),
        };
        groups.entry((lookup.table, lookup.breadth, shape, column)).or_default().push(lookup);
    }
    let mut queries = Vec::new();
    for ((table, breadth, _, column), lookups) in groups {
        for chunk in lookups.chunks(CHUNK) {
            queries.extend(query(table, breadth, column, chunk, schema));
        }
    }
    queries
}

fn query(
    table: Table,
    breadth: Breadth,
    column: &'static str,
    lookups: &[&Lookup],
    schema: &Schema,
) -> Vec<Query> {
    let mut condition = condition(table, column, lookups, schema.dialect());
    let mut queries = Vec::new();
    let answers = lookups.iter().map(|lookup| (*lookup).clone()).collect();
    if table == Table::AbViewMenu {
        let menus = Sql::select()
            .column(Alias::new("id"))
            .from(Alias::new(table.name()))
            .cond_where(condition.clone())
            .take();
        let pairs = Cond::all().add(Expr::col(Alias::new("view_menu_id")).in_subquery(menus));
        queries.push(select(Table::AbPermissionView, Breadth::Brief, pairs, Vec::new(), schema));
    }
    if table == Table::Slices && column == "datasource_id" {
        condition = condition.add(Expr::col(Alias::new("datasource_type")).eq("table"));
    }
    queries.push(select(table, breadth, condition, answers, schema));
    queries
}

fn condition(table: Table, column: &'static str, lookups: &[&Lookup], dialect: Dialect) -> Cond {
    let ty = table.column(column).map_or(Type::Text, |column| column.ty);
    let expr = || Expr::col(Alias::new(column));
    let values = lookups.iter().filter_map(|lookup| match &lookup.by {
        By::Column(_, value) => Some(Expr::val(render::bind(value, ty, dialect))),
        By::Prefix(..) | By::Suffix(..) => None,
    });
    let values: Vec<Expr> = values.collect();
    if !values.is_empty() {
        return Cond::all().add(expr().is_in(values));
    }
    let mut any = Cond::any();
    for lookup in lookups {
        let pattern = match &lookup.by {
            By::Column(..) => continue,
            By::Prefix(_, text) => format!("{}%", escaped(text)),
            By::Suffix(_, text) => format!("%{}", escaped(text)),
        };
        any = any.add(expr().like(LikeExpr::new(pattern).escape('\\')));
    }
    Cond::all().add(any)
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_")
}

fn select(table: Table, breadth: Breadth, condition: Cond, answers: Vec<Lookup>, schema: &Schema) -> Query {
    let columns = schema.columns(table, breadth);
    let mut select = Sql::select();
    for column in &columns {
        let name = Alias::new(column.name);
        match (column.ty, schema.dialect()) {
            (Type::Json, Dialect::Postgres) => select.expr(Expr::col(name).cast_as("text")),
            _ => select.column(name),
        };
    }
    select
        .from(Alias::new(table.name()))
        .cond_where(condition)
        .order_by(Alias::new("id"), sea_query::Order::Asc);
    Query { statement: build(&select, schema.dialect()), table, columns, answers }
}

fn build(select: &SelectStatement, dialect: Dialect) -> Statement {
    let (sql, values) = match dialect {
        Dialect::Sqlite => select.build(SqliteQueryBuilder),
        Dialect::Postgres => select.build(PostgresQueryBuilder),
    };
    Statement { sql, values, rows: None }
}

/// Every column that Superset encrypts with the SECRET_KEY.
const ENCRYPTED: [(&str, &str); 9] = [
    ("dbs", "password"),
    ("dbs", "encrypted_extra"),
    ("dbs", "server_cert"),
    ("ssh_tunnels", "username"),
    ("ssh_tunnels", "password"),
    ("ssh_tunnels", "private_key"),
    ("ssh_tunnels", "private_key_password"),
    ("database_user_oauth2_tokens", "access_token"),
    ("database_user_oauth2_tokens", "refresh_token"),
];

/// Makes the statements that read every stored secret, so that the SECRET_KEY can be proved with
/// [`crate::Cipher::decrypt`] before the first write: rows of one column of bytes.
#[must_use]
pub fn probe(schema: &Schema) -> Vec<Statement> {
    let there = ENCRYPTED.into_iter().filter(|(table, column)| schema.has_named(table, column));
    let statement = |(table, column)| {
        let column = || Alias::new(column);
        let select = Sql::select()
            .column(column())
            .from(Alias::new(table))
            .and_where(Expr::col(column()).is_not_null())
            .take();
        build(&select, schema.dialect())
    };
    there.map(statement).collect()
}

/// Makes the two statements of introspection: rows of (table, column, type name), and rows of (version).
#[must_use]
pub fn introspection(dialect: Dialect) -> [Statement; 2] {
    let columns = match dialect {
        Dialect::Sqlite => {
            "SELECT m.name, c.name, c.type FROM sqlite_master m JOIN pragma_table_info(m.name) c \
             WHERE m.type = 'table'"
        }
        Dialect::Postgres => {
            "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns \
             WHERE table_schema = current_schema()"
        }
    };
    let none = || sea_query::Values(Vec::new());
    let plain = |sql: &str| Statement { sql: sql.to_owned(), values: none(), rows: None };
    [plain(columns), plain("SELECT version_num FROM alembic_version")]
}
