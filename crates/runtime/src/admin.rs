//! The pages that an operator's tools read over HTTP: `/livez`, `/readyz`, `/metrics`.
//!
//! Nothing secret is on them and nothing can be changed by them, so they need no credentials.

use std::convert::Infallible;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use crate::listen::{Families, Listener};
use crate::monitor::Monitor;
use crate::tasks::{Failure, Tasks};

/// The section `[admin]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of `/livez`, `/readyz` and `/metrics`. Default: the port of what runs, on all addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<SocketAddr>,
}

impl Config {
    /// The address, which has the port `default` where none is configured.
    #[must_use]
    pub fn address(&self, default: u16) -> SocketAddr {
        self.bind
            .unwrap_or_else(|| SocketAddr::from((Ipv6Addr::UNSPECIFIED, default)))
    }
}

/// The running pages.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    tasks: Tasks,
}

/// The address cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen at {address} for /livez, /readyz and /metrics (key admin.bind): {source}; processes on one host or in one pod need a port each"
)]
pub struct BindError {
    address: SocketAddr,
    source: std::io::Error,
}

impl Server {
    /// Opens the socket and serves what `monitor` knows.
    ///
    /// # Errors
    /// When the address cannot be had.
    ///
    /// # Cancel safety
    /// Dropping it starts nothing.
    pub async fn bind(address: SocketAddr, monitor: Monitor) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let listener = Listener::bind(address, Families::Both).map_err(|error| failed(error.source))?;
        let address = listener.address().map_err(failed)?;
        let mut tasks = Tasks::new();
        let stop = tasks.stop();
        tasks.spawn("admin pages", accept(listener, monitor, stop));
        info!(%address, "admin pages are served");
        Ok(Self { address, tasks })
    }

    /// The address, as bound.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the pages end, which they do by themselves only in a fault of the program.
    ///
    /// # Errors
    /// What failed.
    ///
    /// # Cancel safety
    /// Nothing is lost: call it again.
    pub async fn join(&mut self) -> Result<(), Failure> {
        self.tasks.join().await
    }

    /// Ends: takes no new request, answers those that have begun.
    ///
    /// # Errors
    /// What failed on the way.
    ///
    /// # Cancel safety
    /// Dropping it cuts what is left.
    pub async fn shutdown(mut self, grace: Duration) -> Result<(), Failure> {
        self.tasks.shutdown(grace).await
    }
}

async fn accept(mut listener: Listener, monitor: Monitor, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let (stream, _) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            debug!("connection to the admin pages dropped: too many");
            continue;
        };
        let monitor = monitor.clone();
        connections.spawn(async move {
            serve(stream, &monitor).await;
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

/// Answers one request: whoever asks every few seconds connects anew, and nobody holds a place.
async fn serve(stream: TcpStream, monitor: &Monitor) {
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(answer(monitor, request.method(), request.uri()).await)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "connection to the admin pages broke"),
        Err(_) => debug!("connection to the admin pages dropped: it took too long"),
    }
}

async fn answer(monitor: &Monitor, method: &Method, uri: &hyper::Uri) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".into());
    }
    let is_verbose = uri
        .query()
        .is_some_and(|query| query.split('&').any(|key| key == "verbose"));
    match uri.path() {
        "/livez" => live(monitor).await,
        "/readyz" => ready(monitor, is_verbose),
        "/metrics" => match monitor.metrics() {
            Ok(text) => page(StatusCode::OK, METRICS, text),
            Err(error) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        _ => page(
            StatusCode::NOT_FOUND,
            TEXT,
            "/livez /readyz /readyz?verbose /metrics\n".into(),
        ),
    }
}

async fn live(monitor: &Monitor) -> Response<Full<Bytes>> {
    let stuck = monitor.stuck().await;
    if stuck.is_empty() {
        page(StatusCode::OK, TEXT, "live\n".into())
    } else {
        let lines: String = stuck
            .iter()
            .map(|name| format!("{name}: its loop does not turn\n"))
            .collect();
        page(StatusCode::SERVICE_UNAVAILABLE, TEXT, lines)
    }
}

fn ready(monitor: &Monitor, is_verbose: bool) -> Response<Full<Bytes>> {
    let readiness = monitor.readiness();
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if is_verbose {
        let json = serde_json::to_string(&readiness).unwrap_or_default();
        return page(status, JSON, json);
    }
    let lines = match readiness.reasons.as_slice() {
        [] if readiness.ready => "ready\n".to_owned(),
        reasons => reasons.iter().map(|reason| format!("{reason}\n")).collect(),
    };
    page(status, TEXT, lines)
}

fn page(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// Prometheus' own text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Connections at the same time; further ones are dropped. A probe and a few scrapers need one each.
const CONNECTIONS: usize = 32;

/// From the connection to the end of the answer: longer than the loops have to show that they turn.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
