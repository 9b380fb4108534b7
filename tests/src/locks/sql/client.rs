//! MariaDB's own client, one process a transaction: it is told the counts of rows that the guide speaks of.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How long one answer may take.
const WITHIN: Duration = Duration::from_secs(60);

/// An open transaction.
pub(super) struct Client {
    process: Child,
    input: ChildStdin,
    rows: Lines<BufReader<ChildStdout>>,
}

impl Client {
    pub(super) async fn begin(mut client: Command) -> Client {
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = client.spawn().expect("the client starts");
        let input = process.stdin.take().expect("it is piped");
        let rows = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut client = Client { process, input, rows };
        client.say("START TRANSACTION;\n").await;
        client
    }

    /// Runs a statement that changes rows and ends in `;`. Returns how many it has changed.
    pub(super) async fn execute(&mut self, statement: &str) -> u64 {
        self.say(&format!("{statement}\nSELECT ROW_COUNT();\n")).await;
        let row = timeout(WITHIN, self.rows.next_line()).await.expect("an answer in time");
        let row = row.expect("readable").expect("the client has said why on standard error");
        row.parse().expect("a count")
    }

    /// Ends the transaction with this statement, and with it the connection.
    pub(super) async fn end(mut self, statement: &str) {
        self.say(statement).await;
        drop(self.input);
        let status = timeout(WITHIN, self.process.wait()).await.expect("an end in time");
        assert!(status.expect("a status").success(), "{statement}");
    }

    async fn say(&mut self, statements: &str) {
        self.input.write_all(statements.as_bytes()).await.expect("the client listens");
    }
}
