//! What takes longer than a session of ZooKeeper lasts.

use crate::pipeline::documents::database;
use crate::pipeline::{Metadata, Options, Pipeline, Program};

super::alone![a_batch_that_computes_for_longer_than_a_session_lasts_is_applied];

/// Its worker's lock is watched meanwhile: a term that ended within each batch would begin the same one for ever.
async fn a_batch_that_computes_for_longer_than_a_session_lasts_is_applied(metadata: Metadata) {
    let mut options = Options { program: Program::Faults, ..Options::default() };
    options.env.push(("SETKEEPER_BROKEN".to_owned(), "computes_long".to_owned()));
    let pipeline = Pipeline::start(metadata, options).await;
    let put = pipeline.put("assets/main/databases/wh", &database(1)).await;
    pipeline.await_outcome(&put, "applied").await;
    pipeline.await_equal().await;
}
