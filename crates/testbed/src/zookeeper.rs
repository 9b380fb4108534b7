//! A standalone ZooKeeper, Debian's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Error;
use crate::folder::{self, Folder, file};
use crate::process::{Detached, Launch, Probe, Process};

const NAME: &str = "ZooKeeper";
const JARS: [&str; 3] =
    ["/usr/share/java/zookeeper.jar", "/usr/share/java/slf4j-log4j12.jar", "/usr/share/java/log4j-1.2.jar"];

/// For one four-letter word.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// How the server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// ZooKeeper's tick: session timeouts are held between 2 and 20 of them. 500 ms by default, for 1 to 10 s.
    pub tick: Duration,
    /// The folder for data, configuration and log; a temporary one by default.
    pub dir: Option<PathBuf>,
    /// The client port; a free one by default.
    pub port: Option<u16>,
    /// Deadline of a start and of an end.
    pub ready_within: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            tick: Duration::from_millis(500),
            dir: None,
            port: None,
            ready_within: Duration::from_secs(60),
        }
    }
}

/// A ZooKeeper server process. Ends with the value.
pub struct Zookeeper {
    // Before the folder: the process must have ended when the folder is removed.
    process: Option<Process>,
    folder: Folder,
    port: u16,
    options: Options,
}

impl Zookeeper {
    /// Starts a server and waits until it serves clients.
    ///
    /// # Errors
    /// If it is not installed, ends, or does not serve within [`Options::ready_within`].
    pub async fn start(options: Options) -> Result<Zookeeper, Error> {
        for jar in JARS {
            if !Path::new(jar).exists() {
                return Err(Error::Missing { what: "a ZooKeeper library", path: jar.into() });
            }
        }
        let folder = Folder::new(options.dir.as_deref(), "setkeeper-zookeeper-")?;
        let mut server = Zookeeper { process: None, folder, port: 0, options };
        server.spawn().await?;
        Ok(server)
    }

    /// `host:port`, as clients want it.
    pub fn connect(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The client port; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process, if one runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Kills the server with SIGKILL, and returns when it has ended. Without a server, does nothing.
    ///
    /// # Errors
    /// If the process cannot be signalled or does not end.
    pub async fn kill(&mut self) -> Result<(), Error> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.signal(Signal::KILL)?;
        process.wait_end(self.options.ready_within).await?;
        Ok(())
    }

    /// Stops the process where it stands (SIGSTOP): connections stay open, and nothing answers.
    ///
    /// # Errors
    /// If no server runs.
    pub fn stop_process(&self) -> Result<(), Error> {
        self.running("stop the process")?.signal(Signal::STOP)
    }

    /// Lets a stopped process go on (SIGCONT).
    ///
    /// # Errors
    /// If no server runs.
    pub fn cont(&self) -> Result<(), Error> {
        self.running("continue the process")?.signal(Signal::CONT)
    }

    /// Kills the server if it runs, and starts it on the same data and port.
    ///
    /// # Errors
    /// As [`Zookeeper::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.kill().await?;
        self.spawn().await
    }

    /// Empties the data of a killed server: the next start is a new ensemble.
    ///
    /// # Errors
    /// If the server runs.
    pub fn wipe(&self) -> Result<(), Error> {
        self.not_running("wipe the data")?;
        folder::remove(&self.data())
    }

    /// Copies the data of a killed server to a folder, which is replaced.
    ///
    /// # Errors
    /// If the server runs.
    pub fn backup(&self, to: &Path) -> Result<(), Error> {
        self.not_running("back the data up")?;
        folder::remove(to)?;
        folder::copy(&self.data(), to)
    }

    /// Replaces the data of a killed server by what [`Zookeeper::backup`] copied.
    ///
    /// # Errors
    /// If the server runs.
    pub fn restore(&self, from: &Path) -> Result<(), Error> {
        self.not_running("restore the data")?;
        folder::remove(&self.data())?;
        folder::copy(from, &self.data())
    }

    /// Asks one of ZooKeeper's four-letter words (`srvr`, `wchs`, `cons`, …), all of which are allowed here.
    ///
    /// # Errors
    /// If the server does not answer within two seconds.
    pub async fn four_letter(&self, word: &str) -> Result<String, Error> {
        four_letter(self.port, word).await
    }

    /// Leaves the server running when this process ends.
    ///
    /// # Errors
    /// If no server runs.
    pub fn detach(self) -> Result<Detached, Error> {
        let stopped = Error::State { doing: "detach", name: NAME, state: "does not run" };
        let pid = self.process.ok_or(stopped)?.detach();
        Ok(Detached { pid, folder: self.folder.keep() })
    }

    async fn spawn(&mut self) -> Result<(), Error> {
        // A restart keeps the port that clients know; only a first start may choose another.
        let fixed = self.options.port.or((self.port != 0).then_some(self.port));
        let (process, port) = Process::start(fixed, |port| self.launch(port)).await?;
        self.port = port;
        self.process = Some(process);
        Ok(())
    }

    fn launch(&self, port: u16) -> Result<Launch, Error> {
        let folder = self.folder.path();
        let data = self.data();
        std::fs::create_dir_all(&data).map_err(file("make the folder", &data))?;
        let tick = self.options.tick.as_millis();
        let config = format!(
            "tickTime={tick}\ninitLimit=20\nsyncLimit=10\ndataDir={}\nclientPort={port}\n\
             clientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxClientCnxns=0\n4lw.commands.whitelist=*\n",
            data.display()
        );
        let logging = "log4j.rootLogger=INFO, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n\
                       log4j.appender.out.layout=org.apache.log4j.PatternLayout\n\
                       log4j.appender.out.layout.ConversionPattern=%d{ISO8601} %-5p %c{1}: %m%n\n";
        let (zoo, log4j) = (folder.join("zoo.cfg"), folder.join("log4j.properties"));
        std::fs::write(&zoo, config).map_err(file("write", &zoo))?;
        std::fs::write(&log4j, logging).map_err(file("write", &log4j))?;
        let argv = [
            "java".to_owned(),
            "-Xmx256m".to_owned(),
            // A start is most of such a server's work: compile little, collect simply.
            "-XX:+UseSerialGC".to_owned(),
            "-XX:TieredStopAtLevel=1".to_owned(),
            format!("-Dlog4j.configuration=file:{}", log4j.display()),
            // In KiB. By default each log file takes 64 MiB at once.
            "-Dzookeeper.preAllocSize=64".to_owned(),
            // So that tests can make TTL znodes.
            "-Dzookeeper.extendedTypesEnabled=true".to_owned(),
            "-cp".to_owned(),
            JARS.join(":"),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain".to_owned(),
            zoo.display().to_string(),
        ];
        Ok(Launch {
            name: NAME,
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            folder: folder.to_owned(),
            to_remove: self.folder.to_remove().map(Path::to_owned),
            log: folder.join("log"),
            ready_within: self.options.ready_within,
            probe: Probe::Zookeeper,
        })
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn running(&self, doing: &'static str) -> Result<&Process, Error> {
        self.process.as_ref().ok_or(Error::State { doing, name: NAME, state: "does not run" })
    }

    fn not_running(&self, doing: &'static str) -> Result<(), Error> {
        match self.process {
            None => Ok(()),
            Some(_) => Err(Error::State { doing, name: NAME, state: "runs: kill it first" }),
        }
    }
}

/// Whether the server serves clients; `ruok` is answered too early.
pub(crate) async fn serves(port: u16) -> bool {
    four_letter(port, "srvr").await.is_ok_and(|answer| answer.contains("Mode:"))
}

async fn four_letter(port: u16, word: &str) -> Result<String, Error> {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(word.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    let answer = timeout(ASK_WITHIN, ask).await.unwrap_or_else(|_| Err(late()));
    answer.map_err(|source| Error::Ask { name: NAME, question: word.to_owned(), source: source.into() })
}
