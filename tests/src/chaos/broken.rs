//! Wrong on purpose.
