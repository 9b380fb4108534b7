//! `/livez`, `/readyz`, `/metrics` and Prometheus's service discovery on one port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::metrics::Metrics;
use crate::role::Role;

/// Why the port is not served.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address}; is another process there? Set `http.listen` to a free address")]
pub(crate) struct ListenError {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

#[derive(Clone)]
struct Served {
    health: Health,
    metrics: Arc<Metrics>,
}

/// Takes the port, so that a port in use stops the start and not the middle of the work.
///
/// # Errors
/// [`ListenError`] if it cannot be had.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| ListenError { address, source })
}

/// How long a request that has begun may take once the end has come.
const LAST_REQUEST: Duration = Duration::from_secs(1);

/// Serves until `stop`, and then ends what it has in hand within a second: whoever keeps a half-sent request open must
/// not hold the process up.
pub(crate) async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape))
        .route("/sd/prometheus/{service}", get(discover))
        .with_state(Served { health, metrics });
    let serving = axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(LAST_REQUEST).await;
    };
    tokio::select! {
        served = serving => if let Err(error) = served {
            tracing::error!(%error, "the health port is no longer served");
        },
        () = late => {}
    }
}

async fn ready(State(served): State<Served>) -> impl IntoResponse {
    let ready = served.health.is_ready() && !served.metrics.is_frozen(&served.health);
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut roles = serde_json::to_value(served.health.all()).expect("our own types have string keys");
    let files = served.metrics.board().files();
    if let Some(role) = roles.get_mut(Role::Templates.to_string())
        && !files.is_empty()
    {
        role["files"] = serde_json::to_value(files).expect("our own types have string keys");
    }
    (code, Json(roles))
}

/// The targets of one service, as `http_sd_configs` wants them. While it is not known who is registered the answer is
/// 503, on which Prometheus keeps the list that it has.
async fn discover(State(served): State<Served>, Path(service): Path<String>) -> Response {
    match served.metrics.board().world().service(&service) {
        Ok(instances) => Json(agent::discover::prometheus(&instances.servers)).into_response(),
        Err(unknown) => (StatusCode::SERVICE_UNAVAILABLE, format!("{unknown}\n")).into_response(),
    }
}

async fn scrape(State(served): State<Served>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    (kind, served.metrics.text(&served.health))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn a_half_sent_request_does_not_hold_the_end_up() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(listener, Health::default(), Arc::default(), stop.clone()));
        let mut stuck = tokio::net::TcpStream::connect(address).await.expect("a connection");
        stuck.write_all(b"GET /metrics HTTP/1.1\r\nHost:").await.expect("sent");
        // A whole request that is answered shows that the half-sent one has been taken in before.
        let mut whole = tokio::net::TcpStream::connect(address).await.expect("a connection");
        whole.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("sent");
        whole.readable().await.expect("answered");
        stop.cancel();
        let ended = tokio::time::timeout(LAST_REQUEST * 5, served).await;
        ended.expect("in time").expect("no panic");
    }
}
