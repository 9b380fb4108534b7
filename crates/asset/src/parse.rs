//! Bytes of one znode to a document.

use std::borrow::Cow;
use std::io::Read;

use serde_json::Value;

use crate::document::{chart, dashboard, database, dataset};
use crate::fault::{Fault, FaultKind, Faults};
use crate::fields::Fields;
use crate::{Document, Kind, VERSION, json, secret};

/// The most bytes that one document may have, unpacked. ZooKeeper's own limit for a znode is 1 MiB.
pub const DOCUMENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Reads the bytes of one document: JSON, or gzip of it.
///
/// # Errors
/// Returns every fault that was found. Where the text cannot be read on (gzip, UTF-8, syntax) it is that one.
pub fn parse(kind: Kind, bytes: &[u8]) -> Result<Document, Vec<Fault>> {
    let (value, faults) = read(bytes).map_err(|fault| vec![fault])?;
    from_value(kind, value, faults)
}

/// Unpacks and reads JSON, without regard to what it means.
pub(crate) fn read(bytes: &[u8]) -> Result<(Value, Faults), Fault> {
    let bytes = unpack(bytes)?;
    json::read(text_of(&bytes)?)
}

/// Returns the text of bytes that are not packed.
pub(crate) fn text_of(bytes: &[u8]) -> Result<&str, Fault> {
    check_size(bytes)?;
    std::str::from_utf8(bytes).map_err(|error| {
        let message = format!("not UTF-8 from byte {} on; save the text as UTF-8", error.valid_up_to());
        Fault::new("", FaultKind::Utf8, message)
    })
}

/// Makes a document of a value that was read with `faults`.
pub(crate) fn from_value(kind: Kind, value: Value, mut faults: Faults) -> Result<Document, Vec<Fault>> {
    if kind != Kind::Database {
        refuse_passwords(&value, &mut faults);
    }
    let mut fields = Fields::new(String::new(), value, &mut faults);
    check_version(&mut fields);
    let document = match kind {
        Kind::Database => Document::Database(database::parse(fields)),
        Kind::Dataset => Document::Dataset(dataset::parse(fields)),
        Kind::Chart => Document::Chart(chart::parse(fields)),
        Kind::Dashboard => Document::Dashboard(dashboard::parse(fields)),
    };
    if faults.is_empty() { Ok(document) } else { Err(faults.into_vec()) }
}

/// No kind has a place for a password; a database's URI and its extra have rules of their own.
fn refuse_passwords(value: &Value, faults: &mut Faults) {
    let told = ["external_url", "default_endpoint"];
    let places = secret::places_with_passwords(String::new(), value);
    for path in places.into_iter().filter(|path| !told.contains(&path.as_str())) {
        let message = "holds a URI with a clear password; rotate it and take it out";
        faults.push(Fault::new(path, FaultKind::ClearSecret, message));
    }
}

fn check_version(fields: &mut Fields<'_>) {
    let is_text = fields.has("version");
    let version = fields.required_text("version");
    if is_text && version != VERSION && !version.is_empty() {
        fields.fault(
            "version",
            FaultKind::BadValue,
            format!("not the version of this format; write \"{VERSION}\""),
        );
    }
}

/// Unpacks gzip; other bytes are returned as they are. At most one byte more than [`DOCUMENT_BYTES_MAX`] is unpacked.
///
/// # Errors
/// It begins as gzip and is none.
pub fn unpack(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut unpacked = Vec::new();
    let limit = u64::try_from(DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let read = flate2::read::MultiGzDecoder::new(bytes).take(limit).read_to_end(&mut unpacked);
    read.map_err(|error| {
        Fault::new(
            "",
            FaultKind::Gzip,
            format!("begins as gzip and cannot be unpacked ({error}); write it again"),
        )
    })?;
    Ok(Cow::Owned(unpacked))
}

fn check_size(bytes: &[u8]) -> Result<(), Fault> {
    if bytes.len() <= DOCUMENT_BYTES_MAX {
        return Ok(());
    }
    let message = format!("larger than {DOCUMENT_BYTES_MAX} bytes unpacked; make the document smaller");
    Err(Fault::new("", FaultKind::TooLarge, message))
}

#[cfg(test)]
mod tests;
