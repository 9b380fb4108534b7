//! Proving that the history is what was recorded.

use std::fmt;

use sql::{Mode, Value};

use crate::chain::{self, Head};
use crate::history::{Audit, ReadError};
use crate::row::{Row, Table};
use crate::store::{self, Cells, values};

/// Links looked at in one read of the database.
const PAGE: i64 = 500;

/// More findings than these are counted, not told.
const FINDINGS_MAX: usize = 100;

/// Something that is not as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The row, or its link in the chain, was altered, or moved here from another place.
    Altered {
        /// Which.
        seq: i64,
        /// The table that it stands in.
        table: Table,
    },
    /// The chain has the row, its table has it not.
    Removed {
        /// Which.
        seq: i64,
        /// The table that it stood in.
        table: Table,
    },
    /// The chain lacks links.
    Gap {
        /// The first that is missing.
        from: i64,
        /// The last that is missing.
        to: i64,
    },
    /// A row that the chain does not have.
    Added {
        /// Which.
        seq: i64,
        /// The table that it stands in.
        table: Table,
    },
    /// A link of a format that this version does not know.
    Format {
        /// Which.
        seq: i64,
    },
    /// The chain does not end where the auditor left it.
    End {
        /// Where the auditor left it.
        recorded: i64,
        /// Where it ends.
        found: i64,
    },
    /// The chain does not hold the head that was kept elsewhere: it was cut, or written anew.
    NotKept {
        /// The kept head's place.
        seq: i64,
    },
}

impl Finding {
    /// The first row that it is about.
    #[must_use]
    pub fn seq(&self) -> i64 {
        match self {
            Finding::Altered { seq, .. }
            | Finding::Removed { seq, .. }
            | Finding::Added { seq, .. }
            | Finding::Format { seq }
            | Finding::NotKept { seq } => *seq,
            Finding::Gap { from, .. } => *from,
            Finding::End { recorded, found } => *recorded.min(found) + 1,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Altered { seq, table } => {
                write!(f, "row {seq} of {} was altered or moved", table.name())
            }
            Finding::Removed { seq, table } => write!(f, "row {seq} of {} was removed", table.name()),
            Finding::Gap { from, to } => write!(f, "rows {from} to {to} were removed from audit_chain"),
            Finding::Added { seq, table } => {
                write!(f, "row {seq} of {} was added outside the chain", table.name())
            }
            Finding::Format { seq } => {
                write!(
                    f,
                    "row {seq} of audit_chain has a format that this version of setkeeper does not know"
                )
            }
            Finding::End { recorded, found } => {
                write!(f, "the chain ends at row {found}, the auditor left it at row {recorded}")
            }
            Finding::NotKept { seq } => write!(f, "row {seq} has another hash than the head that was kept"),
        }
    }
}

/// What a walk along the whole chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// Links looked at.
    pub rows: u64,
    /// Where the chain ends; keep it elsewhere and give it to the next verification.
    pub head: Head,
    /// The first findings, by row.
    pub findings: Vec<Finding>,
    /// How many findings there are.
    pub found: u64,
}

impl VerifyReport {
    /// Whether everything is as it was recorded.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.found == 0
    }

    /// The first row that is not as it was recorded.
    #[must_use]
    pub fn first_bad(&self) -> Option<i64> {
        self.findings.iter().map(Finding::seq).min()
    }

    fn find(&mut self, finding: Finding) {
        self.found += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

struct Link {
    seq: i64,
    format: String,
    hash: Option<[u8; 32]>,
}

impl Audit {
    /// Walks the whole chain. `kept` is a head that was kept elsewhere: only with one can a chain that was cut or
    /// written anew, by somebody who owns the file, be told from the true one.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn verify(&self, kept: Option<&Head>) -> Result<VerifyReport, ReadError> {
        let stream = self.stream().await?;
        let genesis = Head::genesis(&stream.env);
        let mut report = VerifyReport { rows: 0, head: genesis, findings: Vec::new(), found: 0 };
        let mut kept_is_there = kept.is_none_or(|kept| *kept == genesis);
        let mut recorded_is_there = stream.head == genesis;
        loop {
            let page = self.page(&mut report).await?;
            if page.is_empty() {
                break;
            }
            kept_is_there |= kept.is_some_and(|kept| page.contains(kept));
            recorded_is_there |= page.contains(&stream.head);
        }
        // Whoever recorded meanwhile has only made the chain longer.
        if !recorded_is_there {
            report.find(Finding::End { recorded: stream.head.seq, found: report.head.seq });
        }
        if let Some(kept) = kept.filter(|_| !kept_is_there) {
            report.find(Finding::NotKept { seq: kept.seq });
        }
        self.find_added(&mut report).await?;
        report.findings.sort_by_key(Finding::seq);
        Ok(report)
    }

    /// Looks at the next links; returns the heads that they stand for.
    async fn page(&self, report: &mut VerifyReport) -> Result<Vec<Head>, ReadError> {
        let mut tx = self.database.begin(Mode::Read).await?;
        const SQL: &str = "SELECT seq, format, hash FROM audit_chain WHERE seq > ? ORDER BY seq LIMIT ?";
        let bounds = [Value::BigInt(Some(report.head.seq)), Value::BigInt(Some(PAGE))];
        let mut links = Vec::new();
        for row in tx.fetch(SQL, values(bounds)).await? {
            let mut cells = Cells::new(row);
            let (seq, format) = (cells.int("seq")?, cells.text("format")?);
            links.push(Link { seq, format, hash: chain::unhex(&cells.text("hash")?) });
        }
        let (Some(first), Some(last)) = (links.first(), links.last()) else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        for table in Table::ALL {
            rows.push((table, store::rows_between(&mut tx, table, first.seq, last.seq).await?));
        }
        tx.rollback().await;
        let mut heads = Vec::with_capacity(links.len());
        for link in &links {
            let table = Table::ALL.into_iter().find(|table| table.format() == link.format);
            let row = table.map(|table| {
                let rows = rows.iter_mut().find(|(of, _)| *of == table);
                (table, rows.and_then(|(_, rows)| rows.remove(&link.seq)))
            });
            heads.push(look(report, link, row));
        }
        Ok(heads)
    }

    /// Rows that no link of the chain stands for.
    async fn find_added(&self, report: &mut VerifyReport) -> Result<(), ReadError> {
        let mut tx = self.database.begin(Mode::Read).await?;
        for table in Table::ALL {
            let sql = format!(
                "SELECT seq FROM {} AS t WHERE NOT EXISTS \
                 (SELECT 1 FROM audit_chain c WHERE c.seq = t.seq AND c.format = ?) ORDER BY seq LIMIT ?",
                table.name()
            );
            let limit = Value::BigInt(Some(PAGE));
            for row in tx.fetch(&sql, values([store::string(table.format()), limit])).await? {
                report.find(Finding::Added { seq: Cells::new(row).int("seq")?, table });
            }
        }
        tx.rollback().await;
        Ok(())
    }
}

/// Looks at one link. After a bad one the walk goes on from what the chain says there, so that one alteration is
/// found once (twice if it was the hash that was altered).
fn look(report: &mut VerifyReport, link: &Link, row: Option<(Table, Option<Option<Row>>)>) -> Head {
    report.rows += 1;
    let before = report.head;
    if link.seq > before.seq + 1 {
        report.find(Finding::Gap { from: before.seq + 1, to: link.seq - 1 });
    }
    let follows = link.seq == before.seq + 1;
    match row {
        None => report.find(Finding::Format { seq: link.seq }),
        Some((table, None)) => report.find(Finding::Removed { seq: link.seq, table }),
        Some((table, Some(None))) => report.find(Finding::Altered { seq: link.seq, table }),
        Some((table, Some(Some(row)))) => {
            let is_so = Some(before.after(&row).hash) == link.hash;
            // After a gap the hash before is not known: the row cannot be judged, the next one can.
            if (follows && !is_so) || link.hash.is_none() {
                report.find(Finding::Altered { seq: link.seq, table });
            }
        }
    }
    report.head = Head { seq: link.seq, hash: link.hash.unwrap_or_default() };
    report.head
}
