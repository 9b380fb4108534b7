//! A proxy between a client and its server that loses what it is told to lose.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// What is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lose {
    Nothing,
    /// The next multi, and the connection with it.
    Request,
    /// The answer to the next multi, and the connection with it.
    Answer,
    /// Nothing yet: the next multi is held back, and then this is `Held`.
    Hold,
    /// Nothing yet: a multi is held back until this is changed.
    Held,
    /// The next create, and the connection with it.
    Create,
    /// The answer to the next create, and the connection with it.
    CreateAnswer,
    /// The answer to this request, and the connection with it.
    AnswerTo([u8; 4]),
    /// Everything, silently.
    Everything,
}

/// ZooKeeper's operation code of a multi.
const MULTI: [u8; 4] = [0, 0, 0, 14];

/// The operation codes of the three creates.
fn is_create(code: &[u8]) -> bool {
    matches!(code, [0, 0, 0, 1 | 15 | 19])
}

pub(crate) struct Proxy {
    pub(crate) connect: String,
    lose: Arc<watch::Sender<Lose>>,
    cut: Arc<Notify>,
    /// The length of the longest multi so far, without the frame's own length.
    pub(crate) longest: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn start(server: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = listener.local_addr().unwrap().to_string();
        let lose = Arc::new(watch::Sender::new(Lose::Nothing));
        let longest = Arc::new(AtomicUsize::new(0));
        let cut = Arc::new(Notify::new());
        let (shared, measured, cutting) = (lose.clone(), longest.clone(), cut.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let (lose, longest, cut) = (shared.clone(), measured.clone(), cutting.clone());
                tokio::spawn(async move {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        _ = requests(from_client, to_server, &lose, &longest) => {}
                        _ = answers(from_server, to_client, &lose) => {}
                        () = cut.notified() => {}
                    }
                });
            }
        });
        Proxy { connect, lose, cut, longest }
    }

    /// Whether what was to be lost is lost.
    pub(crate) fn has_lost(&self) -> bool {
        *self.lose.borrow() == Lose::Nothing
    }

    /// Ends every connection, whatever is under way.
    pub(crate) fn cut(&self) {
        self.cut.notify_waiters();
    }

    /// Waits until a multi is held back.
    pub(crate) async fn held(&self) {
        self.lose.subscribe().wait_for(|now| *now == Lose::Held).await.unwrap();
    }

    pub(crate) fn lose(&self, what: Lose) {
        self.lose.send_replace(what);
    }
}

async fn frame(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.resize(4 + length as usize, 0);
    from.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    lose: &watch::Sender<Lose>,
    longest: &AtomicUsize,
) -> io::Result<()> {
    // The first frame of a connection has no header.
    let first = frame(&mut from).await?;
    to.write_all(&first).await?;
    loop {
        let frame = frame(&mut from).await?;
        let multi = frame[8..12] == MULTI;
        if multi {
            longest.fetch_max(frame.len() - 4, Ordering::Relaxed);
        }
        if multi && *lose.borrow() == Lose::Hold {
            lose.send_replace(Lose::Held);
            let _ = lose.subscribe().wait_for(|now| *now != Lose::Held).await;
        }
        let now = *lose.borrow();
        match now {
            Lose::Request if multi => {
                lose.send_replace(Lose::Nothing);
                return Ok(());
            }
            Lose::Create if is_create(&frame[8..12]) => {
                lose.send_replace(Lose::Nothing);
                return Ok(());
            }
            Lose::CreateAnswer if is_create(&frame[8..12]) => {
                let xid = frame[4..8].try_into().expect("four bytes");
                lose.send_replace(Lose::AnswerTo(xid));
                to.write_all(&frame).await?;
                std::future::pending().await
            }
            Lose::Everything => std::future::pending().await,
            Lose::Answer if multi => {
                to.write_all(&frame).await?;
                // `answers` takes the server's reply and ends the connection.
                std::future::pending().await
            }
            _ => to.write_all(&frame).await?,
        }
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    lose: &watch::Sender<Lose>,
) -> io::Result<()> {
    loop {
        let frame = frame(&mut from).await?;
        let now = *lose.borrow();
        match now {
            Lose::Answer if is_multi_answer(&frame) => {
                lose.send_replace(Lose::Nothing);
                return Ok(());
            }
            Lose::AnswerTo(xid) if frame[4..8] == xid => {
                lose.send_replace(Lose::Nothing);
                return Ok(());
            }
            Lose::Everything => std::future::pending().await,
            _ => to.write_all(&frame).await?,
        }
    }
}

/// Length 4, xid 4, zxid 8, error 4, then a multi's first result: `create2` (15).
fn is_multi_answer(frame: &[u8]) -> bool {
    frame.len() > 24 && matches!(frame[20..24], [0, 0, 0, 1 | 15])
}
