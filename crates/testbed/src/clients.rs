//! Other clients of ZooKeeper: Curator's and HiveServer2's classes, kazoo.

use std::path::Path;

use tokio::process::Command;

use crate::superset::{cache, installed};
use crate::{Error, run};

/// Curator and what it needs, of Debian's packages.
const JARS: [&str; 13] = [
    "curator-client",
    "curator-framework",
    "curator-recipes",
    "curator-x-discovery",
    "zookeeper",
    "zookeeper-jute",
    "guava",
    "jackson-core",
    "jackson-databind",
    "jackson-annotations",
    "commons-lang3",
    "slf4j-api",
    "slf4j-nop",
];

/// A small JVM that runs one source file, with Curator's and HiveServer2's classes; its arguments are to follow.
///
/// # Errors
/// If a class file is not installed.
pub fn java(source: &Path) -> Result<Command, Error> {
    let jars = JARS.map(|jar| format!("/usr/share/java/{jar}.jar"));
    let hive = installed("HiveServer2's registration", cache().join("hive-standalone-metastore-common.jar"))?;
    let mut classes = Vec::new();
    for jar in jars {
        classes.push(installed("Curator", jar.into())?.display().to_string());
    }
    classes.push(hive.display().to_string());
    let mut java = run::command(["java"]);
    java.args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", &classes.join(":")]).arg(source);
    Ok(java)
}

/// A Python that has kazoo; its arguments are to follow.
///
/// # Errors
/// If it is not installed.
pub fn kazoo() -> Result<Command, Error> {
    Ok(run::command([installed("kazoo", cache().join("kazoo/bin/python"))?]))
}
