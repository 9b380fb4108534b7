//! The whole pipeline, on real services, and the rules that the code itself keeps.

#[cfg(feature = "bench")]
mod bench;
mod chaos;
mod discovery;
mod fleet;
mod locks;
mod pipeline;
mod scenarios;
mod superset;
mod tidy;
mod until;
