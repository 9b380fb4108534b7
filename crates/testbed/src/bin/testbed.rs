//! Starts the demo's servers in a folder and leaves them running. Prints one line a server: name, pid, port.
//!
//! ```text
//! testbed DIR           ZooKeeper, PostgreSQL with a database `shop`, Superset on SQLite
//! testbed DIR --fleet   the same with two Supersets on one PostgreSQL, live settings in both, and nginx
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use testbed::superset::{self, Metadata};
use testbed::{Balancer, Detached, Error, Postgres, Superset, Zookeeper, balancer, postgres, zookeeper};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let started = match &*arguments {
        [folder] if !folder.starts_with('-') => single(&PathBuf::from(folder)).await,
        [folder, flag] if flag == "--fleet" => fleet(&PathBuf::from(folder)).await,
        _ => {
            eprintln!("usage: testbed DIR [--fleet]");
            return ExitCode::from(64);
        }
    };
    match started {
        Ok(lines) => {
            println!("{}", lines.join("\n"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("testbed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Nothing is left running unless all of it is: whoever starts the servers detaches them at the end.
fn line(name: &str, server: &Detached, port: u16) -> String {
    format!("{name} {} {port}", server.pid)
}

async fn single(folder: &Path) -> Result<Vec<String>, Error> {
    let (zookeeper, postgres) = ground(folder).await?;
    let metadata = folder.join("superset.db");
    superset::sqlite_template(&metadata)?;
    let superset = Superset::start(Metadata::Sqlite(metadata), options(folder.join("superset"))).await?;
    let ports = (zookeeper.port(), postgres.port(), superset.port());
    Ok(vec![
        line("zookeeper", &zookeeper.detach()?, ports.0),
        line("postgres", &postgres.detach()?, ports.1),
        line("superset", &superset.detach()?, ports.2),
    ])
}

async fn fleet(folder: &Path) -> Result<Vec<String>, Error> {
    let (zookeeper, postgres) = ground(folder).await?;
    postgres.restore_template("superset").await?;
    let metadata = Metadata::Url(postgres.url("superset"));
    let node = |name: &str| superset::Options {
        extra_config: "import setkeeper_live; setkeeper_live.install(globals())".to_owned(),
        env: vec![
            ("PYTHONPATH".to_owned(), folder.display().to_string()),
            ("SETKEEPER_LIVE_FILE".to_owned(), folder.join(name).join("live.json").display().to_string()),
        ],
        ..options(folder.join(name))
    };
    // One after the other: both would upgrade what stands in the metadata database at their start.
    let first = Superset::start(metadata.clone(), node("node-1")).await?;
    let second = Superset::start(metadata, node("node-2")).await?;
    // nginx does not start without an upstream; setkeeper replaces this file once the nodes are registered.
    let upstream = folder.join("nginx/conf.d");
    let file = |source| Error::File { doing: "write", path: upstream.clone(), source };
    std::fs::create_dir_all(&upstream).map_err(file)?;
    std::fs::write(upstream.join("superset.conf"), "upstream superset { server 127.0.0.1:9 down; }\n")
        .map_err(file)?;
    let server = "location / { proxy_pass http://superset; proxy_set_header Host $http_host; }".to_owned();
    let options = balancer::Options { dir: Some(folder.join("nginx")), ..balancer::Options::default() };
    let nginx = Balancer::start(balancer::Program::Nginx { server }, options).await?;
    let ports = (zookeeper.port(), postgres.port(), first.port(), second.port(), nginx.port());
    Ok(vec![
        line("zookeeper", &zookeeper.detach()?, ports.0),
        line("postgres", &postgres.detach()?, ports.1),
        line("node-1", &first.detach()?, ports.2),
        line("node-2", &second.detach()?, ports.3),
        line("nginx", &nginx.detach()?, ports.4),
    ])
}

async fn ground(folder: &Path) -> Result<(Zookeeper, Postgres), Error> {
    // The tick of most ensembles, so that sessions may last as long as there.
    let tick = Duration::from_secs(2);
    let options = zookeeper::Options { dir: Some(folder.join("zookeeper")), tick, ..Default::default() };
    let zookeeper = Zookeeper::start(options).await?;
    let options = postgres::Options { dir: Some(folder.join("postgres")), ..Default::default() };
    let postgres = Postgres::start(options).await?;
    postgres.create_database("shop").await?;
    Ok((zookeeper, postgres))
}

fn options(folder: PathBuf) -> superset::Options {
    superset::Options { dir: Some(folder), ready_within: Duration::from_secs(180), ..Default::default() }
}
