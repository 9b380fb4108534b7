//! The whole pipeline, on real services.
