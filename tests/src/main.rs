//! The whole pipeline, on real services, and the rules that the code itself keeps.

mod pipeline;
mod tidy;
