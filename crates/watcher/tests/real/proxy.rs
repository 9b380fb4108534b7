//! A TCP proxy between the watcher and ZooKeeper that can be cut, so that writers go on while the watcher is away.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Ends with the value.
pub(crate) struct Proxy {
    address: String,
    open: Arc<watch::Sender<bool>>,
}

impl Proxy {
    pub(crate) async fn start(to: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let open = Arc::new(watch::Sender::new(true));
        let mut opened = open.subscribe();
        tokio::spawn(async move {
            loop {
                if opened.wait_for(|open| *open).await.is_err() {
                    return;
                }
                let Ok((mut here, _)) = listener.accept().await else { return };
                let (mut cut, to) = (opened.clone(), to.clone());
                tokio::spawn(async move {
                    let Ok(mut there) = TcpStream::connect(to).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut here, &mut there) => {}
                        _ = cut.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Proxy { address, open }
    }

    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    /// Breaks every connection and lets none through.
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.open.send_replace(true);
    }
}
