//! Starts the demo's servers in a folder and leaves them running: ZooKeeper, PostgreSQL with a database `shop`, and
//! Superset on SQLite. Prints one line a server: name, pid, port.
//!
//! ```text
//! testbed DIR
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use testbed::superset::{self, Metadata};
use testbed::{Error, Postgres, Superset, Zookeeper, postgres, zookeeper};

#[tokio::main]
async fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: testbed DIR");
        return ExitCode::from(64);
    };
    match start(&folder).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testbed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn start(folder: &Path) -> Result<(), Error> {
    let zookeeper =
        Zookeeper::start(zookeeper::Options { dir: Some(folder.join("zookeeper")), ..Default::default() })
            .await?;
    let postgres =
        Postgres::start(postgres::Options { dir: Some(folder.join("postgres")), ..Default::default() })
            .await?;
    postgres.create_database("shop").await?;
    let metadata = folder.join("superset.db");
    superset::sqlite_template(&metadata)?;
    let options = superset::Options {
        dir: Some(folder.join("superset")),
        ready_within: Duration::from_secs(180),
        ..Default::default()
    };
    let superset = Superset::start(Metadata::Sqlite(metadata), options).await?;
    let (zookeeper_port, postgres_port, superset_url) = (zookeeper.port(), postgres.port(), superset.url());
    // Nothing is left running unless all of it is.
    let (zookeeper, postgres, superset) = (zookeeper.detach()?, postgres.detach()?, superset.detach()?);
    let superset_port = superset_url.rsplit(':').next().unwrap_or_default();
    println!("zookeeper {} {zookeeper_port}", zookeeper.pid);
    println!("postgres {} {postgres_port}", postgres.pid);
    println!("superset {} {superset_port}", superset.pid);
    Ok(())
}
